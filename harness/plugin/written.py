"""Tests as they are written against tests as pytest collects them: what is written and never runs is named.

A gate that silently does not run is the most expensive of mistakes here, for everything else may still be GO.
"""

from __future__ import annotations

import fnmatch
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.errors import UsageError
from harness.plugin.items import function_of, gate_name, has_candidate, suite_name
from harness.plugin.places import read_module

if TYPE_CHECKING:
    from harness.records import Gate
    from harness.run.selection import Arm
    from harness.run.suite_loading import LoadedSuite
    from harness.run.written_claims import WrittenFunction, WrittenModule

_OWN_FIXTURES = "harness.plugin.fixtures"
_NEVER_SUITES = (".*", "__pycache__", "*.egg", "build", "dist", "node_modules", "venv")
LEFT_OUT = "pytest was told to leave its file out (collect_ignore, --ignore or norecursedirs)."
UNJUDGED = "no test of its folder asks for a candidate. Write one, or keep the file elsewhere."
SourceLine = tuple[str, int]  # a function's file and first line


class WrittenTests:
    """What a session's files hold, beside what pytest made of it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._modules: dict[Path, pytest.Module] = {}
        # what one decorator made of several has one line
        self._tests: dict[SourceLine, list[pytest.Function]] = {}
        self._made: set[str] = set()  # node ids of classes
        self._opened: set[str] = set()
        self._ignored: set[Path] = set()
        self._patterns: list[str] = []
        self._visited: set[Path] = set()
        self._broken: dict[str, str] = {}  # by node id of a file or folder: why it gave no tests

    # ----------------------------------------------------------------- noted while pytest collects
    def visit(self, file: Path) -> None:
        """Note a file that pytest looks at, whether or not it takes it for tests."""
        if file.suffix == ".py":
            self._visited.add(file)

    def ignore(self, path: Path, config: pytest.Config) -> None:
        """Note a file or folder that pytest was told to leave out; not what no project keeps suites in."""
        self._patterns = config.getini("python_files")
        is_environment = (path / "pyvenv.cfg").exists()
        if not is_environment and not any(fnmatch.fnmatch(path.name, one) for one in _NEVER_SUITES):
            self._ignored.add(path)

    def add(self, made: object) -> None:
        """Note what a module or class gave."""
        for one in made if isinstance(made, list) else [made]:
            if isinstance(one, pytest.Class):
                self._made.add(one.nodeid)
            elif isinstance(one, pytest.Function):
                self._tests.setdefault(_line_of(function_of(one)), []).append(one)

    def add_report(self, collector: pytest.Collector, report: pytest.CollectReport) -> None:
        """Note what was opened, and a file or folder that was skipped or failed as a whole."""
        self._opened.add(report.nodeid)
        is_doctest = type(collector).__module__ == "_pytest.doctest"  # a Module, too
        if isinstance(collector, pytest.Module) and not is_doctest and report.passed:
            self._modules[collector.path] = collector
        if not report.passed:
            said = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
            lines = said.strip().splitlines() or [""]
            why = lines[0 if report.skipped else -1].removeprefix("E").strip()
            self._broken[report.nodeid] = f"its file was {report.outcome} while it was collected: {why}"

    # ----------------------------------------------------------------- once all is collected
    def require_collected(self, gates: Iterable[pytest.Item]) -> None:
        """Refuse tests of a candidate that pytest never runs, and claims that cannot be meant.

        Raises:
            UsageError: with file and line.
        """
        gates = list(gates)
        for item in gates:
            _require_own_fixtures(item, self._root)
        for file, module in self._read():
            for function in module.functions:
                if not self._is_collected(file, function) and not self._is_left_out(file, function):
                    self._require_no_test(file, module, function)
            for function in module.nested:
                self._require_used(file, module, function)
        for file in {item.path for item in gates}:
            found = read_module(file)
            for function in found.functions if found else ():
                for claim in function.claims:
                    if claim.problem:
                        raise UsageError(f"{self._shown(file)}:{claim.line}: {claim.problem}")
        patterns = gates[0].config.getini("python_files") if gates else []
        beside = (file for item in gates for file in item.path.parent.glob("*.py"))
        for file in sorted({*self._visited, *beside}):
            if file.name != "conftest.py" and file not in self._modules and not _matches(file, patterns):
                self._require_no_tests(file, patterns)

    def expected(self, gated: Iterable[tuple[pytest.Item, Arm]], chosen: Iterable[Arm]) -> list[Gate]:
        """The gates that are written: comparisons in tests and their helpers, and tests that were left out.

        Args:
            gated: the collected tests, each with the candidate that it decides on.
            chosen: all candidates at their largest size.
        """
        from harness.run.claim_detection import written_gates

        arms: dict[Path, dict[Arm, None]] = {}
        found: list[Gate] = []
        for item, arm in gated:
            arms.setdefault(item.path, {})[arm] = None
            function = self._written(item)
            if function is not None:
                name = gate_name(item).partition("[")[0]
                found += written_gates(function, self._shown(item.path), suite_name(item), name, arm)
        for file, module in self._read():
            for function in module.functions:
                found += self._beside(file, function, arms.get(file, {}), chosen)
        return [*dict.fromkeys([*found, *self._unread(chosen)])]

    def _beside(
        self, file: Path, function: WrittenFunction, gated: Iterable[Arm], chosen: Iterable[Arm]
    ) -> Iterator[Gate]:
        """Of functions that are no collected tests: a helper's comparisons, a left-out test itself."""
        from harness.run.claim_detection import written_gate, written_gates

        if self._is_collected(file, function):
            return
        name = f"{self._modules[file].nodeid}::{function.name.replace('.', '::')}"
        if function.judges and self._is_left_out(file, function):
            for arm in _serving(chosen, file):
                yield written_gate(function, file.parent.name, name, arm, "it was left out.")
            return
        for arm in gated:
            yield from written_gates(function, self._shown(file), file.parent.name, name, arm)

    def _unread(self, chosen: Iterable[Arm]) -> Iterator[Gate]:
        """The tests of files that pytest skipped, or could not import."""
        for nodeid, why in self._broken.items():
            place = self._root / nodeid.partition("::")[0]
            for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
                if _speaks_of_candidates(file):
                    for arm in _serving(chosen, file):
                        yield from self._unread_gates(file, arm, why)
        for file in self._left_out():
            for arm in _serving(chosen, file):
                yield from self._unread_gates(file, arm, LEFT_OUT)

    def _unread_gates(self, file: Path, arm: Arm, why: str) -> Iterator[Gate]:
        from harness.records import Gate, Role
        from harness.run.claim_detection import written_gate

        module, suite = read_module(file), file.parent.name
        if module is None:  # no Python: what it holds cannot be told
            yield Gate(
                suite, self._shown(file), arm.name, arm.size, arm.seeds, Role.GUARD, "missing", why=why
            )
            return
        for function in module.functions:
            if function.judges and not function.is_fixture:
                name = f"{self._shown(file)}::{function.name.replace('.', '::')}"
                yield written_gate(function, suite, name, arm, why)

    def _left_out(self) -> Iterator[Path]:
        """The files of tests that pytest was told to leave out, and that speak of candidates."""
        for path in sorted(self._ignored):
            for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
                if file.suffix == ".py" and _matches(file, self._patterns) and _speaks_of_candidates(file):
                    yield file

    def unjudged(
        self, suites: Iterable[LoadedSuite], config: pytest.Config, chosen: Iterable[Arm]
    ) -> list[Gate]:
        """Suites without gates: folders beside a suite's with such a held-out file, and no test of it."""
        from harness.records import Gate, Role

        known = list(suites)
        tested = {one.path.parent for items in self._tests.values() for one in items if has_candidate(one)}
        tested |= {file.parent for file in self._left_out()}
        tested |= {(self._root / nodeid).parent for nodeid in self._broken}
        read = {os.path.realpath(one.folder / name) for one in known for name in one.files}
        start = config.invocation_params.dir
        collected = [start / argument.partition("::")[0] for argument in config.args]
        found: dict[Gate, None] = {}
        for suite in known:
            around, name = suite.folder.parent, Path(suite.suite.heldout)
            is_whole = any(around.is_relative_to(one) for one in collected) and around != self._root
            for file in sorted(around.glob(f"*/{name}")) if is_whole and len(name.parts) == 1 else ():
                if (
                    file.parent in tested
                    or os.path.realpath(file) in read
                    or file.parent.name.startswith(".")
                ):
                    continue
                for arm in _serving(chosen, file):
                    missing = (file.parent.name, self._shown(file), arm.name, arm.size, arm.seeds)
                    found[Gate(*missing, Role.GUARD, "missing", why=UNJUDGED)] = None
        return list(found)

    def _read(self) -> Iterator[tuple[Path, WrittenModule]]:
        for file in self._modules:
            module = read_module(file) if _speaks_of_candidates(file) else None
            if module is not None:
                yield file, module

    @cached_property
    def _wrapped(self) -> frozenset[str]:
        """Node ids, without parameters, of gates whose function is written elsewhere: a decorator's."""
        gates = [item for items in self._tests.values() for item in items if has_candidate(item)]
        return frozenset(one.nodeid.partition("[")[0] for one in gates if self._written(one) is None)

    def _written(self, item: pytest.Item) -> WrittenFunction | None:
        module, (file, line) = read_module(item.path), _line_of(function_of(item))
        return module.by_line.get(line) if module and file == str(item.path) else None

    def _is_collected(self, file: Path, function: WrittenFunction) -> bool:
        """Whether it is a gate; where a decorator stands for the function, by its name."""
        items = self._tests.get((str(file), function.line))
        if items is not None:
            return any(map(has_candidate, items))
        return f"{self._modules[file].nodeid}::{function.name.replace('.', '::')}" in self._wrapped

    def _is_left_out(self, file: Path, function: WrittenFunction) -> bool:
        """Whether it belongs to a class that pytest knows and did not open."""
        classes = function.name.split(".")[:-1]
        ids = ["::".join([self._modules[file].nodeid, *classes[: n + 1]]) for n in range(len(classes))]
        return any(one in self._made and one not in self._opened for one in ids)

    def _require_no_test(self, file: Path, module: WrittenModule, function: WrittenFunction) -> None:
        if not function.judges or function.is_fixture:
            return
        where, name = f"{self._shown(file)}:{function.line}", function.name.rpartition(".")[2]
        double = module.double(function)
        if double is not None:
            raise UsageError(
                f"{where}: {name} is written again on line {double.line}, and pytest runs only that one.\n"
                "  hint: give each test a name of its own."
            )
        if (str(file), function.line) in self._tests:
            raise UsageError(
                f"{where}: {name} has a parameter of its own that is called candidate, so it tests no"
                " candidate of the harness.\n  hint: give the parameter another name."
            )
        if not module.uses(function) and not _is_imported(file, function, self._root):
            raise UsageError(
                f"{where}: {name} tests a candidate, and pytest does not collect it.\n"
                "  hint: name it test_..., and its class Test...; take out `__test__ = False` and conditions"
                " around it; or delete it, if it is to decide nothing."
            )

    def _require_used(self, file: Path, module: WrittenModule, function: WrittenFunction) -> None:
        """Refuse a test inside another function, where nothing calls it."""
        is_known = function.node.decorator_list or (str(file), function.line) in self._tests
        if function.judges and function.claims and not is_known and not module.uses(function):
            raise UsageError(
                f"{self._shown(file)}:{function.line}: {function.node.name} tests a candidate, and stands"
                " inside another function, where nothing calls it.\n"
                "  hint: take it out of that function, so that pytest collects it, or call it."
            )

    def _require_no_tests(self, file: Path, patterns: Iterable[str]) -> None:
        module = read_module(file) if _speaks_of_candidates(file) else None
        # a script beside a suite may well have a function of a candidate and a baseline
        tests = (
            (one for one in module.functions if one.claims or "test" in one.name.lower()) if module else ()
        )
        judging = [one for one in tests if one.judges]
        if judging and not any(_is_same_file(_file_of(one), file) for one in list(sys.modules.values())):
            raise UsageError(
                f"{self._shown(file)}:{judging[0].line}: {judging[0].name} tests a candidate, and pytest does"
                f" not collect its file (python_files: {', '.join(patterns)}).\n"
                "  hint: rename the file, or import it where its functions are used."
            )

    def _shown(self, file: Path) -> str:
        return os.path.relpath(file, self._root)


def _require_own_fixtures(item: pytest.Item, root: Path) -> None:
    """What a test calls candidate or baseline has to be the harness's, or made from it."""
    info = getattr(item, "_fixtureinfo", None)
    for name in ("candidate", "baseline"):
        definition = (info.name2fixturedefs.get(name) or [None])[-1] if info else None
        if definition is None or name in definition.argnames:
            continue
        function = inspect.unwrap(definition.func)
        if function.__module__ != _OWN_FIXTURES:
            file, line = _line_of(function)
            raise UsageError(
                f"{os.path.relpath(file, root)}:{line}: this fixture takes the place of the harness's own"
                f" {name}, so the gates of {os.path.relpath(item.path, root)} test nothing.\n"
                "  hint: give it another name."
            )


def _speaks_of_candidates(file: Path) -> bool:
    """Whether it is worth reading as Python: a project may have many tests of other things."""
    try:
        return b"candidate" in file.read_bytes()
    except OSError:
        return False


def _serving(arms: Iterable[Arm], file: Path) -> Iterator[Arm]:
    """The candidates that tests of a file see: those of its folder and of folders around it."""
    return (arm for arm in arms if file.is_relative_to(arm.folder))


def _line_of(function: Callable[..., object]) -> SourceLine:
    plain = inspect.unwrap(function)
    plain = getattr(plain, "__func__", plain)
    code = getattr(plain, "__code__", None)
    if code is None:  # a functools.partial, or an object that is called
        return "", 0
    return str(plain.__globals__.get("__file__") or code.co_filename), code.co_firstlineno


def _is_imported(file: Path, function: WrittenFunction, root: Path) -> bool:
    """Whether another module of the project has the function among its names."""
    name = function.name.rpartition(".")[2]
    for module in list(sys.modules.values()):
        place = _file_of(module)
        if not place or _is_same_file(place, file) or not Path(place).is_relative_to(root):
            continue
        if any(_line_of(one) == (str(file), function.line) for one in _named(module, name)):
            return True
    return False


def _named(module: object, name: str) -> Iterator[Callable[..., object]]:
    for value in list(vars(module).values()):
        if inspect.isfunction(value) and value.__name__ == name:
            yield value


def _file_of(module: object) -> str:
    file = getattr(module, "__file__", None)
    return file if isinstance(file, str) else ""


def _is_same_file(one: str, other: Path) -> bool:
    return bool(one) and Path(one).name == other.name and os.path.realpath(one) == os.path.realpath(other)


def _matches(file: Path, patterns: Iterable[str]) -> bool:
    """As pytest matches ``python_files``: by name, or by path where a pattern holds a separator."""
    return any(fnmatch.fnmatch(str(file) if os.sep in one else file.name, one) for one in patterns)
