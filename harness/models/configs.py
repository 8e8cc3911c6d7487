"""A base's ``config.json`` without its weights, from what is on this machine. Fetches nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from harness.atomic import what_is_at
from harness.data.files import read_text
from harness.errors import ModelError, UnknownName
from harness.extras import require_extra
from harness.models.gguf import require_gguf
from harness.models.source import BUILTIN, builtin_folder
from harness.records import Json

# what ggml's docs/gguf.md calls the fields of a configuration, below the architecture's name
_GGUF_FIELDS = {
    "num_hidden_layers": "block_count",
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "vocab_size": "vocab_size",
    "num_local_experts": "expert_count",
    "num_experts_per_tok": "expert_used_count",
    "moe_intermediate_size": "expert_feed_forward_length",
    "max_position_embeddings": "context_length",
}


def config_of(name: str) -> Mapping[str, Json]:
    """The configuration that ``name`` means: built in, a folder, a JSON or GGUF file, or a Hugging Face id.

    Raises:
        UnknownName: nothing of that name is here, and it has not the form ``org/model``.
        ModelError: it is not on this machine, or cannot be read.
    """
    path = Path(name).expanduser()
    if name == BUILTIN:
        return read_config(builtin_folder() / "config.json", "`harness doctor --fetch` fetches the model")
    if what_is_at(path) == "folder":
        return read_config(path / "config.json", "name the folder of a model, or its config.json")
    if what_is_at(path) == "file":
        return gguf_config(path) if path.suffix == ".gguf" else read_config(path, "name a config.json")
    repository, _, revision = name.partition("@")
    if repository.count("/") != 1 or name.startswith((".", "/", "~")):
        hint = "Or give a Hugging Face id (org/model), a folder, a .gguf file or a config.json."
        raise UnknownName("model", name, [BUILTIN], hint)
    require_extra("local", f"the cache of {name!r}")
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(repository, "config.json", revision=revision or None)
    except HFValidationError as error:
        raise UnknownName("model", name, [BUILTIN], "That is no name of a repository.") from error
    if not isinstance(found, str):
        raise ModelError(
            f"{name}: its configuration is not in the Hugging Face cache, and nothing is fetched here.\n"
            f"  hint: `hf download {repository} config.json` fetches two kilobytes; or give the file with"
            " --config."
        )
    return read_config(Path(found), "fetch it again")


def read_config(file: Path, hint: str) -> Mapping[str, Json]:
    """A configuration file; ``hint`` says what to do where it is none.

    Raises:
        ModelError: there is none, or it holds no JSON object.
    """
    if what_is_at(file) != "file":
        raise ModelError(f"{file}: there is no such file.\n  hint: {hint}.")
    try:
        found = json.loads(read_text(file, ".json", most_bytes=10_000_000))
    except (ValueError, RecursionError) as error:
        line = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise ModelError(f"{file}{line}: this is no JSON: {error}.\n  hint: {hint}.") from error
    if not isinstance(found, dict):
        raise ModelError(f"{file}: a configuration is a JSON object.\n  hint: {hint}.")
    return found


def gguf_config(path: Path) -> Mapping[str, Json]:
    """What a GGUF file's header says, under the names of a ``config.json``.

    Raises:
        ModelError: it is no GGUF file that can be read.
    """
    require_gguf(path)
    require_extra("local", f"the header of {path}")
    from gguf import GGUFReader

    try:
        reader = GGUFReader(path)
        fields = {name: field.contents() for name, field in reader.fields.items()}
    except Exception as error:  # the library raises whatever the content brings about
        raise ModelError(f"{path}: its header cannot be read: {error}.\n  hint: fetch it again.") from error
    kind = fields.get("general.architecture", "")
    found = {ours: fields.get(f"{kind}.{theirs}") for ours, theirs in _GGUF_FIELDS.items()}
    tokens = fields.get("tokenizer.ggml.tokens")
    if found["vocab_size"] is None and isinstance(tokens, list):
        found["vocab_size"] = len(tokens)
    names = {tensor.name for tensor in reader.tensors}
    known = {name: value for name, value in found.items() if value is not None}
    return {**known, "model_type": kind, "tie_word_embeddings": "output.weight" not in names}
