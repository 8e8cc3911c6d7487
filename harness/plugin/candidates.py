"""Candidates are pytest's fixtures: which of them a test sees, and what they return, is asked of pytest."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import CodeType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from harness.candidates.base import require_candidate
from harness.candidates.fixture import MARK
from harness.errors import HarnessError, UsageError
from harness.run.selection import Definition, match_names

if TYPE_CHECKING:
    from _pytest.nodes import Node

FixtureDef = pytest.FixtureDef[object]


class CandidateFixtures:
    """The candidates that a session's conftests, plugins and test modules define.

    Collection needs candidates before a test runs: their sizes make the items, and their rows are checked
    before anything is trained. So their fixtures are set up while tests are collected, and stay until the
    session ends.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names: dict[str, None] = {}  # of fixtures
        self._evaluated: dict[tuple[FixtureDef, int], Definition] = {}

    def add(self, module: object) -> None:
        """Note the candidates among the names of a conftest, a plugin, a test module or a class."""
        for name, value in list(getattr(module, "__dict__", {}).items()):
            if getattr(value, MARK, False) is True:
                self._names[name] = None

    def known(self, session: pytest.Session) -> list[str]:
        """Names of all candidates, wherever they are visible."""
        return sorted(
            {shown for name in self._names for shown, _ in self._spelled(name, _all(session, name))}
        )

    def listed(self, session: pytest.Session) -> Iterator[str]:
        """A line for each definition: name, file and line, the folder that it serves, its first sentence."""
        for name in sorted(self._names):
            for definition in _all(session, name):
                shown = ", ".join(
                    dict.fromkeys(s for s, d in self._spelled(name, [definition]) if d is definition)
                )
                served = definition.baseid or "the whole project"
                doc = (definition.func.__doc__ or "").strip().partition("\n")[0]
                yield f"{shown} -- {_where(definition, self._root)}, for {served}" + (
                    f"\n    {doc}" if doc else ""
                )

    def visible(self, node: Node, patterns: Iterable[str]) -> dict[str, Definition]:
        """The candidates that a test sees and that some pattern matches, by name.

        Raises:
            UsageError: a candidate's function fails, or returns something else.
        """
        session, wanted = node.session, list(patterns)
        found: dict[str, Definition] = {}
        for name in self._names:
            visible = session._fixturemanager.getfixturedefs(name, node) or ()
            for shown, definition in self._spelled(name, visible[-1:]):
                if match_names(wanted, [shown]):
                    number = 0 if not definition.params else list(self._params(name, definition)).index(shown)
                    made = self._evaluate(definition, shown, number, node)
                    found[shown] = replace(made, overrides=len(visible) > 1)
        return found

    def names_at(self, node: Node) -> list[str]:
        """Names of all candidates that a test sees."""
        manager = node.session._fixturemanager
        seen = ((name, manager.getfixturedefs(name, node) or ()) for name in self._names)
        return sorted({shown for name, defs in seen for shown, _ in self._spelled(name, defs[-1:])})

    def _spelled(self, name: str, definitions: Sequence[FixtureDef]) -> Iterator[tuple[str, FixtureDef]]:
        """The names that a fixture's candidates answer to; one for each parameter."""
        for definition in definitions:
            for shown in self._params(name, definition):
                yield shown, definition

    def _params(self, name: str, definition: FixtureDef) -> Sequence[str]:
        stem = name.replace("_", "-")
        if not definition.params:
            return [stem]
        ids = definition.ids if isinstance(definition.ids, tuple) else definition.params
        return [f"{stem}-{id}".replace("_", "-") for id in ids]

    def _evaluate(self, definition: FixtureDef, name: str, number: int, node: Node) -> Definition:
        key = definition, number
        if key not in self._evaluated:
            where = _where(definition, self._root)
            made = require_candidate(_value(definition, number, node, where), where)
            folder = Path(_code(definition).co_filename).parent
            self._evaluated[key] = Definition(name, made, folder, where)
        return self._evaluated[key]


class _Probe(pytest.Function):
    """Stands for a test that asks for one candidate, where that test would see it."""

    def setup(self) -> None:
        """Set up nothing but what the candidate asks for."""

    def listchain(self) -> list[Node]:
        """Only the session is set up around it, and no package or module of the test."""
        return [self.session, self]


def _value(definition: FixtureDef, number: int, node: Node, where: str) -> object:
    """What the fixture returns, with the session's other fixtures set up as it asks for them.

    Raises:
        UsageError: it raised something.
    """
    name, state = definition.argname, node.session._setupstate
    parent = node.parent or node
    probe = _Probe.from_parent(parent, name=f"candidate {name}", callobj=_no_test)
    if definition.params:
        # what pytest's own parametrisation leaves on an item
        probe.callspec = SimpleNamespace(  # type: ignore[assignment]
            params={name: definition.params[number]},
            indices={name: number},
            _arg2scope={name: definition._scope},
        )
    option = node.config.option
    only_planned, option.setupplan = option.setupplan, False  # --setup-plan would give None for every fixture
    try:
        state.setup(probe)
        return probe._request.getfixturevalue(name)
    except Exception as error:  # a user's function may raise anything
        raise _failed(error, name, where) from error
    except (pytest.fail.Exception, pytest.skip.Exception) as error:  # these are no Exceptions to pytest
        raise _failed(error, name, where) from error
    finally:
        option.setupplan = only_planned
        state.teardown_exact(node.session)  # type: ignore[arg-type]  # the session stays set up


def _no_test() -> None:
    """The probe's own function; it is never called."""


def _failed(error: BaseException, name: str, where: str) -> UsageError:
    said = str(error) if isinstance(error, HarnessError) else f"{type(error).__name__}: {error}"
    hint = ""
    if "ScopeMismatch" in said:
        hint = (
            "\n  hint: a candidate lives as long as the session, and so must every fixture that it asks for."
        )
    if isinstance(error, pytest.FixtureLookupError):
        said = f"there is no fixture {error.argname!r} for it to ask for."
    return UsageError(f"{where}: in {name}: {said.strip()}{hint}")


def _all(session: pytest.Session, name: str) -> list[FixtureDef]:
    """Every definition of a fixture, outermost first."""
    manager: Any = session._fixturemanager
    by_node = getattr(manager, "_arg2node2fixturedefs", {}).get(name, {})
    by_id = getattr(manager, "_arg2nodeid2fixturedefs", {}).get(name, {})
    found = [d for group in (by_node, by_id) for defs in group.values() for d in defs]
    found += getattr(manager, "_arg2fixturedefs", {}).get(name, ())  # before pytest 9.2
    return sorted(dict.fromkeys(found), key=lambda definition: (len(definition.baseid), definition.baseid))


def _code(definition: FixtureDef) -> CodeType:
    function: Any = inspect.unwrap(definition.func)
    code: CodeType = getattr(function, "__func__", function).__code__  # a class's fixture is a bound method
    return code


def _where(definition: FixtureDef, root: Path) -> str:
    code = _code(definition)
    return f"{os.path.relpath(code.co_filename, root)}:{code.co_firstlineno}"
