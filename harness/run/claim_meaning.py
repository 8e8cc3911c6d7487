"""What the comparisons of a test claim, as far as its source says: roles and bounds before anything runs."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from harness.records import Role
from harness.run.claim_detection import source_tree

_STRICT, _LARGER = (ast.Gt, ast.Lt), (ast.Gt, ast.GtE)
_ORDERED = (ast.Gt, ast.GtE, ast.Lt, ast.LtE)


@dataclass(frozen=True, slots=True)
class ClaimMeaning:
    """A claim as it is written. What cannot be read is None."""

    role: Role
    bound: float | None  # the difference exceeds it, in score units; 0 for a threshold
    score: str | None  # the score's name
    where: tuple[tuple[str, str], ...] = ()  # slice fields, and the values that rows must have there


@dataclass(frozen=True, slots=True)
class _Side:
    """``candidate.scores(valid) - 0.02``, or a number alone, which has no subject."""

    subject: str
    score: ast.expr | None
    where: tuple[tuple[str, str], ...]
    shift: float


def claim_meanings(function: Callable[..., object]) -> tuple[ClaimMeaning, ...]:
    """The comparisons of scores in a function, those of functions that it calls left out."""
    tree = source_tree(function)
    if tree is None:
        return ()
    names = getattr(function, "__globals__", {})
    return tuple(_meanings(tree, names))


def _meanings(tree: ast.AST, names: Mapping[str, object]) -> Iterator[ClaimMeaning]:
    values = _assigned(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.ops[0], _ORDERED):
            sides = [node.left, node.comparators[0]]
            larger, smaller = sides if isinstance(node.ops[0], _LARGER) else sides[::-1]
            found = _meaning(larger, smaller, 0.0, isinstance(node.ops[0], _STRICT), values, names)
        elif isinstance(node, ast.Call):
            found = _of_call(node, values, names)
        else:
            continue
        if found is not None:
            yield found


def _of_call(
    node: ast.Call, values: Mapping[str, ast.expr], names: Mapping[str, object]
) -> ClaimMeaning | None:
    """``assert_better(a, b, by=0)`` and ``assert_not_worse(a, b, margin)``."""
    called = ast.unparse(node.func).rpartition(".")[2]
    if called not in ("assert_better", "assert_not_worse"):
        return None
    given = {keyword.arg: keyword.value for keyword in node.keywords}
    given |= dict(zip(("candidate", "baseline", "by"), node.args, strict=False))
    if "candidate" not in given or "baseline" not in given:
        return None
    amount = given.get("by", given.get("margin"))
    number = 0.0 if amount is None else _number(amount)
    is_strict = called == "assert_better"
    by = None if number is None else number if is_strict else -number
    return _meaning(given["candidate"], given["baseline"], by, is_strict, values, names)


def _meaning(
    larger: ast.expr,
    smaller: ast.expr,
    by: float | None,
    is_strict: bool,
    values: Mapping[str, ast.expr],
    names: Mapping[str, object],
) -> ClaimMeaning | None:
    """As :mod:`harness.decision.claims` takes it; None where the sides cannot be read."""
    sides = [_side(one, values) for one in (larger, smaller)]
    subjects = [side.subject for side in sides if side is not None]
    if "candidate" not in subjects or len(subjects) < 2:  # what is compared with something unknown, is unread
        return None
    mine, theirs = (side for side in sides if side is not None)
    score = mine.score or theirs.score
    name = None if score is None else _name(score, names)
    where = mine.where or theirs.where
    if "" in subjects:
        return ClaimMeaning(Role.THRESHOLD, 0.0, name, where)
    bound = None if by is None else round(theirs.shift - mine.shift + by, 12) + 0.0
    is_target = is_strict and (bound is None or bound >= 0.0)
    return ClaimMeaning(Role.TARGET if is_target else Role.GUARD, bound, name, where)


def _side(node: ast.expr, values: Mapping[str, ast.expr], depth: int = 5) -> _Side | None:
    if isinstance(node, ast.NamedExpr):
        return _side(node.value, values, depth)
    if isinstance(node, ast.Name):
        return _side(values[node.id], values, depth - 1) if depth and node.id in values else None
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)):
        left, right = _side(node.left, values, depth), _side(node.right, values, depth)
        if left is None or right is None or (right.subject and isinstance(node.op, ast.Sub)):
            return None
        scores, number = (left, right) if left.subject else (right, left)
        sign = -1.0 if isinstance(node.op, ast.Sub) else 1.0
        return replace(scores, shift=scores.shift + sign * number.shift)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "scores":
        owner = node.func.value
        subject = owner.id if isinstance(owner, ast.Name) else "?"
        where = [(k.arg, k.value.value) for k in node.keywords if k.arg and isinstance(k.value, ast.Constant)]
        return _Side(subject, node.args[0] if node.args else None, tuple((k, str(v)) for k, v in where), 0.0)
    plain = _number(node)
    return None if plain is None else _Side("", None, (), plain)


def _assigned(tree: ast.AST) -> dict[str, ast.expr]:
    """The names that are given one value, with it; those that take several, as in a loop, are left out."""
    found: dict[str, ast.expr] = {}
    stored = [n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    for node in ast.walk(tree):
        if not isinstance(node, ast.Assign):
            continue
        target, value = node.targets[0], node.value
        pairs = [(target, value)]
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            pairs = list(zip(target.elts, value.elts, strict=False))
        found |= {name.id: given for name, given in pairs if isinstance(name, ast.Name)}
    return {name: value for name, value in found.items() if stored.count(name) == 1}


def _name(score: ast.expr, names: Mapping[str, object]) -> str | None:
    """The name of the score that an expression of the module stands for."""
    parts = ast.unparse(score).split(".")
    value: object = names.get(parts[0])
    for part in parts[1:]:
        value = getattr(value, part, None)
    name = getattr(value, "name", None)
    return name if isinstance(name, str) else None


def _number(node: ast.expr) -> float | None:
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError):
        return None
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
