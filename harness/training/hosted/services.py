"""The tuning services that are known: what was read of each, when and where, and whether it still holds.

A service is one file in ``known/``: the fields of ``Service``, and the shapes of what is sent and answered. A
shape that is named as in the SDK (``openai.types.fine_tuning.FineTuningJob``) is compared with the installed
one; any other was read from a page or a specification alone. In a shape each field has its type as text, with
``?`` behind it where it may be left out.
"""

from __future__ import annotations

import inspect
import tomllib
import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from datetime import date
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from operator import attrgetter
from typing import Annotated, Any, Literal, NotRequired, Required, TypeAlias, Union, get_args, get_origin

from harness.errors import UnknownName

Shape: TypeAlias = Mapping[str, str]  # types by field
_WRAPPED = (Annotated, Required, NotRequired)
_OF_EVERY_CALL = ("self", "extra_headers", "extra_query", "extra_body", "timeout")  # of the SDKs


@dataclass(frozen=True, slots=True, kw_only=True)
class Statuses:
    """The words that a job says, by what the harness takes them for."""

    under_way: tuple[str, ...]
    succeeded: tuple[str, ...]
    failed: tuple[str, ...]
    cancelled: tuple[str, ...] = ()
    paused: tuple[str, ...] = ()

    @property
    def all(self) -> frozenset[str]:
        """All of them."""
        return frozenset((*self.under_way, *self.succeeded, *self.failed, *self.cancelled, *self.paused))


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A tuning service."""

    name: str
    title: str  # as its makers write it
    candidate: str  # the class of ``harness`` that tunes there
    sdk: str  # the distribution that its shapes were read from
    sdk_version: str
    read_on: date
    source: str  # where: the address of a page, or of a specification
    answers: str  # how a tuned model is asked, and what that costs by: one phrase
    works: tuple[str, ...]  # what is done and tested at a stand-in of its shapes
    untried: tuple[str, ...]  # what nobody has tried at the service itself
    job: str = ""  # the shape of a job; empty: there are none, the loop is the harness's
    statuses: Statuses | None = None  # of a job
    shapes: Mapping[str, Shape] = field(default_factory=dict)

    @property
    def installed(self) -> str | None:
        """The version of the SDK that is installed; None: it is not."""
        try:
            return version(self.sdk)
        except PackageNotFoundError:
            return None

    @property
    def compared(self) -> Mapping[str, Shape]:
        """The shapes that are the SDK's own."""
        root = f"{self.sdk.partition('-')[0]}."
        return {name: told for name, told in self.shapes.items() if name.startswith(root)}

    @property
    def read_from(self) -> str:
        """What the shapes were read from, in a few words."""
        return f"{self.sdk} {self.sdk_version}" if self.compared else "its reference"

    def drift(self) -> tuple[str, ...]:
        """How the installed SDK differs from what was recorded, a line a field; empty: it does not."""
        return tuple(line for name, told in self.compared.items() for line in _drift(name, told))


@cache
def services() -> Mapping[str, Service]:
    """All services that are known, by name."""
    from pydantic import TypeAdapter

    folder = files("harness.training.hosted") / "known"
    texts = [each.read_text(encoding="utf-8") for each in folder.iterdir() if each.name.endswith(".toml")]
    read = TypeAdapter(Service).validate_python
    found = (read(tomllib.loads(text)) for text in texts)
    return {service.name: service for service in sorted(found, key=lambda service: service.name)}


def service_of(name: str) -> Service:
    """The service of that name.

    Raises:
        UnknownName: there is none.
    """
    if name not in services():
        raise UnknownName("service", name, services(), "One of your own: see docs/providers.md.")
    return services()[name]


# --------------------------------------------------------------------------- shapes of an SDK
@dataclass(frozen=True, slots=True)
class Field:
    """A field on the wire."""

    hint: Any
    is_required: bool

    @property
    def text(self) -> str:
        """Its type, as it is recorded."""
        names = list(dict.fromkeys(_names(self.hint)))
        if not self.is_required:
            names = [name for name in names if name != "None"] or names
        return " | ".join(names) + ("" if self.is_required else "?")


def fields_of(kind: Any) -> dict[str, Field]:  # noqa: ANN401
    """The fields of an SDK's model, ``TypedDict``, dataclass or function, by their names on the wire."""
    from typing_extensions import get_type_hints, is_typeddict

    if is_typeddict(kind):
        hints = get_type_hints(kind, include_extras=True)
        needed = kind.__required_keys__
        return {
            _alias(hint) or name: Field(hint, _is_required(hint, name in needed))
            for name, hint in hints.items()
        }
    if inspect.isfunction(kind):
        hints, given = get_type_hints(kind), inspect.signature(kind).parameters
        return {
            name: Field(hints.get(name, Any), parameter.default is inspect.Parameter.empty)
            for name, parameter in given.items()
            if name not in _OF_EVERY_CALL
        }
    if is_dataclass(kind):
        return {  # types as they are written: some are known to type checkers alone
            each.name: Field(each.type, each.default is MISSING and each.default_factory is MISSING)
            for each in fields(kind)
        }
    return {
        found.alias or name: Field(found.annotation, found.is_required())
        for name, found in kind.model_fields.items()
    }


def shape_of(name: str) -> Shape:
    """The shape that something of an installed SDK has now.

    Raises:
        ImportError, AttributeError: there is no such thing.
    """
    return {name: found.text for name, found in fields_of(_found(name)).items()}


def _found(name: str) -> Any:  # noqa: ANN401
    """What has a dotted name: a module, and names in it that begin with a capital, or a function's."""
    parts = name.split(".")
    for last in range(len(parts) - 1, 0, -1):
        try:
            module = import_module(".".join(parts[:last]))
        except ModuleNotFoundError:
            continue
        return attrgetter(".".join(parts[last:]))(module)
    raise ImportError(name)


def _drift(name: str, recorded: Shape) -> Iterator[str]:
    short = ".".join(name.split(".")[-2:]) if name.split(".")[-1].islower() else name.rpartition(".")[2]
    try:
        now = shape_of(name)
    except (ImportError, AttributeError):
        yield f"- {name}: gone"
        return
    yield from (f"+ {short}.{each}: {now[each]}" for each in now if each not in recorded)
    yield from (f"- {short}.{each}: {recorded[each]}" for each in recorded if each not in now)
    for each in recorded:
        if each in now and (changed := _changed(recorded[each], now[each])):
            yield f"~ {short}.{each}: {changed}"


def _changed(before: str, now: str) -> str:
    """How two types of one field differ, whatever the order of their words; empty: they do not."""
    old, new = (text.removesuffix("?").split(" | ") for text in (before, now))
    if len(old) > 1 < len(new) and before.endswith("?") == now.endswith("?"):
        came = [f"+{word}" for word in new if word not in old]
        return " ".join([*came, *(f"-{word}" for word in old if word not in new)])
    return "" if before == now else f"{before} -> {now}"


def _alias(hint: Any) -> str | None:  # noqa: ANN401
    """The name on the wire, where an annotation gives one."""
    for each in getattr(hint, "__metadata__", ()):
        if getattr(each, "alias", None):
            return str(each.alias)
    inner = get_args(hint) if get_origin(hint) in _WRAPPED else ()
    return _alias(inner[0]) if inner else None


def _is_required(hint: Any, by_class: bool) -> bool:  # noqa: ANN401
    """Whether a ``TypedDict`` requires a key: the class itself cannot tell where annotations are text."""
    origin = get_origin(hint)
    if origin in (Required, NotRequired):
        return origin is Required
    return _is_required(get_args(hint)[0], by_class) if origin is Annotated else by_class


def _names(hint: Any) -> Iterator[str]:  # noqa: ANN401
    """The alternatives of a type, by name; words of a ``Literal`` in quotes."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in _WRAPPED:
        yield from _names(inner[0])
    elif origin in (Union, types.UnionType):
        for each in inner:
            yield from _names(each)
    elif origin is Literal:
        yield from (f'"{word}"' if isinstance(word, str) else str(word) for word in inner)
    elif origin is not None:
        of = ", ".join(" | ".join(_names(each)) for each in inner)
        yield f"{getattr(origin, '__name__', origin)}[{of}]"
    else:
        yield "None" if hint is type(None) else getattr(hint, "__name__", str(hint))
