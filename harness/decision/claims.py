"""Claims as users write them: ``candidate.scores(x) > baseline.scores(x)`` and the like.

A comparison operator always claims "this side is larger", and the difference is taken as the side
claimed to be larger minus the other:

==============================  =========  =========================
written (or its mirror image)   role       claim
==============================  =========  =========================
``a > b``, ``b < a``            target     a - b > 0
``a > b + m``                   target     a - b > m
``a >= b - m``, ``b - m <= a``  guard      a - b > -m
``a >= b``                      guard      a - b > 0
``a > 0.85``, ``0.85 < a``      threshold  a - 0.85 > 0
``a < 0.05``, ``0.05 > a``      threshold  0.05 - a > 0
``p > 0.5`` of a preference     target     p - 0.5 > 0
==============================  =========  =========================

A target needs ``>`` and a bound of at least 0: ``a > b - m`` tolerates a loss, so it is a guard. ``>=``
does not make a claim cheaper: "at least as good" has to be shown as well.

Where the sides are known to be the candidate's and the baseline's, a claim has to speak for the candidate:
one that the baseline is the larger, one of a side against itself, and one of the baseline against a number
are refused. So is a margin of more than ``MOST_MARGIN``, which guards nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import ClassVar, Literal, Protocol, TypeAlias, TypeGuard

from harness.decision.estimates import pair, points
from harness.decision.group_sequential import GroupSequentialDesign, LookState, at_level, judge_look
from harness.decision.paired import compare, summary
from harness.decision.power import can_show_of
from harness.decision.retesting import level_note, whole_level
from harness.errors import Undecided, UsageError
from harness.records import Comparison, Kind, Outcome, Role, ScoreVector

MOST_REASON_CHARACTERS = 80  # of one row's reason, so that both sides fit on a line or two
MOST_MARGIN = 0.5  # in score units: who tolerates a loss of more than half of everything meant something else

Settle: TypeAlias = "Callable[[Claim], bool]"
AtLevel: TypeAlias = Callable[[float], Comparison]
Side: TypeAlias = Literal["candidate", "baseline"]


class InterimScores(Protocol):
    """Scores that are judged as they are asked for, in a fixed random order of the rows."""

    design: GroupSequentialDesign
    n_candidates: int  # that share the level of the run

    def upto(self, n_rows: int) -> ScoreVector:
        """The first so many rows in the order of judging, judged now where they have not been."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The claim that ``candidate``, the larger side, exceeds ``baseline`` by more than the bound.

    ``bool(claim)`` is True when shown and False when refuted; it raises Undecided when inconclusive.
    ``settle`` gives the claim's truth in place of that rule, the same each time. ``at`` judges the claim on
    the same rows at another level (of all looks together, where it had looks), by all the rules that made
    ``comparison``; it raises UsageError for a level outside (0, 0.5).
    """

    comparison: Comparison
    role: Role
    candidate: ScoreVector | float
    baseline: ScoreVector | float
    at: AtLevel = field(repr=False, compare=False)
    settle: Settle | None = field(default=None, repr=False, compare=False)

    @property
    def outcome(self) -> Outcome:
        """Shown, refuted or inconclusive."""
        return self.comparison.outcome

    @property
    def advisory(self) -> bool:
        """Whether a side rests on a judge that has no vote."""
        sides = self.candidate, self.baseline
        return any(isinstance(side, ScoreVector) and side.advisory for side in sides)

    def __bool__(self) -> bool:
        if self.settle is not None:
            return self.settle(self)
        if self.outcome is Outcome.INCONCLUSIVE:
            raise Undecided(self.explain())
        return self.outcome is Outcome.SHOWN

    def __repr__(self) -> str:
        return f"<{self.outcome.upper()}: {self._title()}: {summary(self.comparison)}>"

    def explain(self, limit: int = 5) -> str:
        """The verdict on one screen: numbers, reason, and the ``limit`` worst rows side by side."""
        it = self.comparison
        facts = [it.method]
        if it.p_one_sided is not None:
            facts.append(f"one-sided p = {it.p_one_sided:.3g}")
        if it.discordant is not None:
            facts.append(f"discordant rows: {it.discordant}")
        if it.effect_size is not None:
            facts.append(f"effect size d = {it.effect_size:.2f}")
        if it.clusters is not None:
            facts.append(f"groups: {it.clusters}")
        if it.rows_needed is not None:
            facts.append(f"rows needed: about {it.rows_needed}")
        lines = [f"{it.outcome.upper()}: {self._title()}", f"  {it.reason}", f"  {', '.join(facts)}"]
        if it.candidate_mean is not None and it.baseline_mean is not None:
            lines.append(f"  means: {100 * it.candidate_mean:.1f}% and {100 * it.baseline_mean:.1f}%")
        return "\n".join([*lines, *_worst_rows(self.candidate, self.baseline, limit)])

    def _title(self) -> str:
        it = self.comparison
        sign = ">=" if self.role is Role.GUARD else ">"
        shift = f" {'+' if it.claimed > 0 else '-'} {abs(it.claimed):g}" if it.claimed else ""
        return f"{it.score} of {it.candidate} {sign} {it.baseline}{shift}"


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """One score of one candidate, row by row, ready to be compared; see the module's table.

    Comparisons of any sort give a :class:`Claim`; asking for equality, or for the truth of the scores alone,
    raises UsageError.

    Args:
        settle: gives the claims' truth, in place of the plain rule.
        alpha: level of each one-sided test.
        shift: sum of the numbers added and subtracted, in score units (2 points are 0.02).
        interim: judges rows as they are needed, where judging may stop early; ``vector`` is then not read.
        side: whose scores they are, where that is known.
        made: hears of each claim when it is made, before its truth is asked.
        grown_from: numbers of rows that have judged the candidate before, without a GO, and to which the rest
            of today's were added. ``alpha`` is then :func:`harness.decision.retesting.level_after` them.
    """

    vector: ScoreVector
    settle: Settle | None = None
    alpha: float = 0.05
    shift: float = 0.0
    interim: InterimScores | None = None
    side: Side | None = None
    made: Callable[[Claim], None] | None = None
    grown_from: tuple[int, ...] = ()

    __hash__: ClassVar[None]  # type: ignore[assignment]  # set by the __eq__ below
    __array_ufunc__: ClassVar[None] = None  # lets a numpy number on the left leave the operator to us

    def __add__(self, by: float) -> Scores:
        return replace(self, shift=self.shift + float(by)) if _is_number(by) else NotImplemented

    __radd__ = __add__

    def __sub__(self, by: float) -> Scores:
        return replace(self, shift=self.shift - float(by)) if _is_number(by) else NotImplemented

    def __gt__(self, other: Scores | float) -> Claim:
        return _claim(self, other, strict=True) if _is_comparable(other) else NotImplemented

    def __ge__(self, other: Scores | float) -> Claim:
        return _claim(self, other, strict=False) if _is_comparable(other) else NotImplemented

    def __lt__(self, other: Scores | float) -> Claim:
        return _claim(other, self, strict=True) if _is_comparable(other) else NotImplemented

    def __le__(self, other: Scores | float) -> Claim:
        return _claim(other, self, strict=False) if _is_comparable(other) else NotImplemented

    def __eq__(self, other: object) -> bool:
        raise UsageError(
            f"{self!r} == ...: equality of scores can never be shown. "
            "Write `a > b` for better, or `a >= b - 0.02` for not worse by more than 2 points."
        )

    def __bool__(self) -> bool:
        raise UsageError(f"{self!r} is neither true nor false: compare it, as in `scores > baseline`.")

    def __repr__(self) -> str:
        known = [value for value in self.vector.values if value is not None]
        mean = f"mean {sum(known) / len(known):.3f}" if known else "no value"
        shift = f" {'+' if self.shift > 0 else '-'} {abs(self.shift):g}" if self.shift else ""
        return f"<{self.vector.score} of {self.vector.subject}: {mean}, n={len(known)}>{shift}"


def assert_better(candidate: Scores, baseline: Scores | float, by: float = 0.0) -> None:
    """Assert ``candidate > baseline + by``.

    Raises:
        AssertionError: refuted; the message explains.
        Undecided: inconclusive, unless the scores' ``settle`` says otherwise.
        UsageError: ``by`` is negative.
    """
    __tracebackhide__ = True
    if by < 0.0:
        raise UsageError(f"by={by:g} tolerates a loss: use assert_not_worse(..., margin={-by:g}).")
    _assert(candidate > baseline + by)


def assert_not_worse(candidate: Scores, baseline: Scores | float, margin: float) -> None:
    """Assert ``candidate >= baseline - margin``; raises as ``assert_better`` does."""
    __tracebackhide__ = True
    if margin < 0.0:
        raise UsageError(f"margin={margin:g} is negative: use assert_better(..., by={-margin:g}).")
    _assert(candidate >= baseline - margin)


def _assert(claim: Claim) -> None:
    __tracebackhide__ = True
    if not claim:
        raise AssertionError(claim.explain())


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, Real)


def _is_comparable(value: object) -> TypeGuard[Scores | float]:
    return isinstance(value, Scores) or _is_number(value)


def _claim(larger: Scores | float, smaller: Scores | float, *, strict: bool) -> Claim:
    sides = tuple(one.side if isinstance(one, Scores) else "number" for one in (larger, smaller))
    if problem := wrong_sides(*sides):
        raise UsageError(problem)
    claim = _judged(larger, smaller, strict=strict)
    for one in (larger, smaller):
        if isinstance(one, Scores) and one.grown_from:
            # only GO is tried often: a loss is told at the whole level, or rows that are added would hide it
            found = claim.at(whole_level(one.alpha, len(one.grown_from)))
            if found.outcome is not Outcome.REFUTED:
                note = level_note(one.alpha, one.grown_from)
                found = replace(claim.comparison, reason=f"{claim.comparison.reason} {note}")
            claim = replace(claim, comparison=found)
            break
    for one in (larger, smaller):
        if isinstance(one, Scores) and one.made is not None:
            one.made(claim)
            break
    return claim


def wrong_sides(larger: str | None, smaller: str | None) -> str | None:
    """Why a claim that one side is the larger says nothing for the candidate, and how to write it; or None.

    Args:
        larger, smaller: ``candidate``, ``baseline``, ``number``, or None where a side is not known.
    """
    if (larger, smaller) == ("baseline", "candidate"):
        problem = "this claims that the baseline is the better one; of every score, more is better"
    elif larger == smaller and larger is not None:
        problem = f"this compares the {larger} with itself, which shows nothing"
    elif {larger, smaller} == {"baseline", "number"}:
        problem = "this compares the baseline with a number, which says nothing of the candidate"
    else:
        return None
    return (
        f"{problem}.\n  hint: write `candidate.scores(x) > baseline.scores(x)` for better, or"
        " `candidate.scores(x) >= baseline.scores(x) - 0.05` for not worse by more than 5 points."
    )


def too_wide(bound: float) -> str | None:
    """Why a claim "the difference exceeds ``bound``" guards nothing; None where it does."""
    if bound >= -MOST_MARGIN:
        return None
    return (
        f"a margin of {-bound:g} tolerates a loss of {-100 * bound:g} points, and scores lie between 0 and 1."
        f"\n  hint: 5 points are 0.05; a margin is at most {MOST_MARGIN:g}."
    )


def _judged(larger: Scores | float, smaller: Scores | float, *, strict: bool) -> Claim:
    # differences of shifts are rounded: 0.1 + 0.2 - 0.3 is not 0 to a float
    if not isinstance(larger, Scores):
        assert isinstance(smaller, Scores)
        return _below(smaller, round(float(larger) - smaller.shift, 12))
    if not isinstance(smaller, Scores):
        number, vector = round(float(smaller) - larger.shift, 12), larger.vector
        # a preference has been set against the baseline already: more wins than losses is an improvement
        beats = vector.kind is Kind.PREFERENCE and strict and number >= 0.5
        role = Role.TARGET if beats else Role.THRESHOLD
        tested = (
            number if vector.kind is not Kind.PREFERENCE else 0.5 + shown_bound(number - 0.5, vector.shows)
        )
        growths = len(larger.grown_from)

        def as_written(found: Comparison) -> Comparison:
            if tested == number:
                return found
            said = f"{found.reason} Tested at {tested:g}, not {number:g}: {_shows(vector.shows)}."
            return replace(found, baseline=f"{number:g}", reason=said)

        if larger.interim is not None and vector.kind is Kind.PREFERENCE:
            claim = _by_looks(larger.interim, tested, 0.0, role, larger.settle)
            found = as_written(claim.comparison)
            return replace(claim, comparison=found, baseline=number, at=lambda a: as_written(claim.at(a)))
        vector = _all_rows(larger)
        return _made(
            lambda alpha: as_written(compare(vector, tested, alpha=alpha, growths=growths)),
            role,
            (vector, number),
            larger.alpha,
            larger.settle,
        )
    if larger.alpha != smaller.alpha:
        raise UsageError(f"the two sides have different alpha ({larger.alpha} and {smaller.alpha}).")
    bound = round(smaller.shift - larger.shift, 12) + 0.0  # + 0.0 turns -0.0 into 0.0
    if problem := too_wide(bound):
        raise UsageError(problem)
    role = Role.TARGET if strict and bound >= 0.0 else Role.GUARD
    settle = larger.settle or smaller.settle
    shows = larger.vector.shows
    tested = shown_bound(bound, shows)
    if larger.interim is not None and smaller.interim is not None:
        return _as_written(_by_looks(larger.interim, smaller.interim, tested, role, settle), bound, shows)
    both = _all_rows(larger), _all_rows(smaller)

    def at(alpha: float) -> Comparison:
        found = compare(*both, bound=tested, alpha=alpha, growths=len(larger.grown_from))
        if (
            both[0].rows and found.difference is not None
        ):  # a slice is small: add how small a change it can show
            power = can_show_of(*both, alpha=alpha).replace("this suite", "this slice")
            found = replace(found, reason=f"{found.reason} {power[0].upper()}{power[1:]}.")
        return found

    return _as_written(_made(at, role, both, larger.alpha, settle), bound, shows)


def shown_bound(bound: float, shows: tuple[float, float]) -> float:
    """The bound for the difference that a judge shows, of a claim on the true one.

    ``shows`` are the least and the most of a true difference that it is taken to show: a margin shrinks by
    the least, a gain that is asked for by the most, so that either claim holds whichever it is.
    """
    least, most = shows
    return round(bound * (least if bound < 0.0 else most), 12) + 0.0


def _as_written(claim: Claim, bound: float, shows: tuple[float, float]) -> Claim:
    """A claim that was tested at what a judge shows of its ``bound``, with that bound.

    Refuted is then only what is so by the other limit of ``shows`` as well.
    """
    if claim.comparison.bound == bound:
        return claim
    refuting = shown_bound(bound, (shows[1], shows[0]))

    def written(found: Comparison) -> Comparison:
        said = f"{found.reason} Tested at {points(found.bound)} points, not {points(bound)}: {_shows(shows)}."
        if found.outcome is Outcome.REFUTED and (found.high is None or found.high >= refuting):
            said += f" It is not below {points(refuting)} points, as what is refuted has to be."
            found = replace(found, outcome=Outcome.INCONCLUSIVE)
        return replace(found, written=bound, reason=said)

    return replace(claim, comparison=written(claim.comparison), at=lambda alpha: written(claim.at(alpha)))


def _shows(shows: tuple[float, float]) -> str:
    return f"on its labels this judge shows {shows[0]:.2f} to {shows[1]:.2f} of a true difference"


def _made(
    at: AtLevel,
    role: Role,
    sides: tuple[ScoreVector | float, ScoreVector | float],
    alpha: float,
    settle: Settle | None,
) -> Claim:
    return Claim(at(alpha), role, *sides, at, settle)


def _all_rows(scores: Scores) -> ScoreVector:
    return scores.vector if scores.interim is None else scores.interim.upto(scores.interim.design.rows)


def _by_looks(
    larger: InterimScores, smaller: InterimScores | float, bound: float, role: Role, settle: Settle | None
) -> Claim:
    """Judge both sides, or one and a number, look by look until the claim is decided or going on is futile.

    Where several candidates share the level, showing the claim at a candidate's part of it stops the judging,
    as at its whole it would leave every one of them a p too large for the others.
    """
    design = larger.design
    part = at_level(design, design.alpha / larger.n_candidates)
    for look in design.looks:
        sides = larger.upto(look.rows), smaller if isinstance(smaller, float) else smaller.upto(look.rows)
        rows = pair(*sides)
        state = judge_look(design, rows, bound).state
        if state is LookState.SHOWN and judge_look(part, rows, bound).state is LookState.CONTINUE:
            continue
        if state is not LookState.CONTINUE:
            break

    def at(alpha: float) -> Comparison:
        """The repeated confidence interval of the look at which the judging stopped."""
        own = at_level(design, alpha)
        result = judge_look(own, rows, bound)
        level = next(each.level for each in own.looks if each.rows == look.rows)
        found = replace(
            compare(*sides, bound=bound, alpha=level),
            alpha=alpha,
            outcome=result.outcome,
            # the p-value of one look is no p-value of the whole design, and the looks fix the number of rows
            p_one_sided=None,
            rows_needed=None,
        )
        return replace(found, reason=f"{summary(found)}: {result.reason}.")

    return _made(at, role, sides, design.alpha, settle)


def _below(smaller: Scores, number: float) -> Claim:
    """``number - vector > 0``, judged as ``(1 - vector) - (1 - number) > 0``: the same differences."""

    def mirror(values: tuple[float | None, ...]) -> tuple[float | None, ...]:
        return tuple(None if value is None else 1.0 - value for value in values)

    vector = _all_rows(smaller)
    by_seed = tuple(map(mirror, vector.by_seed))
    mirrored = replace(vector, values=mirror(vector.values), by_seed=by_seed)

    def at(alpha: float) -> Comparison:
        found = compare(mirrored, 1.0 - number, alpha=alpha, growths=len(smaller.grown_from))
        mean = found.candidate_mean
        return replace(
            found,
            candidate=f"{number:g}",
            baseline=vector.subject,
            candidate_mean=number,
            baseline_mean=None if mean is None else 1.0 - mean,
        )

    return _made(at, Role.THRESHOLD, (number, vector), smaller.alpha, smaller.settle)


def _worst_rows(candidate: ScoreVector | float, baseline: ScoreVector | float, limit: int) -> list[str]:
    vector = candidate if isinstance(candidate, ScoreVector) else baseline
    assert isinstance(vector, ScoreVector)
    n = len(vector.row_ids)
    mine, theirs = (s.values if isinstance(s, ScoreVector) else (s,) * n for s in (candidate, baseline))
    pairs = list(zip(mine, theirs, range(n), strict=True))
    losses = sorted((a - b, at) for a, b, at in pairs if a is not None and b is not None and a < b)
    failed = [at for a, b, at in pairs if a is None or b is None]
    lines: list[str] = []
    worst = [at for _, at in losses], "that count against the claim, worst first"
    for places, which in (worst, (failed, "without a value")):
        if places:
            lines.append(f"  {min(limit, len(places))} of {len(places)} rows {which}:")
        lines += [
            f"    {vector.row_ids[at]}: {_cell(candidate, at)} | {_cell(baseline, at)}"
            for at in places[:limit]
        ]
    return lines


def _cell(side: ScoreVector | float, at: int) -> str:
    if not isinstance(side, ScoreVector):
        return f"threshold {side:g}"
    value = side.values[at]
    shown = f"{side.subject} {'no value' if value is None else f'{value:g}'}"
    reason = " ".join(side.reasons[at].split()) if side.reasons else ""
    if len(reason) > MOST_REASON_CHARACTERS:
        reason = reason[: MOST_REASON_CHARACTERS - 1] + "…"
    return f"{shown} ({reason})" if reason else shown
