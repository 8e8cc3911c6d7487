"""The gates that a suite's tests will be, read before they run: so that missing ones can be named."""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.errors import UsageError
from harness.records import Gate, Outcome, Role
from harness.run.written_claims import WrittenFunction, can_be_target, target_arguments

if TYPE_CHECKING:
    from harness.run.selection import Arm
    from harness.run.suite_loading import LoadedSuite

NEVER_MADE = "the comparison on line {} was never made: `{}`."


def expected_gate(function: Callable[..., object], suite: str, name: str, entry: Arm) -> Gate:
    """The gate that a test will be once it has spoken."""
    role = Role.TARGET if claims_improvement(function) else Role.GUARD
    return Gate(suite, name, entry.name, entry.size, entry.seeds, role, "missing")


def written_gate(function: WrittenFunction, suite: str, name: str, entry: Arm, why: str) -> Gate:
    """The gate that a function would be if pytest ran it; ``why`` says what keeps it from that."""
    role = Role.TARGET if can_be_target(function.node) else Role.GUARD
    return Gate(suite, name, entry.name, entry.size, entry.seeds, role, "missing", why=why)


def written_gates(function: WrittenFunction, file: str, suite: str, name: str, entry: Arm) -> list[Gate]:
    """One for each comparison in a test, at its place: missing unless it is made."""
    return [
        replace(
            written_gate(function, suite, name, entry, NEVER_MADE.format(claim.line, claim.text)),
            place=f"{file}:{claim.line}:{claim.column}",
        )
        for claim in function.claims
    ]


def still_missing(expected: Sequence[Gate], spoken: Sequence[Gate]) -> list[Gate]:
    """The expected gates that have not spoken.

    A test is heard once a gate of the same test, suite, candidate and size has spoken. A comparison, which
    has a place, is heard once it was made there. One that was not is named where all else of its test holds,
    for a test that ends at its first claim does not reach the next. Of a function that is no test, it is
    enough that one comparison was made: others may be another caller's.
    """
    heard = {_test(gate) for gate in spoken}
    missing = [gate for gate in expected if not gate.place and _test(gate) not in heard]
    barred = {_function(gate) for gate in (*missing, *(g for g in spoken if not _holds(g)))}
    barred_files = {(suite, test.partition("::")[0], *whose) for suite, test, *whose in barred}
    tests = {_function(gate) for gate in expected if not gate.place}
    made = {(gate.candidate, gate.size, gate.place) for gate in spoken}
    silent = [gate for gate in expected if gate.place and not _was_made(gate, made)]
    speaking = {_function(gate) for gate in expected if gate.place and gate not in silent}
    helpers: set[tuple[object, ...]] = set()
    for gate in silent:
        function = suite, test, *whose = _function(gate)
        if function in tests and function not in barred:
            missing.append(gate)
        elif function not in tests and function not in speaking | helpers:
            helpers.add(function)  # once
            if (suite, test.partition("::")[0], *whose) not in barred_files:
                missing.append(gate)
    return missing


def never_asserted(gates: Iterable[Gate]) -> list[Gate]:
    """The gates that were noted as missing while the tests ran: tests that stopped, and claims not asserted.

    A test that spoke when it was run again has been heard, and so has a claim that was asserted elsewhere.
    """
    every = list(gates)
    spoken = [gate for gate in every if gate.state != "missing"]
    heard = {_test(gate) for gate in spoken}
    asserted = [(g.suite, g.candidate, g.size, g.role, g.comparison) for g in spoken]
    found = [
        replace(g, comparison=None)
        for g in every
        if g.state == "missing"
        if (g.suite, g.candidate, g.size, g.role, g.comparison) not in asserted
        if g.comparison is not None or _test(g) not in heard
    ]
    return list(dict.fromkeys(found))


def _holds(gate: Gate) -> bool:
    """Whether its test may have gone on after it."""
    found = gate.comparison
    return found is not None and (gate.state != "gated" or found.outcome is Outcome.SHOWN)


def _test(gate: Gate) -> tuple[object, ...]:
    return gate.suite, gate.test, gate.candidate, gate.size


def _function(gate: Gate) -> tuple[str, str, str, int | None]:
    """A test with all its parameters: each of its branches may be another parameter's."""
    return gate.suite, gate.test.partition("[")[0], gate.candidate, gate.size


def _was_made(gate: Gate, made: Collection[tuple[str, int | None, str]]) -> bool:
    """Where Python keeps no columns (``-X no_debug_ranges``), a place is a line."""
    places = gate.place, gate.place.rpartition(":")[0]
    return any((gate.candidate, gate.size, place) in made for place in places)


def claims_improvement(function: Callable[..., object]) -> bool:
    """Whether the source can claim an improvement; what has no source may."""
    tree = source_tree(function)
    return tree is None or can_be_target(tree)


def source_tree(function: Callable[..., object]) -> ast.Module | None:
    """The function as it is written, without decorators' own code; None for what has no source."""
    try:
        source = inspect.getsource(unwrapped(function))
        # a method is indented, and the lines of a text inside it need not be
        return ast.parse(f"if True:\n{source}" if source[0].isspace() else source)
    except (OSError, TypeError, SyntaxError):  # no file; an object that is called; a piece of an expression
        return None


def target_scores(
    functions: Mapping[Callable[..., object], str], suites: Mapping[str, LoadedSuite]
) -> set[tuple[str, str]]:
    """Suite and score of the targets that are written in tests, as far as that can be read.

    Args:
        functions: the tests, each with its suite.
        suites: those that are known.
    """
    found = set()
    for function, suite in functions.items():
        tree = source_tree(function) if suite in suites else None
        for argument in () if tree is None else target_arguments(tree):
            score = written_value(argument, getattr(unwrapped(function), "__globals__", {}))
            name = getattr(score, "name", None)
            if isinstance(name, str) and name in {each.name for each in suites[suite].scores}:
                found.add((suite, name))
    return found


def written_value(node: ast.expr, names: Mapping[str, object]) -> object:
    """What a name of a module, or an attribute of it, stands for; None where that cannot be read."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = written_value(node.value, names)
        return None if owner is None else inspect.getattr_static(owner, node.attr, None)
    return None


def unwrapped(function: Callable[..., object]) -> Callable[..., object]:
    """The function as it is written, without decorators and bound arguments."""
    inner: Callable[..., object] = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    unwrapped: Callable[..., object] = inspect.unwrap(inner)
    return unwrapped


def require_target(functions: Sequence[Callable[..., object]], gates: Sequence[Gate]) -> None:
    """Refuse gates among which no target is: nothing would claim an improvement, so nothing could be GO.

    Raises:
        UsageError: naming the first gate's file and line.
    """
    if not gates or any(gate.role is Role.TARGET for gate in gates):
        return
    function = unwrapped(functions[0])
    line = inspect.getsourcelines(function)[1]
    raise UsageError(
        f"{inspect.getsourcefile(function)}:{line}: the {len(gates)} collected gates hold no target, so no"
        " decision could be GO.\n  hint: add one, such as `assert candidate.scores(intent) >"
        " baseline.scores(intent)`, or run this suite together with one that has a target."
    )
