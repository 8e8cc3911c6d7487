"""Settings that people write as fields of frozen dataclasses, each checked by its own annotation.

A dataclass calls ``require_fields(self)`` in ``__post_init__``. Spans stand in the annotation, as in
``epochs: Annotated[float, Span(above=0)] = 3``. Values are taken as they are, never converted: what a setting
is kept under must not depend on how it was written.
"""

from __future__ import annotations

import inspect
import math
import types
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import (
    Annotated,
    Literal,
    TypeAlias,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from harness.errors import UsageError

LONGEST_TEXT = 1_000  # characters of a name or a path
LARGEST = 2**31 - 1  # of what is counted: rows, tokens, calls
LARGEST_SEED = 2**32 - 1  # of numpy's and torch's generators
_CHARACTERS_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Span:
    """The finite numbers that a field takes, or lengths of a tuple; ``above`` and ``below`` are not in it."""

    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    below: float = math.inf

    def holds(self, value: object) -> bool:
        """Whether the number, or the tuple's length, is in it."""
        number = value if isinstance(value, int | float) else len(value) if isinstance(value, tuple) else 0
        return self.least <= number <= self.most and self.above < number < self.below

    def __str__(self) -> str:
        most = self.most if self.most < LARGEST else math.inf
        if math.isfinite(self.least) and math.isfinite(most):
            return f"from {self.least:g} to {most:g}"
        parts = {"of at least": self.least, "above": self.above, "at most": most, "below": self.below}
        return " and ".join(f"{word} {bound:g}" for word, bound in parts.items() if math.isfinite(bound))


_OF_LINES = "of any length and lines"
AnyText: TypeAlias = Annotated[str, _OF_LINES]  # such as a pattern
Count: TypeAlias = Annotated[int, Span(1, LARGEST)]
Positive: TypeAlias = Annotated[float, Span(above=0, most=LARGEST)]
Share: TypeAlias = Annotated[float, Span(0, 1)]
_PLAIN: Mapping[object, str] = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "text",
    type(None): "None",
}


def require_fields(owner: object) -> None:
    """Check every field of ``owner`` that a class of this package declares.

    Text must be there, without control characters and halves of surrogate pairs, and no longer than a path
    may be; numbers are finite, and True is none. Of protocols only classes are refused: an instance was
    meant.

    Raises:
        UsageError: naming the class, the field, its value and what it takes.
    """
    kind: type = type(owner)
    hints = _declared(kind)
    for field in fields(owner):  # type: ignore[arg-type]  # a dataclass
        value, hint = getattr(owner, field.name), hints.get(field.name)
        if hint is not None and not _fits(value, hint):
            raise UsageError(f"{kind.__name__}({field.name}={shown_value(value)}): use {_described(hint)}.")


def shown_value(value: object) -> str:
    """``repr`` of what a person wrote, short and printable, whatever it is."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 - of a number with thousands of digits, or of a class of anybody's
        text = f"<{type(value).__name__}, whose repr fails: {type(error).__name__}>"
    return text if len(text) <= _CHARACTERS_SHOWN else f"{text[:_CHARACTERS_SHOWN]}…"


@lru_cache(maxsize=256)
def _declared(owner: type) -> Mapping[str, object]:
    """The annotations of its fields; a project's own class may declare what it likes."""
    found: dict[str, object] = {}
    for base in owner.__mro__:
        own = inspect.get_annotations(base)
        ours = base.__module__.partition(".")[0] == __name__.partition(".")[0]
        hints = get_type_hints(base, include_extras=True) if own and ours else {}
        for name in own:
            found.setdefault(name, hints.get(name))
    return found


def _fits(value: object, hint: object) -> bool:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated and _OF_LINES in arguments:
        return isinstance(value, str) and not any(unicodedata.category(c) == "Cs" for c in value)
    if origin is Annotated:
        return _fits(value, arguments[0]) and all(bound.holds(value) for bound in arguments[1:])
    if origin in (Union, types.UnionType):
        return any(_fits(value, one) for one in arguments)
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in arguments)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(item, arguments[0]) for item in value)
    if hint in (int, float):
        is_number = isinstance(value, int if hint is int else int | float) and not isinstance(value, bool)
        return is_number and -math.inf < value < math.inf  # type: ignore[operator]  # it is a number
    if hint is str:
        return isinstance(value, str) and _is_plain(value)
    kind = origin or hint
    if isinstance(kind, type) and not getattr(kind, "_is_protocol", False):
        return isinstance(value, kind)
    # of a protocol no class is an instance, and no plain value
    return not isinstance(value, (type, bool, int, float, str, bytes, list, dict, type(None)))


def _is_plain(text: str) -> bool:
    return 0 < len(text) <= LONGEST_TEXT and not any(unicodedata.category(c) in ("Cc", "Cs") for c in text)


def _described(hint: object) -> str:
    """What the annotation takes, in words."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        bounds = [] if get_origin(arguments[0]) is tuple else map(str, arguments[1:])
        return " ".join([_described(arguments[0]), *filter(None, bounds)])
    if origin in (Union, types.UnionType):
        return ", or ".join(map(_described, arguments))
    if origin is Literal:
        return " or ".join(map(repr, arguments))
    if origin is tuple:
        such_as = ", such as ('a', 'b')" if arguments[0] is str else ""
        return f"a tuple of {_described(arguments[0]).removeprefix('a ')}{such_as}"
    if hint in _PLAIN:
        long = f" (one line of at most {LONGEST_TEXT:,} characters)" if hint is str else ""
        return f"{_PLAIN[hint]}{long}"
    kind = origin or hint
    name = getattr(kind, "__name__", str(kind))
    if getattr(kind, "_is_protocol", False) and kind.__module__ != "collections.abc":
        return f"a {name}"  # any class with its members
    return "a mapping" if name in ("Mapping", "dict") else f"{name}(...)"
