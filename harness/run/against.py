"""A run that is held to a reference: beside each gate of the suite, one that its score is no worse than then.

The two are paired row by row, on the rows that are the same, and judged as a guard of the suite is. Of a
blessed file the scores count that were kept, where the score is made in the same way; of a ``run.json``,
which has the answers, checks read these again (`Recorded`), so that they may have changed since.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.candidates.base import Variant
from harness.candidates.recorded import Recorded
from harness.data.fingerprints import bytes_digest
from harness.data.recorded import digests_to_record
from harness.decision.claims import Claim, Scores
from harness.decision.estimates import MIN_ROWS
from harness.decision.regression import at_shared_level, smallest_loss
from harness.decision.vectors import at_places, over_seeds
from harness.errors import HarnessError, UsageError
from harness.models.device import cpu_name
from harness.records import (
    Gate,
    HeldTo,
    Kind,
    Role,
    ScoreVector,
    SinceReference,
    Trial,
)
from harness.report.reference import (
    DIGITS,
    Reference,
    ReferenceSuite,
    answer_digest,
    is_blessed,
    load_reference,
    made_as,
    means,
    model_of,
    recorded_key,
    reference_file,
)
from harness.run.suite_loading import LoadedSuite, how_made
from harness.scoring.judges import Judge
from harness.scoring.measures import LatencyMs
from harness.scoring.suite import SuiteScore
from harness.words import plural

if TYPE_CHECKING:
    from harness.run.selection import Arm
    from harness.run.session import Session

NAME, CAME = "no worse than the reference", "answers that came"
Values = Mapping[str, "float | None"]  # by row


def row_keys(suite: LoadedSuite) -> list[str]:
    """What the rows of a suite are known by: what they ask, their references, and what checks read beside."""
    keys = []
    for row, asked in zip(suite.rows, digests_to_record(suite.rows), strict=True):
        beside = sorted((key, repr(value)) for key, value in row.metadata.items() if key != "id")
        keys.append(bytes_digest(repr((asked, row.reference, beside)).encode("utf-8", "replace"))[:DIGITS])
    return keys


def scores_made(suite: LoadedSuite) -> dict[str, str]:
    """How each score of a suite is made, by its name."""
    return {score.name: score_made(score) for score in suite.scores}


def score_made(score: SuiteScore) -> str:
    """How one of them is."""
    return made_as(type(score).__name__, how_made(score))


class Against:
    """The reference of a run, and what of it can be compared today.

    Raises:
        UsageError: it cannot be read; or nothing of it can be compared with any suite of the run.
    """

    def __init__(self, run: Session) -> None:
        assert run.settings.against is not None
        self._run, self._file = run, reference_file(run.settings.against)
        self.reference: Reference = load_reference(self._file, run.selection.chosen())
        self._suites = {suite.name: suite for suite in self.reference.suites}
        self._places: dict[
            str, dict[str, int]
        ] = {}  # by suite: of today's rows, their place in the reference
        self._again: dict[str, list[Trial]] = {}  # by suite: its answers as today's checks see them
        self._said: dict[str, None] = {}
        self._since: list[SinceReference] = []
        self._has_answers = not is_blessed(self._file)
        for suite in run.suites.values():
            self._match(suite)
        if run.suites and not any(self._places.values()):
            why = "".join(f"\n  {line}" for line in self._said)
            raise UsageError(
                f"--against={self._path}: nothing of it can be compared:{why}\n"
                "  hint: bless a run on today's suites (--bless), or leave --against out."
            )

    @property
    def _path(self) -> str:
        return self._run.lab.relative(self._file)

    @property
    def held_to(self) -> HeldTo:
        """For the record."""
        its, columns = self.reference, [t for suite in self.reference.suites for t in suite.trials]
        return HeldTo(
            path=self._path,
            label=its.label,
            run=its.run,
            created=its.created,
            margin=self._run.settings.against_margin,
            said=tuple(self._said),
            blessed=its.blessed,
            by=its.by,
            why=its.why,
            prompt_tokens=means([each.prompt_tokens for each in columns]),
            completion_tokens=means([each.completion_tokens for each in columns]),
            latency_ms=means([each.latency_ms for each in columns]),
            changes=tuple(self._since),
        )

    # ----------------------------------------------------------------- what can be compared
    def _match(self, suite: LoadedSuite) -> Mapping[str, int]:
        """Of today's rows those that the reference has, by id, and their places there."""
        if suite.name in self._places:
            return self._places[suite.name]
        found: dict[str, int] = {}
        self._places[suite.name] = found
        its = self._suites.get(suite.name)
        if its is None:
            self._say(suite, f"the reference was not judged by it (it was by {', '.join(self._suites)})")
            return found
        known: defaultdict[str, list[int]] = defaultdict(list)
        for place in reversed(range(len(its.rows))):
            known[its.rows[place]].append(place)
        keys = map(recorded_key, suite.info({}).rows) if self._has_answers else row_keys(suite)
        for row, key in zip(suite.rows, keys, strict=True):
            if known[key]:
                found[row.id] = known[key].pop()
        n, gone, new = len(found), len(its.rows) - len(found), len(suite.rows) - len(found)
        differs = f"{gone:,} of the reference are gone or changed, {new:,} are new"
        if n < MIN_ROWS:
            self._say(suite, f"not compared: {n:,} of its {len(suite.rows):,} rows are the same ({differs})")
            found.clear()
            return found
        which = f"{plural(n, 'row')} that are the same ({differs})" if gone or new else f"all {n:,} rows"
        self._say(suite, f"compared with the reference on {which}")
        if its.prompt_digest != suite.prompt_digest:
            self._say(suite, "its prompt is another one now: a part of each difference may be due to it")
        for score in suite.scores:
            if why := self._why_not(suite, its, score):
                self._say(suite, f"{score.name} is not compared with the reference: {why}")
        return found

    def _say(self, suite: LoadedSuite, what: str) -> None:
        self._said[f"suite {suite.name}: {what}"] = None

    def _why_not(self, suite: LoadedSuite, its: ReferenceSuite, score: SuiteScore) -> str:
        """Why a score cannot be compared; empty where it can."""
        if Kind(score.kind) is Kind.PREFERENCE:
            return "a preference is over the baseline of its own run"
        if isinstance(score, LatencyMs) and self.reference.processor != cpu_name():
            return f"times of another machine ({self.reference.processor or 'not named'})"
        if self._is_kept(its, score) or (self._has_answers and not isinstance(score, Judge)):
            return ""
        if score.name not in its.scores:
            return "the reference has no score of that name on every row"
        return "it is made in another way now" + (
            " (another judge, prompt or labels)" if isinstance(score, Judge) else " (other settings)"
        )

    def _is_kept(self, its: ReferenceSuite, score: SuiteScore) -> bool:
        return its.scores.get(score.name) == score_made(score)

    def _values(self, suite: LoadedSuite, score: SuiteScore) -> list[Values]:
        """The reference's values of a score, by row, one mapping a seed."""
        its, places = self._suites[suite.name], self._match(suite)
        if self._is_kept(its, score):
            return [
                {row: trial.scores[score.name][place] for row, place in places.items()}
                for trial in its.trials
            ]
        return [
            {
                answer.row_id: None if found.failure else found.value
                for answer, found in zip(trial.answers, trial.scores[score.name], strict=True)
            }
            for trial in self._scored_again(suite)
        ]

    def _as_many(self, each: list[Values], arm: Arm) -> list[Values]:
        """The seeds of the reference that those of today can be paired with: as many, or one."""
        n, mine = len(each), len(arm.replicas)
        if n in (1, mine) or mine == 1:
            return each
        kept = mine if n > mine else 1
        of = "its first seed" if kept == 1 else f"its first {kept} seeds"
        self._said[f"{arm.label} has {plural(mine, 'seed')}, the reference {n}: compared with {of}"] = None
        return each[:kept]

    def _scored_again(self, suite: LoadedSuite) -> list[Trial]:
        """The answers of a ``run.json`` to the rows that are the same, as today's checks see them."""
        if suite.name not in self._again:
            rows = tuple(row for row in suite.rows if row.id in self._match(suite))
            checks = tuple(score for score in suite.scores if not isinstance(score, Judge))
            same, its, trials = replace(suite, rows=rows, scores=checks), self.reference, []
            for seed in its.seeds or (None,):
                label = f"{its.label} seed {seed}" if seed else its.label
                given = Recorded(run=str(self._file.absolute()), candidate=label)
                variant = Variant(its.label, given, its.size, seed)
                prepared = given.prepare(self._run.lab, variant)
                trials.append(self._run.answerer.trial(variant, label, prepared, same, judge_all=False))
            self._again[suite.name] = trials
        return self._again[suite.name]

    # ----------------------------------------------------------------- gates
    def claims(self, spoken: Sequence[Gate]) -> list[tuple[Gate, Claim]]:
        """For each gate that decides, that its score is no worse than the reference's, once a score and rows.

        See ``decision.regression`` for the level of all of them together.
        """
        for suite in self._run.suites.values():
            self._match(suite)
        margins: dict[tuple[str, str, str, str], tuple[Gate, float | None]] = {}
        for gate in spoken:
            found = gate.comparison
            if gate.state != "gated" or found is None or gate not in self._run.claims:
                continue
            own = -found.claimed if gate.role is Role.GUARD and found.claimed < 0 else None
            place = gate.candidate, gate.suite, found.score, found.rows
            first, margin = margins.get(place, (gate, None))
            known = [each for each in (own, margin) if each is not None]
            margins[place] = first, min(known, default=None)
        default, chosen = self._run.settings.against_margin, self._run.selection.chosen()
        self._since = [
            one
            for name in chosen
            for suite in self._run.suites.values()
            if (one := self._others(name, suite))
        ]
        same = {name for name in chosen if self._is_itself(name)}
        for name in same:
            said = f"{name} is the reference itself, and says the same on every row: nothing changed"
            self._said[said] = None
        made = [
            (gate, claim)
            for gate, margin in margins.values()
            if gate.candidate not in same
            if (claim := self._claim(gate, default if margin is None else margin)) is not None
        ]
        of_suite = {(gate.candidate, gate.suite): gate for gate, _ in reversed(margins.values())}
        made += [(gate, claim) for gate in of_suite.values() if (claim := self._came(gate)) is not None]
        alpha, n = self._run.settings.alpha, len(made)
        judged = at_shared_level([claim for _, claim in made], alpha)
        return [
            (self._gate(gate, claim, smallest_loss(claim, alpha, n)), claim)
            for (gate, _), claim in zip(made, judged, strict=True)
        ]

    def _tried(self, name: str, suite: str) -> list[Trial]:
        """A candidate's trials at its last size, as far as there are any: nobody is asked here."""
        arm = self._run.selection.sized(name)[-1]
        places = ((arm.label, variant.seed, suite) for variant in arm.variants)
        return [self._run.trials[place] for place in places if place in self._run.trials]

    def _others(self, name: str, suite: LoadedSuite) -> SinceReference | None:
        """Where a candidate's answers are not the reference's, at any seed; None: nothing is compared."""
        its, places = self._suites.get(suite.name), self._match(suite)
        mine = self._tried(name, suite.name)
        if not places or its is None or not mine:
            return None
        theirs = its.trials if len(its.trials) > 1 else its.trials * len(mine)
        found: dict[str, None] = {}
        for now, then in zip(mine, theirs, strict=False):
            said = {answer.row_id: answer_digest(answer) for answer in now.answers}
            found |= {row: None for row, at in places.items() if not said[row] == then.answers[at] != ""}
        return SinceReference(name, suite.name, len(places), tuple(found), {})

    def _is_itself(self, name: str) -> bool:
        """Whether the candidate is the reference: the same models, which say the same on every row."""
        digest = next((p.model_digest for v, p in self._run.prepared.items() if v.name == name), "")
        mine = [one for one in self._since if one.candidate == name]
        return bool(mine) and all(
            not one.answers
            and [(trial.seed, model_of(digest, trial)) for trial in self._tried(name, one.suite)]
            == [(then.seed, then.model) for then in self._suites[one.suite].trials]
            for one in mine
        )

    def _gate(self, gate: Gate, claim: Claim, loss: float | None) -> Gate:
        found = claim.comparison
        score = f"{found.score} where {found.rows}" if found.rows else found.score
        return replace(
            gate,
            test=f"{gate.suite}::{score}, {NAME}",
            role=Role.GUARD,
            comparison=found,
            place="",
            against=self.reference.label,
            smallest_loss=loss,
        )

    def _theirs(self, like: ScoreVector, each: list[Values], arm: Arm) -> ScoreVector:
        """The reference's values of the rows of a vector of today's."""
        like = replace(
            like, subject=f"reference {self.reference.label}", by_seed=(), unanswered=(), reasons=()
        )
        columns = [
            replace(like, values=tuple(map(one.__getitem__, like.row_ids)))
            for one in self._as_many(each, arm)
        ]
        return over_seeds(columns, self.reference.seeds)

    def _claim(self, gate: Gate, margin: float) -> Claim | None:
        run, own = self._run, self._run.claims[gate]
        suite, places = run.suites[gate.suite], self._match(run.suites[gate.suite])
        less_is_better = not isinstance(own.candidate, ScoreVector)
        vector = own.baseline if less_is_better else own.candidate
        assert isinstance(vector, ScoreVector)
        score = next(one for one in suite.scores if one.name == vector.score)
        if not places or self._why_not(suite, self._suites[suite.name], score):
            return None
        arm = run.selection.sized(gate.candidate)[-1]
        mine = at_places(vector, [at for at, row in enumerate(vector.row_ids) if row in places])
        if len(mine.row_ids) < MIN_ROWS:
            self._say(
                suite, f"{vector.score} where {vector.rows} is not compared: too few of its rows are the same"
            )
            return None
        trial = run.trials[arm.label, arm.replicas[0], suite.name]
        if trial.schema_digest != self._suites[suite.name].schema_digest:
            self._say(suite, f"answers of {arm.label} are bound to another JSON schema than the reference's")
        try:
            theirs = self._theirs(mine, self._values(suite, score), arm)
            scores = run.subject(arm, suite.name, None).scores(score)
            sides = replace(scores, vector=mine), replace(scores, vector=theirs)
            claim = _no_worse(*sides, margin, less_is_better=less_is_better)
        except HarnessError as error:  # values that its kind cannot have
            first = str(error).splitlines()[0]
            self._say(suite, f"{score.name} of {arm.label} is not compared: {first}")
            return None
        self._note(gate, mine, theirs, less_is_better=less_is_better)
        return claim

    def _note(self, gate: Gate, mine: ScoreVector, theirs: ScoreVector, *, less_is_better: bool) -> None:
        """Keep which rows score otherwise than in the reference, whose file has six decimals."""
        columns = zip(mine.row_ids, theirs.values, mine.values, strict=True)
        found = {
            row: (then, now)
            for row, then, now in columns
            if then is not None and now is not None and abs(now - then) > 1e-6
        }
        place = next(
            at
            for at, one in enumerate(self._since)
            if (one.candidate, one.suite) == (gate.candidate, gate.suite)
        )
        one = self._since[place]
        known = {**one.scores, mine.score: {**one.scores.get(mine.score, {}), **found}}
        less = dict.fromkeys([*one.less_is_better, *([mine.score] if less_is_better else [])])
        self._since[place] = replace(one, scores=known, less_is_better=tuple(less))

    def _came(self, gate: Gate) -> Claim | None:
        """That no more answers failed to come than the margin allows; None where no more did.

        Scores leave such rows out, so a candidate that answers the easy half would seem to have lost nothing.
        """
        run, suite = self._run, self._run.suites[gate.suite]
        arm, places = run.selection.sized(gate.candidate)[-1], self._match(suite)
        if not places:
            return None
        rows = [at for at, row in enumerate(suite.units.row_ids) if row in places]
        ids, groups = (
            tuple(suite.units.row_ids[at] for at in rows),
            tuple(suite.units.groups[at] for at in rows),
        )
        whole = ScoreVector(arm.label, CAME, Kind.BINARY, ids, (), groups)
        came = [
            {answer.row_id: float(answer.failure is None) for answer in trial.answers}
            for trial in run.trials_of(arm, suite.name)
        ]
        columns = [replace(whole, values=tuple(map(one.__getitem__, ids))) for one in came]
        theirs = self._theirs(
            whole,
            [
                {row: float(trial.answers[place] != "") for row, place in places.items()}
                for trial in self._suites[suite.name].trials
            ],
            arm,
        )
        sides = over_seeds(columns, arm.seeds), theirs
        mine, reference = (Scores(side, alpha=run.settings.alpha) for side in sides)
        n_mine, n_theirs = (sum(value or 0.0 for value in side.values) for side in sides)
        return mine >= reference - run.settings.against_margin if n_mine < n_theirs else None


def _no_worse(mine: Scores, theirs: Scores, margin: float, *, less_is_better: bool) -> Claim:
    if less_is_better:
        mine, theirs = theirs, mine
    return mine >= theirs - margin


def with_smallest_losses(run: Session, gates: Sequence[Gate]) -> Iterator[Gate]:
    """The gates, each guard of the suite with the smallest loss that its rows show."""
    for gate in gates:
        claim = run.claims.get(gate)
        is_guard = claim is not None and gate.role is Role.GUARD
        loss = smallest_loss(claim, run.settings.alpha) if claim is not None and is_guard else None
        yield replace(gate, smallest_loss=loss) if is_guard else gate
