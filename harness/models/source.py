"""From the name a user writes to a folder of safetensors and its digest."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ModelError, UnknownName
from harness.extras import require_extra
from harness.models import builtin
from harness.models.cache import build_once, cache_folder, is_whole, recorded_digest, sha256_of
from harness.models.progress import Progress

# what a tokenizer and a model need; pickled weights are never taken
WANTED = ("*.safetensors", "*.json", "*.model", "*.txt", "*.jinja", "*.py")


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
    is_gguf = path.suffix == ".gguf" and path.is_file()
    is_hub_id = name.partition("@")[0].count("/") == 1 and not name.startswith((".", "/", "~"))
    if not (name == builtin.NAME or is_gguf or path.is_dir() or is_hub_id):
        raise UnknownName(
            "model",
            name,
            [builtin.NAME],
            "Or give a Hugging Face id (org/model), a local folder or a .gguf file.",
        )
    # here, before anything is fetched: whatever loads, trains or asks a local model has its source from here
    require_extra("local", f"the model {name!r}, which runs on this machine,")
    if name == builtin.NAME:
        folder = builtin.ensure_builtin(progress)
    elif is_gguf:
        converted = cache_folder() / "models" / f"{path.stem}-{sha256_of(path)[:16]}"
        folder = build_once(converted, lambda into: builtin.convert_gguf(path, into, progress))
    elif path.is_dir():
        folder = path
    else:
        folder = _from_hub(name, progress)
    _require_safetensors(folder, name)
    return ModelSource(name, folder, folder_digest(folder), trust_remote_code)


def is_at_hand(name: str) -> bool:
    """Whether ``name`` can be used without fetching or converting anything."""
    if name == builtin.NAME:
        return is_whole(builtin.builtin_folder())
    return Path(name).expanduser().exists()


def folder_digest(folder: Path) -> str:
    """SHA-256 over the names and contents of the files that shape a model."""
    recorded = recorded_digest(folder)
    if recorded:
        return recorded
    files = sorted({p for pattern in WANTED for p in folder.glob(pattern)})
    listing = {p.name: sha256_of(p) for p in files}
    return hashlib.sha256(json.dumps(listing, sort_keys=True).encode()).hexdigest()


def _from_hub(name: str, progress: Progress) -> Path:
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
            return Path(snapshot_download(repository, revision=revision or None, allow_patterns=list(WANTED)))
    except GatedRepoError as error:
        raise ModelError(
            f"{name} is given only to those who accepted its terms.\n"
            f"  hint: accept them on https://huggingface.co/{repository}, then run `hf auth login`."
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        hint = "The hub knows no model or revision of that name."
        raise UnknownName("model", name, [builtin.NAME], hint) from error
    except (HTTPError, OSError) as error:
        raise ModelError(
            f"{name} is not in the Hugging Face cache and the hub did not answer ({type(error).__name__}).\n"
            f"  hint: connect and try again, give a local folder or .gguf file, or use the built-in"
            f" {builtin.NAME!r}."
        ) from error


def _require_safetensors(folder: Path, name: str) -> None:
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"{name}: {folder} has no config.json; a model folder holds config, tokenizer and weights."
        )
    if not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"{name}: {folder} has no .safetensors file. Pickled weights can run code when opened and are not"
            f" read.\n  hint: convert once with `model.save_pretrained(folder)` in an environment you trust."
        )


def context_tokens(source: ModelSource) -> int | None:
    """The model's context length in tokens, from its configuration; None where it is not given there."""
    try:
        config = json.loads((source.folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    found = config.get("max_position_embeddings") if isinstance(config, dict) else None
    return found if isinstance(found, int) else None
