"""Logs of Inspect (``inspect_ai``), as ``.json`` and as ``.eval``, which is a zip of one JSON file a sample.

Not read by ``inspect_ai`` itself, which brings 60 packages; its log format has a version and is documented.
Members are read one by one, in memory and up to a size: nothing is unpacked, so no name can lead elsewhere.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from itertools import takewhile
from pathlib import Path

from harness.data.findings import Unusable
from harness.data.imports.turns import Turn, chat, listed, mapping
from harness.data.rows import parse_json
from harness.errors import DataError
from harness.records import Json

MOST_SAMPLES, MOST_BYTES, MOST_BYTES_TOGETHER = 100_000, 64_000_000, 2_000_000_000
_CONVERT = "write it as JSON: `inspect log convert --to json --output-dir out FILE`"
_LETTER = "ANSWER: $LETTER"  # Inspect's own prompt for several choices asks for the letter so


def is_log(value: Mapping[str, Json]) -> bool:
    """Whether the object is a log."""
    return "samples" in value and "eval" in value


def samples(log: Mapping[str, Json]) -> Iterator[Json]:
    """The samples of a log, each once, whatever its epochs."""
    by_id = {repr(mapping(sample).get("id")): sample for sample in listed(log.get("samples"))}
    yield from by_id.values()


def read_archive(path: Path) -> dict[str, Json]:
    """The samples of an ``.eval`` file, as a log has them.

    Raises:
        DataError: it is no zip of samples, is packed in a way that Python cannot read, or is too large.
    """
    found: list[Json] = []
    member = ""
    try:
        with zipfile.ZipFile(path) as archive:
            named = [one for one in archive.infolist() if one.filename.startswith("samples/")]
            named = [one for one in named if one.filename.endswith(".json")]
            too_large = [one.filename for one in named if one.file_size > MOST_BYTES]
            together = sum(one.file_size for one in named)
            if too_large or together > MOST_BYTES_TOGETHER or len(named) > MOST_SAMPLES:
                what = f"{too_large[0]!r} alone" if too_large else f"{len(named):,} samples"
                raise DataError(str(path), f"is too large unpacked: {what}, {together:,} bytes", _CONVERT)
            for one in named:
                member = one.filename
                with archive.open(one) as file:  # the size that the archive states may be a lie
                    content = file.read(MOST_BYTES + 1)
                if len(content) > MOST_BYTES:
                    raise DataError(str(path), f"{member!r} is larger than the archive says", _CONVERT)
                found.append(parse_json(content.decode("utf-8")))
    except Unusable as error:
        raise DataError(str(path), f"{member!r}: {error.problem}", _CONVERT) from error
    except (
        zipfile.BadZipFile,
        zlib.error,
        OSError,
        NotImplementedError,
        RuntimeError,
        EOFError,
        ValueError,
    ) as error:
        raise DataError(str(path), f"cannot be read as an .eval log: {error}", _CONVERT) from error
    return {"eval": {}, "samples": found}


def row(sample: Mapping[str, Json]) -> Turn:
    """The row of a sample: what the model was told before its first reply, and the target."""
    told = list(
        takewhile(lambda turn: mapping(turn).get("role") != "assistant", listed(sample.get("messages")))
    )
    target = sample.get("target")
    if isinstance(target, list):  # several are right: one is trained on
        target = target[0] if target else None
    if not isinstance(target, str) or not target.strip():
        raise Unusable("no-assistant", "a sample without a target", "a row needs a right reply")
    reply = target.strip()
    asked = told or sample.get("input")
    if _LETTER in repr(asked) and len(reply) == 1:
        reply = f"ANSWER: {reply}"
    return chat(asked, reply)
