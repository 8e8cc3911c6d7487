"""Adapters that a service gives away: taken out of their archive, and held against the base they go on.

Nothing of an archive is trusted: two files are taken out of it under names of our own, whatever else it holds
is read past, and what is read is bounded. Weights are safetensors; pickled ones are never opened.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, cast

from harness.errors import HostedTrainingError
from harness.models.source import ModelSource
from harness.records import Json

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
MOST_BYTES = 16 * 2**30  # of an archive, and of what is packed in it; rank 64 on 70B has 3 GB
MOST_CONFIG_BYTES, MOST_HEADER_BYTES = 2**20, 2**20
PIECE = 2**20
_ZSTD, _GZIP = b"\x28\xb5\x2f\xfd", b"\x1f\x8b"
_WINDOW = 2**31  # what `zstd --long=31` needs
_PICKLED = (".bin", ".pt", ".pth", ".pkl")
_PLACE = re.compile(r"(layers\.\d+\..+)\.lora_([AB])\.weight")
_SPELLED = re.compile(r"[^a-z0-9]")


class AdapterProblem(Exception):  # noqa: N818 - what is wrong with what a service gave, as a sentence
    """An archive or an adapter that cannot be used; says why."""


# --------------------------------------------------------------------------- out of an archive
class _Bounded(io.RawIOBase):
    """A stream that ends in an error where more is read of it than was allowed."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source, self._left, self._all_left = source, 0, MOST_BYTES

    def allow(self, size: int) -> None:
        """Let so many bytes be read from now on; the archive's own blocks are read ahead."""
        self._left = size + 4 * tarfile.RECORDSIZE

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        """As of any file."""
        piece = self._source.read(size)
        self._left -= len(piece)
        self._all_left -= len(piece)
        if self._all_left < 0:
            raise AdapterProblem(f"its archive unpacks to more than {MOST_BYTES / 2**30:.0f} GiB")
        if self._left < 0:
            raise AdapterProblem("its archive has a header without end")
        return piece


def unpack_adapter(archive: Path, folder: Path) -> None:
    """Take an adapter's two files out of a tar archive, packed with zstd, with gzip, or not at all.

    Raises:
        AdapterProblem: it is no such archive, is hostile, or holds no adapter, or several.
    """
    import zlib

    import zstandard

    with archive.open("rb") as file:
        try:
            _take(_Bounded(_unpacked(file)), folder)
        except (tarfile.TarError, EOFError, zlib.error, zstandard.ZstdError, gzip.BadGzipFile) as error:
            raise AdapterProblem(f"its archive is not whole, or is none ({error})") from error


def _unpacked(file: IO[bytes]) -> BinaryIO:
    import zstandard

    head = file.read(4)
    file.seek(0)
    if head.startswith(_GZIP):
        return cast("BinaryIO", gzip.open(file))
    if head == _ZSTD:
        unpacker = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
        return cast("BinaryIO", unpacker.stream_reader(file, read_across_frames=True))
    return cast("BinaryIO", file)


def _take(stream: _Bounded, folder: Path) -> None:
    place: PurePosixPath | None = None
    taken: set[str] = set()
    pickled = ""
    stream.allow(MOST_HEADER_BYTES)
    archive = tarfile.open(fileobj=stream, mode="r|")  # noqa: SIM115 - the stream is the caller's
    while (member := archive.next()) is not None:
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts:
            raise AdapterProblem(f"its archive holds {member.name!r}, which leads out of its folder")
        if path.suffix in _PICKLED and "adapter" in path.name:
            pickled = f" (it has {path}, which could run code when opened)"
        if member.issparse():  # a few bytes of it are read as a petabyte of zeros
            raise AdapterProblem(f"{path} in its archive is no plain file")
        into: IO[bytes] | None = None
        if path.name in (CONFIG, WEIGHTS):
            if not member.isreg():
                raise AdapterProblem(f"{path} in its archive is no plain file")
            if place not in (None, path.parent) or path.name in taken:
                raise AdapterProblem(f"its archive holds several adapters, in {place} and {path.parent}")
            if path.name == CONFIG and member.size > MOST_CONFIG_BYTES:
                raise AdapterProblem(f"its {CONFIG} has {member.size:,} bytes")
            place = path.parent
            taken.add(path.name)
            into = (folder / path.name).open("wb")
        with into or nullcontext():
            stream.allow(member.size)
            source = archive.extractfile(member) if member.isreg() else None
            while source is not None and (piece := source.read(PIECE)):
                if into is not None:
                    into.write(piece)
        stream.allow(MOST_HEADER_BYTES)
    missing = {CONFIG, WEIGHTS} - taken
    if missing:
        raise AdapterProblem(f"its archive holds no {' and no '.join(sorted(missing))}{pickled}")


# --------------------------------------------------------------------------- on a base
def require_adapter(folder: Path, base: str, source: ModelSource) -> None:
    """See that the adapter in ``folder`` goes on a local base.

    Args:
        folder: holds the two files.
        base: the name that the service tuned.
        source: the base on this machine.

    Raises:
        AdapterProblem: it names another base, is none, or its matrices do not fit.
    """
    config = _config(folder / CONFIG)
    if str(config.get("peft_type")).upper() != "LORA":
        raise AdapterProblem(f"its peft_type is {config.get('peft_type')!r}, not LORA")
    named = config.get("base_model_name_or_path")
    is_name = isinstance(named, str) and named.count("/") == 1 and not named.startswith(("/", "."))
    if is_name and _spelled(str(named)) not in (_spelled(base), _spelled(source.name)):
        raise AdapterProblem(f"it was trained on {named}, and local_base is {source.name}")
    shapes = _shapes(folder)
    matrices = {name: shape for name, shape in shapes.items() if ".lora_" in name}
    if not matrices:
        raise AdapterProblem("it has no low-rank matrices")
    quantised = _config(source.folder / "config.json").get("quantization_config") is not None
    there = {} if quantised else _layers(source)
    for name, shape in matrices.items():
        found = _PLACE.search(name)
        if found is None or not there:
            continue
        wanted = there.get(found[1])
        side = 1 if found[2] == "A" else 0  # A reads what goes in, B writes what comes out
        if wanted is None:
            raise AdapterProblem(f"it has matrices for {found[1]}, a layer that {source.name} does not have")
        if all(shape[side] != one[side] for one in wanted if len(one) == len(shape) == 2):
            sizes = " or ".join("×".join(map(str, one)) for one in sorted(wanted))
            raise AdapterProblem(
                f"its matrix for {found[1]} is {'×'.join(map(str, shape))}, and that layer of {source.name}"
                f" is {sizes}"
            )


def _config(file: Path) -> Mapping[str, Json]:
    try:
        found = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise AdapterProblem(f"its {file.name} is no JSON") from error
    if not isinstance(found, dict):
        raise AdapterProblem(f"its {file.name} is no JSON object")
    return found


def _shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    from safetensors import SafetensorError, safe_open

    found: dict[str, tuple[int, ...]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="np") as tensors:
                found |= {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118 - it is no mapping
        except SafetensorError as error:
            raise AdapterProblem(f"its {file.name} is not whole, or no safetensors ({error})") from error
    return found


def _layers(source: ModelSource) -> dict[str, set[tuple[int, ...]]]:
    """Shapes of the weights of a base's layers, by the part of their names from ``layers.`` on."""
    found: dict[str, set[tuple[int, ...]]] = {}
    for name, shape in _shapes(source.folder).items():
        _, mark, rest = name.rpartition(".layers.")
        if mark and rest.endswith(".weight"):
            found.setdefault(f"layers.{rest.removesuffix('.weight')}", set()).add(shape)
    return found


def _spelled(name: str) -> str:
    """A model's name without its owner, its revision, and what services put behind it."""
    own = name.partition("@")[0].rpartition("/")[2].lower().removesuffix("-reference").removeprefix("meta-")
    return _SPELLED.sub("", own)


def unusable(job: str, problem: AdapterProblem) -> HostedTrainingError:
    """An adapter that was paid for and does not answer here, with the ways that are left."""
    return HostedTrainingError(
        f"the job {job} succeeded, but its adapter cannot answer here: {problem}.",
        "name the base that it was trained on: local_base='…'; or deploy the model there and give"
        " deployment='ITS NAME' in place of local_base. Run again: nothing is tuned twice.",
        job=job,
    )
