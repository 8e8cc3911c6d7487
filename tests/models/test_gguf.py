"""GGUF files are looked through before a library believes their headers."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import pytest

from harness.errors import ModelError
from harness.models.gguf import require_gguf
from harness.models.progress import Silent
from harness.models.source import resolve


def text(content: bytes) -> bytes:
    return struct.pack("<Q", len(content)) + content


def header(tensors: int, pairs: int, rest: bytes = b"", version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, pairs) + rest


ARRAY = text(b"a") + struct.pack("<I", 9)
BROKEN = {
    "empty": b"",
    "a page": b"<!doctype html>",
    "a pointer": b"version https://git-lfs.github.com/spec/v1\n",
    "zeros": bytes(4_096),
    "ends": b"GGUF",
    "version 1": header(0, 0, version=1),
    "big-endian": b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
    "huge counts": header(2**60, 2**60),
    "huge key": header(0, 1, struct.pack("<Q", 2**62)),
    "huge array": header(0, 1, ARRAY + struct.pack("<IQ", 0, 2**60)),
    "huge array of text": header(0, 1, ARRAY + struct.pack("<IQ", 8, 2**40)),
    "array of arrays": header(0, 1, ARRAY + struct.pack("<IQ", 9, 1) * 2_000),
    "unknown type": header(0, 1, text(b"a") + struct.pack("<I", 77)),
    "truncated": header(2, 3, text(b"general.architecture") + struct.pack("<I", 8) + text(b"llama")),
    "huge tensor": header(1, 0, text(b"t") + struct.pack("<IQQIQ", 2, 2**40, 2**40, 0, 0)),
    "many dimensions": header(1, 0, text(b"t") + struct.pack("<I", 2**31)),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_refused_at_once(tmp_path: Path, content: bytes) -> None:
    file, began = tmp_path / "model.gguf", time.perf_counter()
    file.write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.gguf is no GGUF file that can be read"):
        resolve(str(file), Silent())
    assert time.perf_counter() - began < 5


def test_a_file_that_the_format_s_own_library_wrote_is_taken(tmp_path: Path) -> None:
    gguf, numpy = pytest.importorskip("gguf"), pytest.importorskip("numpy")
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    writer.add_token_list(["a", "", "ü"] * 50)
    writer.add_array("scores", [0.5, 1.5])
    writer.add_array("nested", [[1, 2], [3]])
    writer.add_bool("b", True)
    writer.add_tensor("t", numpy.ones((64, 32), dtype=numpy.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    require_gguf(tmp_path / "model.gguf")


@pytest.mark.slow  # transformers is imported
def test_a_sound_file_that_is_no_language_model_is_a_model_error(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(header(0, 0))
    with pytest.raises(ModelError, match="cannot be converted from GGUF"):
        resolve(str(tmp_path / "model.gguf"), Silent())
