"""From the name a user writes to a model on this machine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest
from huggingface_hub import errors as hub
from tiny_llama import EXACT, rows

from harness.atomic import MANIFEST
from harness.errors import ModelError, UnknownName
from harness.models.local import LocalModel
from harness.models.progress import Silent
from harness.models.protocol import Decoding, Prompt
from harness.models.source import ModelSource, folder_digest, is_at_hand, resolve

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def copy(tiny: ModelSource, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny.folder, tmp_path / "copy"))


def test_a_local_folder_is_taken_as_it_is(tiny: ModelSource) -> None:
    source = resolve(str(tiny.folder), Silent())
    assert source == tiny
    assert is_at_hand(str(tiny.folder))


@pytest.mark.parametrize(
    "name", ["smollm2-135", "gpt5", "./no/such/folder", "missing.gguf", "/no/such.gguf", "a/b/c"]
)
def test_an_unknown_name_lists_those_that_there_are(name: str) -> None:
    with pytest.raises(UnknownName) as caught:
        resolve(name, Silent())
    said = str(caught.value)
    assert repr(name) in said
    assert "There are: smollm2-135m." in said
    assert "Hugging Face id (org/model), a local folder or a .gguf file" in said


def test_a_near_miss_is_named() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'smollm2-135m'"):
        resolve("smolm2-135m", Silent())


def test_pickled_weights_are_refused(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(ModelError) as caught:
        resolve(str(copy), Silent())
    assert "no .safetensors file" in str(caught.value)
    assert "save_pretrained" in str(caught.value)


def test_a_folder_without_a_config_is_refused(copy: Path) -> None:
    (copy / "config.json").unlink()
    with pytest.raises(ModelError, match=r"no config\.json"):
        resolve(str(copy), Silent())


# ------------------------------------------------------------------------------------- digests
@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"]
)
def test_the_digest_changes_with_a_byte_of_any_file(copy: Path, name: str) -> None:
    before = folder_digest(copy)
    data = bytearray((copy / name).read_bytes())
    data[-1] ^= 1
    (copy / name).write_bytes(data)
    assert folder_digest(copy) != before


def test_a_models_own_code_is_in_its_digest(copy: Path) -> None:
    before = folder_digest(copy)
    (copy / "modeling_own.py").write_text("", encoding="utf-8")
    assert folder_digest(copy) != before


def test_a_copied_folder_has_the_digest_of_its_origin(tiny: ModelSource, copy: Path) -> None:
    assert folder_digest(copy) == tiny.digest


def test_a_manifest_of_another_kind_in_a_users_folder_is_no_digest(copy: Path) -> None:
    (copy / MANIFEST).write_text('{"name": "an app"}', encoding="utf-8")
    assert len(folder_digest(copy)) == 64


def test_an_outdated_manifest_in_a_users_folder_is_no_digest(copy: Path) -> None:
    sizes = {"model.safetensors": {"bytes": (copy / "model.safetensors").stat().st_size}}
    (copy / MANIFEST).write_text(json.dumps({"digest": "old", "files": sizes}), encoding="utf-8")
    assert folder_digest(copy) != "old"


# ------------------------------------------------------------------------------------- the hub
def hub_that_raises(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)


def response(status: int) -> httpx2.Response:
    return httpx2.Response(status, request=httpx2.Request("GET", "https://huggingface.co/org/model"))


@pytest.mark.parametrize(
    "error",
    [
        hub.LocalEntryNotFoundError("not cached"),
        hub.OfflineModeIsEnabled("offline"),
        ConnectionError("no route"),
        httpx2.ReadTimeout("cut in the middle of a file"),
        hub.HfHubHTTPError("bad gateway", response=response(502)),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_hub_that_does_not_answer_is_one_error_with_its_mend(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_that_raises(monkeypatch, error)
    with pytest.raises(ModelError, match=r"the hub did not answer") as caught:
        resolve("org/model", Silent())
    assert "local folder or .gguf file" in str(caught.value)
    assert "'smollm2-135m'" in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        hub.RepositoryNotFoundError("none", response=response(404)),
        hub.RevisionNotFoundError("none", response=response(404)),
        hub.HFValidationError("bad name"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_model_that_the_hub_does_not_know_is_an_unknown_name(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_that_raises(monkeypatch, error)
    with pytest.raises(UnknownName, match="The hub knows no model or revision of that name"):
        resolve("org/model@v1", Silent())


def test_a_gated_model_says_where_to_accept_its_terms(monkeypatch: pytest.MonkeyPatch) -> None:
    hub_that_raises(monkeypatch, hub.GatedRepoError("gated", response=response(403)))
    with pytest.raises(ModelError, match=r"accept them on https://huggingface\.co/org/model"):
        resolve("org/model", Silent())


@pytest.mark.parametrize("revision", [None, "v1", "refs/pr/1"])
def test_a_hub_id_may_carry_a_revision(
    tiny: ModelSource, monkeypatch: pytest.MonkeyPatch, revision: str | None
) -> None:
    asked: list[tuple[str, str | None]] = []

    def download(repository: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((repository, revision))
        assert not any("bin" in pattern or "pt" in pattern for pattern in allow_patterns)
        return str(tiny.folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    source = resolve(f"org/model@{revision}" if revision else "org/model", Silent())
    assert asked == [("org/model", revision)]
    assert source.digest == tiny.digest


# ------------------------------------------------------------------------------------- GGUF
@pytest.fixture(scope="module")
def gguf(tiny: ModelSource, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from harness.models.chat import load_tokenizer

    return write_gguf(tiny, load_tokenizer(tiny), tmp_path_factory.mktemp("gguf") / "tiny.gguf")


def write_gguf(source: ModelSource, tokenizer: PreTrainedTokenizerBase, path: Path) -> Path:
    """The tiny model as llama.cpp's converter would write it, in float32."""
    from gguf import GGUFWriter
    from safetensors.numpy import load_file

    config = json.loads((source.folder / "config.json").read_text(encoding="utf-8"))
    writer = GGUFWriter(str(path), "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config["vocab_size"])
    bpe = json.loads((source.folder / "tokenizer.json").read_text(encoding="utf-8"))
    words = sorted(bpe["model"]["vocab"], key=bpe["model"]["vocab"].__getitem__)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(words)
    writer.add_token_types([3 if word in tokenizer.all_special_tokens else 1 for word in words])
    writer.add_token_merges([" ".join(pair) for pair in bpe["model"]["merges"]])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_chat_template(str(tokenizer.chat_template))
    for name, weight in load_file(str(source.folder / "model.safetensors")).items():
        heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
        n = heads.get(name.split(".")[-2])
        if n:  # llama.cpp keeps the halves of a rotary pair side by side
            weight = weight.reshape(n, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)
        writer.add_tensor(in_gguf(name), weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def in_gguf(name: str) -> str:
    parts = {
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "model.layers.": "blk.",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "post_attention_layernorm": "ffn_norm",
        "input_layernorm": "attn_norm",
    }
    for ours, theirs in parts.items():
        name = name.replace(ours, theirs)
    return name


def test_a_gguf_file_is_converted_once_and_answers_like_its_origin(
    tiny: ModelSource, gguf: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import torch

    source = resolve(str(gguf), Silent())
    converted, original = LocalModel.load(source, EXACT), LocalModel.load(tiny, EXACT)
    prompts = [Prompt(row.id, row.prompt) for row in rows(3)]
    ids = torch.arange(4, 60)[None]
    with torch.no_grad():
        torch.testing.assert_close(
            converted._model(ids).logits, original._model(ids).logits, atol=0.15, rtol=0.05
        )  # bfloat16 on disk
    first, second = (
        list(m.answer(prompts, Decoding(max_new_tokens=4), frozenset())) for m in (converted, original)
    )
    assert [a.prompt_tokens for a in first] == [a.prompt_tokens for a in second]
    assert capfd.readouterr().err == ""

    monkeypatch.setattr("harness.models.source.convert_gguf", lambda *_: pytest.fail("converted again"))
    assert resolve(str(gguf), Silent()) == source


def test_a_changed_gguf_file_is_another_model(
    gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def convert(file: Path, folder: Path, progress: object) -> None:
        (folder / "model.safetensors").write_bytes(file.read_bytes())
        (folder / "config.json").write_text("{}", encoding="utf-8")

    monkeypatch.setattr("harness.models.source.convert_gguf", convert)
    changed = tmp_path / gguf.name
    changed.write_bytes(gguf.read_bytes() + b"\0")
    one, other = resolve(str(gguf), Silent()), resolve(str(changed), Silent())
    assert one.folder != other.folder
    assert one.digest != other.digest
