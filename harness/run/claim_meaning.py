"""What the comparisons of a test claim, as far as its source says: roles and bounds before anything runs."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import isnan, nan

from harness.records import TIE, Role
from harness.run.claim_detection import source_tree, unwrapped, written_value
from harness.run.written_claims import ASKED

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
    is_preference: bool = False  # ``candidate.preferred(better)``


@dataclass(frozen=True, slots=True)
class _Scope:
    """What names stand for: those of the function that are given one value, and those of its module."""

    values: Mapping[str, ast.expr]
    module: Mapping[str, object]


def claim_meanings(function: Callable[..., object]) -> tuple[ClaimMeaning, ...]:
    """The comparisons of scores in a function, those of functions that it calls left out."""
    tree = source_tree(function)
    if tree is None:
        return ()
    return tuple(_meanings(tree, _Scope(_assigned(tree), getattr(unwrapped(function), "__globals__", {}))))


def _meanings(tree: ast.AST, scope: _Scope) -> Iterator[ClaimMeaning]:
    for node in ast.walk(tree):
        found = None
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.ops[0], _ORDERED):
            sides = [node.left, node.comparators[0]]
            larger, smaller = sides if isinstance(node.ops[0], _LARGER) else sides[::-1]
            found = _meaning(larger, smaller, 0.0, isinstance(node.ops[0], _STRICT), scope)
        elif isinstance(node, ast.Call):
            found = _of_call(node, scope)
        if found is not None:
            yield found


def _of_call(node: ast.Call, scope: _Scope) -> ClaimMeaning | None:
    """``assert_better(a, b, by=0)`` and ``assert_not_worse(a, b, margin)``."""
    called = ast.unparse(node.func).rpartition(".")[2]
    if called not in ("assert_better", "assert_not_worse"):
        return None
    given = {keyword.arg: keyword.value for keyword in node.keywords}
    given |= dict(zip(("candidate", "baseline", "by"), node.args, strict=False))
    if "candidate" not in given or "baseline" not in given:
        return None
    amount = given.get("by", given.get("margin"))
    number = 0.0 if amount is None else _number(amount, scope)
    is_strict = called == "assert_better"
    return _meaning(given["candidate"], given["baseline"], number if is_strict else -number, is_strict, scope)


def _meaning(
    larger: ast.expr, smaller: ast.expr, by: float, is_strict: bool, scope: _Scope
) -> ClaimMeaning | None:
    """As :mod:`harness.decision.claims` takes it; None where the sides cannot be read."""
    mine, theirs = (_side(one, scope) for one in (larger, smaller))
    if mine is None or theirs is None or "candidate" not in (mine.subject, theirs.subject):
        return None
    score = mine.score or theirs.score
    name = None if score is None else _name(score, scope)
    where = mine.where or theirs.where
    if "" in (mine.subject, theirs.subject):
        level = theirs.shift - mine.shift
        if mine.is_preference and is_strict and level >= TIE:
            return ClaimMeaning(Role.TARGET, round(level - TIE, 12), name, where)
        return ClaimMeaning(Role.THRESHOLD, 0.0, name, where)
    bound = round(theirs.shift - mine.shift + by, 12) + 0.0
    known = None if isnan(bound) else bound
    is_target = is_strict and (known is None or known >= 0.0)
    return ClaimMeaning(Role.TARGET if is_target else Role.GUARD, known, name, where)


def _side(node: ast.expr, scope: _Scope, depth: int = 5) -> _Side | None:
    """None for what is neither scores nor a number that can be read."""
    if isinstance(node, ast.NamedExpr):
        return _side(node.value, scope, depth)
    if isinstance(node, ast.Name) and depth and node.id in scope.values:
        return _side(scope.values[node.id], scope, depth - 1)
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)):
        return _shifted(node, scope, depth)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ASKED:
        owner = node.func.value
        subject = owner.id if isinstance(owner, ast.Name) else "?"
        where = [(k.arg, k.value.value) for k in node.keywords if k.arg and isinstance(k.value, ast.Constant)]
        named = tuple((key, str(value)) for key, value in where)
        is_preference = node.func.attr == "preferred"
        return _Side(subject, node.args[0] if node.args else None, named, 0.0, is_preference)
    plain = _number(node, scope)
    return None if isnan(plain) else _Side("", None, (), plain)


def _shifted(node: ast.BinOp, scope: _Scope, depth: int) -> _Side | None:
    """Scores with a number added or subtracted, nan where it cannot be read; or two numbers."""
    left, right = _side(node.left, scope, depth), _side(node.right, scope, depth)
    sides = [side for side in (left, right) if side is not None]
    scores = [side for side in sides if side.subject]
    sign = -1.0 if isinstance(node.op, ast.Sub) else 1.0
    if not sides or len(scores) > 1 or (scores and right in scores and sign < 0.0):
        return None
    if len(sides) < 2:
        return replace(scores[0], shift=nan) if scores else None
    base = scores[0] if scores else sides[0]
    other = sides[1] if base is sides[0] else sides[0]
    return replace(base, shift=base.shift + sign * other.shift)


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


def _name(score: ast.expr, scope: _Scope) -> str | None:
    """The name of the score that an expression of the module stands for."""
    name = getattr(_value(score, scope), "name", None)
    return name if isinstance(name, str) else None


def _number(node: ast.expr, scope: _Scope) -> float:
    """A number as it is written, or as the module names it; nan for anything else."""
    try:
        value: object = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError):
        value = _value(node, scope)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else nan


def _value(node: ast.expr, scope: _Scope) -> object:
    """What a name, or an attribute of one, stands for in the module; None for anything else."""
    return written_value(node, {k: v for k, v in scope.module.items() if k not in scope.values})
