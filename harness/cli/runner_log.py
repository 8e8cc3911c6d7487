"""What a command prints in a step of GitHub Actions, whose runner acts on lines of the log."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOBase
from stat import S_ISREG
from typing import TextIO, cast

from harness.report.ci import without_commands


@contextmanager
def taken_for_text(*, is_json: bool) -> Iterator[None]:
    """In such a step, have the runner act on nothing that is printed: answers are text of strangers.

    What goes into a file is left as it is, and a JSON document means what it meant.
    """
    own = sys.stdout, sys.stderr
    if os.environ.get("GITHUB_ACTIONS") == "true":
        sys.stdout, sys.stderr = (
            one if _is_file(one) else cast("TextIO", AsText(one, is_json=is_json)) for one in own
        )
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, AsText):
                stream.end()
        sys.stdout, sys.stderr = own


def _is_file(stream: TextIO) -> bool:
    try:
        return S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):  # there is none behind it
        return False


class AsText(TextIOBase):
    """A stream that passes lines on to another one when they are whole: a command may be printed in parts."""

    def __init__(self, stream: TextIO, *, is_json: bool) -> None:
        self._stream, self._is_json, self._begun = stream, is_json, ""

    @property
    def encoding(self) -> str:  # type: ignore[override]  # typeshed has a variable
        """That of the other one."""
        return self._stream.encoding

    def write(self, text: str) -> int:
        """Pass on what ends in a line feed."""
        *lines, self._begun = f"{self._begun}{text}".split("\n")
        self._stream.write("".join(f"{self._shown(line)}\n" for line in lines))
        return len(text)

    def flush(self) -> None:
        """Flush the other one."""
        self._stream.flush()

    def end(self) -> None:
        """Pass on the last line."""
        self._stream.write(self._shown(self._begun))
        self._begun = ""

    def _shown(self, line: str) -> str:
        if self._is_json:
            return re.sub(r"#(?=[^\w\s]*\[)", r"\\u0023", line)
        return "\r".join(map(without_commands, line.split("\r")))  # the runner ends a line there, too
