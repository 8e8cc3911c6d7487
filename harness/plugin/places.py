"""Where a claim was written, and whether an assert asked for its truth: read from the frame that does it."""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from harness.run.written_claims import WrittenModule

_OURS = Path(__file__).parents[1]


class Place(NamedTuple):
    """A place in a source file; columns count bytes of UTF-8, and are None where Python keeps none."""

    file: str
    line: int
    column: int | None

    def shown(self, root: Path) -> str:
        """``file:line:column``, relative to ``root``."""
        column = "" if self.column is None else f":{self.column}"
        return f"{os.path.relpath(self.file, root)}:{self.line}{column}"


def caller() -> Place:
    """The place outside of this package from which the present call comes."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_back is not None and _is_ours(frame):
        frame = frame.f_back
    assert frame is not None
    # a module that was compiled elsewhere keeps that path in its code
    file = frame.f_globals.get("__file__") or frame.f_code.co_filename
    positions = next(islice(frame.f_code.co_positions(), frame.f_lasti // 2, None), (None,) * 4)
    return Place(str(file), positions[0] or frame.f_lineno, positions[2])


def is_asserted(place: Place) -> bool:
    """Whether the place belongs to an assert statement; what has no source is taken to."""
    module = read_module(place.file)
    if module is None:
        return True
    for node in module.asserts:
        start, end = (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)
        column = place.column if place.column is not None else node.col_offset
        if start <= (place.line, column) < end:
            return True
    return False


@lru_cache(maxsize=64)
def _module(file: str, mtime_ns: int) -> WrittenModule | None:
    from harness.run.written_claims import WrittenModule

    try:
        module = WrittenModule(Path(file).read_text(encoding="utf-8"))
        module.tree  # noqa: B018 - parsed here, where what is no Python is caught
    except (OSError, SyntaxError, ValueError):  # undecodable bytes are a ValueError
        return None
    return module


def read_module(file: str | Path) -> WrittenModule | None:
    """A module's source; None where there is none that can be read as Python."""
    try:
        return _module(str(file), Path(file).stat().st_mtime_ns)
    except OSError:
        return None


def _is_ours(frame: FrameType) -> bool:
    return Path(frame.f_code.co_filename).is_relative_to(_OURS)
