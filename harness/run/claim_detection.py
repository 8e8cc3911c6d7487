"""What a test claims, read from its source before it runs: so that missing gates can be named."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Sequence

from harness.errors import UsageError
from harness.records import Gate, Role
from harness.run.selection import Arm


def expected_gate(function: Callable[..., object], suite: str, name: str, entry: Arm) -> Gate:
    """The gate that a test will be once it has spoken."""
    role = Role.TARGET if claims_improvement(function) else Role.GUARD
    return Gate(suite, name, entry.name, entry.size, entry.seeds, role, "missing")


def claims_improvement(function: Callable[..., object]) -> bool:
    """Whether the source can claim an improvement.

    A target is written as a strict comparison of two scores or with ``assert_better``. A function of the
    project's own that is given the candidate may hold either, and counts; so does what has no source.
    """
    try:
        source = inspect.getsource(inspect.unwrap(function))
    except OSError:
        return True
    # a method is indented, and the lines of a text inside it need not be
    tree = ast.parse(f"if True:\n{source}" if source[0].isspace() else source)
    nodes = list(ast.walk(tree))
    strict = any(isinstance(node, ast.Compare) and _is_strict(node) for node in nodes)
    return strict or any(isinstance(node, ast.Call) and _may_claim(node) for node in nodes)


def _is_strict(node: ast.Compare) -> bool:
    """A ``>`` or ``<``, but not against a plain number: that is a threshold."""
    is_strict = any(isinstance(op, (ast.Gt, ast.Lt)) for op in node.ops)
    return is_strict and not any(isinstance(side, ast.Constant) for side in (node.left, *node.comparators))


def _may_claim(node: ast.Call) -> bool:
    called = ast.unparse(node.func).rpartition(".")[2]
    given = [*node.args, *(keyword.value for keyword in node.keywords)]
    whole = any(isinstance(value, ast.Name) and value.id == "candidate" for value in given)
    return called == "assert_better" or whole


def require_target(functions: Sequence[Callable[..., object]], gates: Sequence[Gate]) -> None:
    """Refuse gates among which no target is: nothing would claim an improvement, so nothing could be GO.

    Raises:
        UsageError: naming the first gate's file and line.
    """
    if not gates or any(gate.role is Role.TARGET for gate in gates):
        return
    function = inspect.unwrap(functions[0])
    line = inspect.getsourcelines(function)[1]
    raise UsageError(
        f"{inspect.getsourcefile(function)}:{line}: the {len(gates)} collected gates hold no target, so no"
        " decision could be GO.\n  hint: add one, such as `assert candidate.scores(intent) >"
        " baseline.scores(intent)`, or run this suite together with one that has a target."
    )
