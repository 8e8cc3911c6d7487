"""A suite's module as it is written: its functions and the claims in them, whether or not they run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from harness.records import TIE

SUBJECTS = ("candidate", "baseline")
_ORDERED = (ast.Gt, ast.GtE, ast.Lt, ast.LtE)
_LONGEST = 100  # characters of a comparison in a message
_HELPERS = ("assert_better", "assert_not_worse")
ASKED = ("scores", "preferred")  # methods of a side that give scores
_DEFS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True, slots=True)
class WrittenClaim:
    """A comparison of scores. Columns count the bytes of UTF-8 from 0, as ``ast`` and code objects do."""

    line: int
    column: int
    text: str
    problem: str | None  # why it cannot be meant, where that can be read


@dataclass(frozen=True)
class WrittenFunction:
    """A function of a module or class. One that is written inside another belongs to that one."""

    node: ast.FunctionDef | ast.AsyncFunctionDef
    name: str  # with its classes: TestFormat.test_valid

    @property
    def line(self) -> int:
        """Its first line, as its code object has it: that of its first decorator."""
        return min([self.node.lineno, *(one.lineno for one in self.node.decorator_list)])

    @cached_property
    def parameters(self) -> frozenset[str]:
        """Names of all that it takes."""
        given = self.node.args
        return frozenset(one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs))

    @cached_property
    def claims(self) -> tuple[WrittenClaim, ...]:
        """The comparisons of scores in it, those of functions inside it included."""
        return tuple(_claims(self.node))

    @property
    def is_fixture(self) -> bool:
        """Whether pytest calls it for others."""
        return any("fixture" in ast.unparse(one) for one in self.node.decorator_list)

    @property
    def judges(self) -> bool:
        """Whether it is a test of a candidate: it takes both sides, or one and asks for its scores."""
        asked = self.parameters.intersection(SUBJECTS)
        return len(asked) == len(SUBJECTS) or any(_is_scores_of(node, asked) for node in ast.walk(self.node))


@dataclass(frozen=True)
class WrittenModule:
    """A module of Python.

    Raises:
        SyntaxError, ValueError: it is none.
    """

    source: str

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax tree."""
        return ast.parse(self.source)

    @cached_property
    def functions(self) -> tuple[WrittenFunction, ...]:
        """Those of the module and of its classes, in order."""
        return tuple(_functions(self.tree, ""))

    @cached_property
    def nested(self) -> tuple[WrittenFunction, ...]:
        """Those that are written inside others."""
        return tuple(
            WrittenFunction(node, node.name)
            for outer in self.functions
            for node in ast.walk(outer.node)
            if isinstance(node, _DEFS) and node is not outer.node
        )

    @cached_property
    def by_line(self) -> dict[int, WrittenFunction]:
        """The functions by their first lines."""
        return {function.line: function for function in self.functions}

    def uses(self, function: WrittenFunction) -> bool:
        """Whether anything outside the function names it, a method as an attribute, but to set one of it."""
        inside = set(map(id, ast.walk(function.node)))
        name = function.name.rpartition(".")[2]
        marked = {
            id(node.value)
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        }
        is_method = "." in function.name
        return any(
            _loads(node, name, is_method) and id(node) not in inside and id(node) not in marked
            for node in ast.walk(self.tree)
        )

    def double(self, function: WrittenFunction) -> WrittenFunction | None:
        """The last function of the same name, which takes the place of this one."""
        others = [one for one in self.functions if one.name == function.name]
        return others[-1] if others[-1].line != function.line else None

    @cached_property
    def asserts(self) -> tuple[ast.Assert, ...]:
        """Every assert statement."""
        return tuple(node for node in ast.walk(self.tree) if isinstance(node, ast.Assert))


def can_be_target(node: ast.AST) -> bool:
    """Whether a test or function can claim an improvement.

    A target is written as a strict comparison of two scores, of a preference with a number, or with
    ``assert_better``. A function of the project's own that is given the candidate may hold any, and counts.
    """
    nodes = list(ast.walk(node))
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
    return called in ("assert_better", "preferred") or whole


def target_arguments(function: ast.AST) -> Iterator[ast.expr]:
    """What targets compare: ``intent`` of ``candidate.scores(intent) > baseline.scores(intent)``.

    Only those of which it is plain to read that they are targets, and of which score.
    """
    known = _kept_scores(function)
    kept = {
        target.id: node.value
        for node in ast.walk(function)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "assert_better":
            side = node.args[0] if node.args else None
        elif isinstance(node, ast.Compare) and (preferred := _preferred(node)) is not None:
            side = preferred
        elif isinstance(node, ast.Compare) and len(node.ops) == 1 and _is_strict(node):
            right = node.comparators[0]
            larger, smaller = (node.left, right) if isinstance(node.ops[0], ast.Gt) else (right, node.left)
            shifts = [0.0 if isinstance(one, ast.Name) else _shift(one, known) for one in (larger, smaller)]
            is_target = None not in shifts and (shifts[1] or 0.0) >= (shifts[0] or 0.0)
            side = smaller if is_target and _is_scores(smaller, known) else None
        else:
            continue
        while isinstance(side, ast.BinOp):
            side = side.left if _is_scores(side.left, known) else side.right
        side = kept.get(side.id) if isinstance(side, ast.Name) else side
        side = kept.get(side.id) if isinstance(side, ast.Name) else side
        if isinstance(side, ast.Call) and _is_scores(side, {}) and side.args:
            yield side.args[0]


def _preferred(node: ast.Compare) -> ast.expr | None:
    """``candidate.preferred(x)`` in ``candidate.preferred(x) > 0.5`` or its mirror image."""
    if len(node.ops) != 1 or not isinstance(node.ops[0], (ast.Gt, ast.Lt)):
        return None
    left, right = node.left, node.comparators[0]
    larger, smaller = (left, right) if isinstance(node.ops[0], ast.Gt) else (right, left)
    is_asked = isinstance(larger, ast.Call) and ast.unparse(larger.func).endswith(".preferred")
    return larger if is_asked and (_number(smaller) or 0.0) >= TIE else None


def _functions(parent: ast.AST, prefix: str) -> Iterator[WrittenFunction]:
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, _DEFS):
            yield WrittenFunction(node, prefix + node.name)
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node, f"{prefix}{node.name}.")
        elif not isinstance(node, ast.expr):  # a branch of an if, a try, a with, a loop
            yield from _functions(node, prefix)


def _loads(node: ast.AST, name: str, is_method: bool) -> bool:
    if isinstance(node, ast.Name):
        return node.id == name and isinstance(node.ctx, ast.Load) and not is_method
    return isinstance(node, ast.Attribute) and node.attr == name and isinstance(node.ctx, ast.Load)


# --------------------------------------------------------------------------- claims
def _claims(function: ast.AST) -> Iterator[WrittenClaim]:
    known = _kept_scores(function)
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in _HELPERS:
            yield _claim(node, _problem_of_call(node, known))
        elif isinstance(node, ast.Compare) and isinstance(node.ops[0], _ORDERED):
            sides = [node.left, *node.comparators]
            if any(_is_scores(side, known) for side in sides):
                yield _claim(node, _problem(node, known) if len(sides) == 2 else None)


def _claim(node: ast.expr, problem: str | None) -> WrittenClaim:
    text = ast.unparse(node)
    shown = text if len(text) <= _LONGEST else text[:_LONGEST] + " …"
    return WrittenClaim(node.lineno, node.col_offset, shown, problem)


def _kept_scores(function: ast.AST) -> dict[str, str | None]:
    """The names that stand for scores in a function, each with its side: candidate, baseline or not known."""
    known: dict[str, str | None] = {}
    for node in ast.walk(function):  # outer statements come first, and what they bind with them
        if isinstance(node, ast.Assign):
            bound = [(target, node.value) for target in node.targets]
        elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and node.value is not None:
            bound = [(node.target, node.value)]
        elif isinstance(node, (ast.For, ast.comprehension)):
            bound = [(node.target, node.iter)]
        else:
            continue
        for target, value in bound:
            known.update(_bound(target, value, known))
    return known


def _bound(
    target: ast.expr, value: ast.expr, known: dict[str, str | None]
) -> Iterator[tuple[str, str | None]]:
    """The names of a target that the value makes scores, or collections of scores."""
    pairs = [(target, value)]
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
        pairs = list(zip(target.elts, value.elts, strict=True))
    for name, given in pairs:
        if isinstance(name, ast.Name) and _is_scores(given, known):
            yield name.id, _side(given, known)
        elif isinstance(given, (ast.Tuple, ast.List, ast.ListComp, ast.Name)):
            inside = [one for one in ast.walk(given) if isinstance(one, ast.expr)]
            if any(_is_scores(one, known) for one in inside):
                yield from ((one.id, None) for one in ast.walk(name) if isinstance(one, ast.Name))


def _is_scores(node: ast.expr, known: dict[str, str | None]) -> bool:
    """``x.scores(...)`` or ``x.preferred(...)``, a name or item for such, or such with a number added."""
    if isinstance(node, ast.BinOp):
        return _is_scores(node.left, known) or _is_scores(node.right, known)
    if isinstance(node, ast.Subscript):
        return _is_scores(node.value, known)
    if isinstance(node, ast.NamedExpr):
        return _is_scores(node.value, known)
    if isinstance(node, ast.Name):
        return node.id in known
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ASKED


def _is_scores_of(node: ast.AST, subjects: frozenset[str]) -> bool:
    return (
        isinstance(node, ast.Attribute)
        and node.attr in ASKED
        and isinstance(node.value, ast.Name)
        and node.value.id in subjects
    )


def _side(node: ast.expr, known: dict[str, str | None]) -> str | None:
    if isinstance(node, ast.BinOp):
        return _side(node.left if _is_scores(node.left, known) else node.right, known)
    if isinstance(node, ast.NamedExpr):
        return _side(node.value, known)
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        owner = node.func.value
        return owner.id if isinstance(owner, ast.Name) and owner.id in SUBJECTS else None
    return "number" if _number(node) is not None else None


def _problem(node: ast.Compare, known: dict[str, str | None]) -> str | None:
    """What is wrong with a comparison of two sides, as far as it can be read."""
    from harness.decision.claims import too_wide, wrong_sides

    left, right = node.left, node.comparators[0]
    larger, smaller = (left, right) if isinstance(node.ops[0], (ast.Gt, ast.GtE)) else (right, left)
    sides = _side(larger, known), _side(smaller, known)
    if problem := wrong_sides(*sides):
        return problem
    shifts = _shift(larger, known), _shift(smaller, known)
    if "number" in sides or None in shifts:
        return None
    return too_wide((shifts[1] or 0.0) - (shifts[0] or 0.0))


def _problem_of_call(node: ast.Call, known: dict[str, str | None]) -> str | None:
    """The same of ``assert_better`` and ``assert_not_worse``."""
    from harness.decision.claims import too_wide, wrong_sides

    if len(node.args) < 2:
        return None
    margins = [one.value for one in node.keywords if one.arg == "margin"] + node.args[2:]
    margin = _number(margins[0]) if margins else None
    problem = wrong_sides(_side(node.args[0], known), _side(node.args[1], known))
    return problem or (None if margin is None else too_wide(-margin))


def _shift(node: ast.expr, known: dict[str, str | None]) -> float | None:
    """The plain numbers that are added to scores; None where one cannot be read."""
    if not isinstance(node, ast.BinOp):
        return 0.0 if not isinstance(node, ast.Name) and _is_scores(node, known) else None
    scores, by = (node.left, node.right) if _is_scores(node.left, known) else (node.right, node.left)
    number, inner = _number(by), _shift(scores, known)
    if number is None or inner is None or not isinstance(node.op, (ast.Add, ast.Sub)):
        return None
    return inner + (number if isinstance(node.op, ast.Add) else -number)


def _number(node: ast.expr) -> float | None:
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError):
        return None
    return float(value) if isinstance(value, (int, float)) else None
