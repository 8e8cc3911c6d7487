"""GGUF files, looked through before a library reads them: it believes every length that a header names.

The layout is that of ggml's ``docs/gguf.md``, versions 2 and 3, little-endian.
"""

from __future__ import annotations

import math
import os
import struct
from pathlib import Path
from typing import BinaryIO

from harness.errors import ModelError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
STRING, ARRAY = 8, 9
BYTES_OF = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # of the other types
MOST_DIMENSIONS = 8
WEIGHTS_A_BYTE = 8  # of the smallest quantisation, and then some
DEEPEST = 4  # arrays in arrays


def require_gguf(path: Path) -> None:
    """Check that the counts and lengths in the header fit the file's size.

    Raises:
        ModelError: they do not, or it is no GGUF file of a version that is read.
    """
    try:
        with path.open("rb") as file:
            _Header(file).check()
    except (struct.error, ValueError, OSError) as error:
        reason = "it ends within its header" if isinstance(error, struct.error) else str(error)
        raise ModelError(
            f"{path} is no GGUF file that can be read: {reason}.\n"
            "  hint: fetch it again; a file of a few kilobytes is often a page or a pointer of Git LFS."
        ) from error


class _Header:
    def __init__(self, file: BinaryIO) -> None:
        self._file, self._size = file, os.fstat(file.fileno()).st_size

    def check(self) -> None:
        """Read through all of it."""
        magic = self._file.read(len(MAGIC))
        if magic != MAGIC:
            raise ValueError(f"it begins with {magic!r} and not with {MAGIC!r}")
        version = self._number("<I")
        if version not in VERSIONS:
            raise ValueError(f"version {version} of the format is not read; 2 and 3 are")
        tensors, pairs = self._count(), self._count()
        for _ in range(pairs):
            self._skip_text()
            self._skip_value(self._number("<I"))
        for _ in range(tensors):
            self._skip_text()
            dimensions = self._number("<I")
            if dimensions > MOST_DIMENSIONS:
                raise ValueError(f"a tensor has {dimensions} dimensions")
            weights = math.prod(self._number("<Q") for _ in range(dimensions))
            self._number("<I")
            if max(weights // WEIGHTS_A_BYTE, self._number("<Q")) > self._size:
                raise ValueError("a tensor is larger than the file")

    def _number(self, form: str) -> int:
        found: int = struct.unpack(form, self._file.read(struct.calcsize(form)))[0]
        return found

    def _count(self) -> int:
        """A number of things of a byte at least."""
        count = self._number("<Q")
        self._require(count)
        return count

    def _require(self, length: int) -> None:
        if length > self._size - self._file.tell():
            raise ValueError(f"a length of {length:,} in its header is beyond its end")

    def _skip(self, length: int) -> None:
        self._require(length)
        self._file.seek(length, os.SEEK_CUR)

    def _skip_text(self) -> None:
        self._skip(self._number("<Q"))

    def _skip_value(self, kind: int, depth: int = 0) -> None:
        if kind == STRING:
            self._skip_text()
        elif kind in BYTES_OF:
            self._skip(BYTES_OF[kind])
        elif kind == ARRAY and depth < DEEPEST:
            inner, count = self._number("<I"), self._count()
            if inner in BYTES_OF:
                self._skip(BYTES_OF[inner] * count)
                return
            for _ in range(count):
                self._skip_value(inner, depth + 1)
        else:
            raise ValueError(f"a value has the type {kind}, which there is not")
