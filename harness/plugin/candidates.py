"""Candidates are pytest's fixtures: which of them a test sees, and what they return, is asked of pytest."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import FunctionType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from harness.candidates.fixture import MARK
from harness.errors import CandidateError, HarnessError, UsageError
from harness.fields import shown_value

if TYPE_CHECKING:
    from _pytest.nodes import Node

    from harness.run.selection import Definition

FixtureDef = pytest.FixtureDef[object]
LONGEST_NAME = 100
RESERVED = {"candidate", "baseline", "suite"}  # fixtures that tests ask for


class CandidateFixtures:
    """The candidates that a session's conftests, plugins and test modules define.

    Collection needs candidates before a test runs: their sizes make the items, and their rows are checked
    before anything is trained. So their fixtures are set up while tests are collected, and stay until the
    session ends.
    """

    def __init__(self, root: Path, log: Callable[[str], None] = lambda text: None) -> None:
        self._root, self._log = root, log
        self._names: dict[str, None] = {}  # of fixtures
        self._evaluated: dict[tuple[FixtureDef, int], Definition] = {}
        self._asked_for: dict[FixtureDef, dict[str, FixtureDef]] = {}  # the fixtures that each was made with

    def add(self, module: object) -> None:
        """Note the candidates among the names of a conftest, a plugin, a test module or a class."""
        every: tuple[object, ...] = module.__mro__ if isinstance(module, type) else (module,)
        for one in every:
            for name, value in list(getattr(one, "__dict__", {}).items()):
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
            UsageError: a candidate's function fails, or returns something else; or two have one name.
        """
        from harness.run.selection import match_names

        session, wanted = node.session, list(patterns)
        self._require_free_names(session)
        found: dict[str, Definition] = {}
        for name in self._names:
            visible = session._fixturemanager.getfixturedefs(name, node) or ()
            for shown, definition in self._spelled(name, visible[-1:]):
                if match_names(wanted, [shown]):
                    number = 0 if not definition.params else list(self._params(name, definition)).index(shown)
                    made = self._evaluate(definition, shown, number, node)
                    if shown in found:
                        raise UsageError(
                            f"{made.where} and {found[shown].where} are both the candidate {shown}.\n"
                            "  hint: rename one; underscores and hyphens are one, and a parameter's name is"
                            " part of the candidate's."
                        )
                    found[shown] = replace(made, overrides=len(visible) > 1, paths_from=_folder(visible))
        return found

    def names_at(self, node: Node) -> list[str]:
        """Names of all candidates that a test sees."""
        manager = node.session._fixturemanager
        seen = ((name, manager.getfixturedefs(name, node) or ()) for name in self._names)
        return sorted({shown for name, defs in seen for shown, _ in self._spelled(name, defs[-1:])})

    def _require_free_names(self, session: pytest.Session) -> None:
        for name in RESERVED.intersection(self._names):
            for definition in _all(session, name):
                if getattr(definition.func, MARK, False) is True:
                    raise UsageError(
                        f"{_where(definition, self._root)}: a candidate cannot be called {name}: tests ask"
                        " for the harness's own fixture by that name.\n  hint: rename the function."
                    )

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
        from harness.candidates.base import require_candidate
        from harness.models.progress import noticed
        from harness.run.selection import Definition

        key, where = (definition, number), _where(definition, self._root)
        here = _asked_for(definition, node)
        there = self._asked_for.setdefault(definition, here)
        for fixture in here.keys() & there.keys():
            if here[fixture] is not there[fixture]:
                places = [_where(one, self._root) for one in (there[fixture], here[fixture])]
                raise UsageError(
                    f"{where}: {name} asks for {fixture}, which is defined at {places[0]} and, for other"
                    f" tests, at {places[1]}; pytest makes {name} once.\n"
                    f"  hint: define {name} beside each of the two, or run the suites apart."
                )
        if key not in self._evaluated:
            with noticed(f"the candidate function {name} ({where})", self._log):
                made = require_candidate(_value(definition, number, node, where), where)
            _require_name(name, where)
            folder = Path(_file(definition)).parent
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
        _set_up_autouse(probe)
        return probe._request.getfixturevalue(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a user's function may raise anything; SystemExit and pytest.exit, too
        raise _failed(error, name, where) from error
    finally:
        option.setupplan = only_planned
        state.teardown_exact(node.session)  # type: ignore[arg-type]  # the session stays set up


def _set_up_autouse(probe: _Probe) -> None:
    """Set up the session's fixtures that every test gets: a candidate may need what they do."""
    manager = probe.session._fixturemanager
    for name in list(manager._getautousenames(probe)):
        visible = manager.getfixturedefs(name, probe) or ()
        if visible and visible[-1].scope == "session":
            probe._request.getfixturevalue(name)


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
    return CandidateError(f"{where}: in {name}: {said.strip()}{hint}")


def _require_name(name: str, where: str) -> None:
    """Names stand in reports and file names, and one with @ would read as another candidate at a size."""
    if not name.isprintable() or "@" in name or len(name) > LONGEST_NAME or name != name.strip():
        raise UsageError(
            f"{where}: a candidate cannot be called {shown_value(name)}: use up to {LONGEST_NAME} printable"
            " characters without @.\n  hint: name the parameters: params={'short': value, ...}."
        )


def _all(session: pytest.Session, name: str) -> list[FixtureDef]:
    """Every definition of a fixture, outermost first."""
    manager: Any = session._fixturemanager
    by_node = getattr(manager, "_arg2node2fixturedefs", {}).get(name, {})
    by_id = getattr(manager, "_arg2nodeid2fixturedefs", {}).get(name, {})
    found = [d for group in (by_node, by_id) for defs in group.values() for d in defs]
    found += getattr(manager, "_arg2fixturedefs", {}).get(name, ())  # before pytest 9.2
    return sorted(dict.fromkeys(found), key=lambda definition: (len(definition.baseid), definition.baseid))


def _asked_for(definition: FixtureDef, node: Node) -> dict[str, FixtureDef]:
    """The fixtures that one is made with, as a test sees them."""
    found: dict[str, FixtureDef] = {}
    names = list(definition.argnames)
    while names:
        name = names.pop()
        visible = node.session._fixturemanager.getfixturedefs(name, node)
        if visible and name not in found and name != definition.argname:
            found[name] = visible[-1]
            names += visible[-1].argnames
    return found


def _function(definition: FixtureDef) -> FunctionType:
    function: Any = inspect.unwrap(definition.func)
    plain: FunctionType = getattr(function, "__func__", function)  # a class's fixture is a bound method
    return plain


def _file(definition: FixtureDef) -> str:
    """Of its module, as loaded. Before pytest 9.2, compiled modules keep the path that they had when they
    were compiled: in a project that was copied or moved since, another folder's."""
    function = _function(definition)
    return str(function.__globals__.get("__file__") or function.__code__.co_filename)


def _folder(visible: Sequence[FixtureDef]) -> Path:
    """Where a candidate's paths start: one that is made from the outer one of its name keeps that one's."""
    own = [one for one in visible if one.argname not in one.argnames]
    return Path(_file((own or list(visible))[-1])).parent


def _where(definition: FixtureDef, root: Path) -> str:
    line = _function(definition).__code__.co_firstlineno
    return f"{os.path.relpath(_file(definition), root)}:{line}"
