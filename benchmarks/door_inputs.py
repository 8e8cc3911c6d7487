"""Input that nobody means well with, for `benchmarks.doors`, drawn from a seed."""

from __future__ import annotations

import json
import os
import string
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from benchmarks.hostile_values import TEXTS
from harness.records import Json

T = TypeVar("T")

NUMBERS: tuple[Json, ...] = (
    *(0, -0.0, 1, -1, 0.5, 1.0, 1e-320, 1.7976931348623157e308, 2**31, 2**63, 2**64, 10**40, -(10**40)),
    *(float("nan"), float("inf"), float("-inf"), True, False, None),
)
WORDS = (
    *("", " ", "a", "yes", "no", "all", "none", "null", "true", "../../../etc/passwd", "/etc/passwd"),
    *("C:\\x", "\\\\host\\x", "con", ".", "..", "a/b", "a//b", "file:///etc/passwd", "http://127.0.0.1:9/x"),
    *("-", "-1", "+1", "1_0", "٣", "1e999", "nan", "inf", "0x10", "1,2,3", ",", "1,,2", "50,100", "2,1"),
    *("a\nb", "a\tb", "a\0b", "\r\n", "*", "[!", "**", "?", "{a,b}", "%00", "$(id)", "release", "good"),
    *("\x1b[31m", "x" * 5_000, "9" * 5_000, "2026-13-45", "1-2", "1-", "gpt-4o", "ft:gpt-4o-mini::x", "ft:"),
)  # fmt: skip
TOKENS: tuple[bytes, ...] = (
    b"NaN",
    b"Infinity",
    b"1e999",
    b"9" * 5_000,
    b"null",
    b"[" * 20_000,
    b'{"a":' * 9_000,
    b"\xff",
)
TOKENS += (b"\xef\xbb\xbf", b"\0", b"\r", b"\r\n", b"\n\n", b"\xed\xa0\x80", b"\\ud800", b'"', b"\\", b"}")
TOKENS += (b"\xe2\x80\xa8", b"\x1b[2J", b"{{ 7 * 7 }}", b"{% for x in y %}", b"!!python/object:os.system")


@lru_cache(maxsize=32)
def _taker(strategy: SearchStrategy[T]) -> tuple[Callable[[bytes], bytes | None], list[T]]:
    found: list[T] = []

    @settings(database=None, deadline=None)
    @given(strategy)
    def take(value: T) -> None:
        found.append(value)

    return take.hypothesis.fuzz_one_input, found  # type: ignore[attr-defined]  # its hook for other fuzzers


def drawn(strategy: SearchStrategy[T], rng: Random) -> T:
    """A value of the strategy, made by Hypothesis from the generator's bytes."""
    make, found = _taker(strategy)
    found.clear()
    while not found:
        make(rng.randbytes(600))
    value: T = found[0]
    return value


ANY_TEXT = st.text(max_size=30)
_LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | ANY_TEXT
ANY_JSON = st.recursive(_LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner))


def any_text(rng: Random) -> str:
    """A word that options or files may hold, hostile or not."""
    kind = rng.random()
    if kind < 0.5:
        return rng.choice(WORDS)
    if kind < 0.7:
        return rng.choice(TEXTS)
    if kind < 0.85:
        return drawn(ANY_TEXT, rng)
    return "".join(rng.choices(string.printable, k=rng.randrange(12)))


def any_value(rng: Random) -> Json:
    """A number, a text, or any other JSON."""
    kind = rng.random()
    if kind < 0.4:
        return rng.choice(NUMBERS)
    return any_text(rng) if kind < 0.75 else drawn(ANY_JSON, rng)


# --------------------------------------------------------------------------- structure
def mutated(rng: Random, value: Json, steps: int = 0) -> Json:
    """A copy with some places changed: another value, a key gone, renamed or moved, an item twice."""
    found: Json = json.loads(json.dumps(value))
    for _ in range(steps or rng.choice((1, 1, 1, 2, 4))):
        found = _changed(rng, found)
    return found


def _changed(rng: Random, value: Json) -> Json:
    if isinstance(value, dict) and value:
        key = rng.choice(list(value))
        kind = rng.random()
        if kind < 0.6:
            value[key] = _changed(rng, value[key])
        elif kind < 0.75:
            del value[key]
        elif kind < 0.85:
            value[rng.choice((key + "s", key.upper(), any_text(rng)))] = value.pop(key)
        else:
            value[any_text(rng)] = any_value(rng)
        return value
    if isinstance(value, list) and value:
        at = rng.randrange(len(value))
        kind = rng.random()
        if kind < 0.7:
            value[at] = _changed(rng, value[at])
        elif kind < 0.8:
            del value[at]
        elif kind < 0.9:
            value.insert(at, value[at])
        else:
            value.append(any_value(rng))
        return value
    return any_value(rng)


# --------------------------------------------------------------------------- bytes
def written(rng: Random, value: Json) -> bytes:
    """The value as JSON, now and then with what readers disagree on: NaN, keys twice, long numbers."""
    text = json.dumps(value, ensure_ascii=rng.random() < 0.5)
    if rng.random() < 0.15 and text.startswith("{") and len(text) > 2:
        text = "{" + text[1:-1] + "," + text[1:]  # every key twice
    if rng.random() < 0.1:
        text = text.replace(": 1", f": {'9' * 5_000}", 1)
    return text.encode("utf-8", "surrogatepass")


def spoilt(rng: Random, content: bytes) -> bytes:
    """The bytes with a few of them gone, changed, doubled, or in another encoding."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(content) + 1)
        end = min(len(content), at + rng.choice((1, 1, 4, 40)))
        kind = rng.random()
        if kind < 0.3:
            content = content[:at] + rng.choice(TOKENS) + content[at if rng.random() < 0.5 else end :]
        elif kind < 0.5:
            content = content[:at] + rng.randbytes(end - at) + content[end:]
        elif kind < 0.65:
            content = content[:at] + content[end:]
        elif kind < 0.75:
            content = content[:at]
        elif kind < 0.85:
            content = content[:end] + content[at:]
        elif kind < 0.9:
            content = b"\xef\xbb\xbf" + content
        elif kind < 0.95:
            content = content.replace(b"\n", b"\r\n")
        else:
            content = content.decode("utf-8", "replace").encode(
                rng.choice(("utf-16", "utf-32", "latin-1")), "replace"
            )
    return content


# --------------------------------------------------------------------------- paths
def odd_path(rng: Random, folder: Path, content: bytes, name: str = "input") -> Path:
    """A path under ``folder`` at which anything but a plain file may be."""
    path = folder / rng.choice((name, name, "in put", "new\nline", "\x1b[31m", "ünï", "a" * 255))
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
    kind = rng.choice(
        ("file", "folder", "pipe", "loop", "dangling", "zero", "full", "missing", "inside", "long")
    )
    if kind == "file":
        path.write_bytes(content)
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind in ("dangling", "zero", "full"):
        path.symlink_to("nowhere" if kind == "dangling" else f"/dev/{kind}")
    elif kind == "inside":  # of a file, as if it were a folder
        path.write_bytes(content)
        return path / "more"
    elif kind == "long":
        return folder / ("x" * 300)
    return path
