"""What a suite's held-out rows have judged: by its store, its reports, and runs that it was told of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import takewhile
from pathlib import Path

from harness.data.fingerprints import fingerprint, rows_fingerprint
from harness.data.row_sets import are_shared, has_grown, recorded_row_set, row_set
from harness.decision.retesting import count_tries
from harness.errors import DataError, StoreError, UsageError
from harness.records import Gate, HeldoutUse, RowSet, SuiteInfo, Verdict
from harness.report.reference import head_of, reference_file
from harness.report.runjson import JudgedHead
from harness.run.suite_loading import LoadedSuite
from harness.settings import Settings
from harness.store.answers import AnswerStore

MOST_USES, MOST_SETS = 500, 20  # that one suite of a run.json holds; the store holds all
DIGITS = 16  # of fingerprints that only have to differ from each other
#: of a comparison: what the rows said, whatever the sides are called and at whatever level they were judged
SAID = (
    "score",
    "kind",
    "rows",
    "n",
    "bound",
    "difference",
    "candidate_mean",
    "baseline_mean",
    "discordant",
    "clusters",
    "failures",
    "seed_differences",
)


@dataclass(frozen=True)
class SuiteHistory:
    """Decisions that count for the rows of one suite, oldest first, and the sets of rows that they name."""

    today: RowSet
    uses: tuple[HeldoutUse, ...]
    row_sets: Mapping[str, RowSet]

    def grown_from(self, identity: str) -> tuple[int, ...]:
        """The numbers of rows, ascending, that gave this recipe no GO and from which today's grew.

        What came after today's rows judged it first does not count: the same rows give the same decision.
        Nor does what came before a GO on fewer of them: no later test makes a false GO of that one likelier.
        """
        return self._grown_from(use for use in self.uses if identity and use.identity == identity)

    def grown_under(self, candidate: str) -> tuple[int, ...]:
        """The same of a candidate's name, where its recipe is not known yet."""
        return self._grown_from(use for use in self.uses if use.candidate == candidate)

    def _grown_from(self, uses: Iterable[HeldoutUse]) -> tuple[int, ...]:
        found: dict[str, int] = {}
        for use in takewhile(lambda use: use.rows != self.today.digest, uses):
            if has_grown(self.row_sets[use.rows], self.today):
                if use.verdict is Verdict.GO:
                    found.clear()
                else:
                    found[use.rows] = self.row_sets[use.rows].n
        return tuple(sorted(found.values()))

    def with_uses(self, uses: Iterable[HeldoutUse]) -> SuiteHistory:
        """The same and further decisions on today's rows."""
        return replace(self, uses=_merged((*self.uses, *uses)))

    def noted(self, info: SuiteInfo) -> SuiteInfo:
        """The suite with the number of decisions, the latest of them, and the latest sets of rows."""
        latest = self.uses[-MOST_USES:]
        digests = list(dict.fromkeys(use.rows for use in reversed(latest)))[:MOST_SETS]
        sets = tuple(self.row_sets[digest] for digest in sorted(digests))
        return replace(
            info,
            uses=count_tries(self.uses).candidates,
            history=tuple(use for use in latest if use.rows in digests),
            row_sets=sets,
        )


class HeldoutHistory:
    """Reads what is known of earlier uses when first asked, and keeps what is added.

    A rehearsal has judged nothing, and does not count what was judged before it.
    """

    def __init__(self, store: AnswerStore, settings: Settings) -> None:
        self._store, self._settings = store, settings
        self._suites: dict[str, SuiteHistory] = {}

    def require_readable(self) -> None:
        """Read the records that were named.

        Raises:
            UsageError: one of them cannot be read.
        """
        if self._references:
            _ = self._judged

    def of(self, suite: LoadedSuite) -> SuiteHistory:
        """What counts for the suite's rows: decisions on rows of which it shares half."""
        if suite.name not in self._suites:
            self._suites[suite.name] = self._read(suite)
        return self._suites[suite.name]

    def add(self, suite: LoadedSuite, uses: Sequence[HeldoutUse]) -> SuiteHistory:
        """Keep this run's decisions, with those of which only records knew."""
        history = self.of(suite)
        if self._settings.rehearse is not None:
            return history
        self._suites[suite.name] = history = history.with_uses(uses)
        self._store.keep_uses(history.uses, history.row_sets, rows_fingerprint(suite.rows))
        return history

    @cached_property
    def _judged(self) -> list[JudgedHead]:
        return list(_judged_runs(self._settings.reports, self._references))

    @property
    def _references(self) -> tuple[Path, ...]:
        against = self._settings.against
        return (*self._settings.reference_runs, *([] if against is None else [reference_file(against)]))

    def _read(self, suite: LoadedSuite) -> SuiteHistory:
        today, file = row_set(suite.rows), rows_fingerprint(suite.rows)
        if self._settings.rehearse is not None:
            return SuiteHistory(today, (), {})
        uses, sets = self._store.uses()
        dated: set[tuple[HeldoutUse, ...]] = set()
        for run in self._judged:
            for info in run.suites:
                found = info.history
                sets |= {each.digest: each for each in info.row_sets}
                if not found and info.uses and not info.row_sets:
                    # of a version that did not note them
                    is_same = info.heldout_digest == file
                    rows = today if is_same else recorded_row_set(info.rows, suite.rows)
                    sets[rows.digest] = rows
                    found = tuple(_uses_of(run, info.name, rows.digest))
                    dated |= {found} if found and rows == today else set()
                uses += found
        # a store and a record of the same version know of the same run
        for decision in self._store.undetailed_uses(file)[len(dated) :]:
            uses.append(HeldoutUse(f"undetailed {decision[:DIGITS]}", "", "", today.digest))
        shared = {digest for digest, rows in sets.items() if are_shared(rows, today)} | {today.digest}
        sets[today.digest] = today
        return SuiteHistory(
            today,
            _merged(use for use in uses if use.rows in shared),
            {digest: rows for digest, rows in sets.items() if digest in shared},
        )


def _judged_runs(reports: Path, references: tuple[Path, ...]) -> Iterator[JudgedHead]:
    """What runs have judged: those that were named, then those under the report folder, the latest first.

    Rehearsals judged nothing. What cannot be read in the report folder is passed over.
    """
    for file in (*references, *sorted(reports.glob("*/run.json"), reverse=True)):
        try:
            run = head_of(file)
        except (DataError, StoreError) as error:
            if file not in references:
                continue
            problem = error.problem if isinstance(error, DataError) else str(error)
            hint = "name the run.json of an earlier run, or leave the option out."
            raise UsageError(f"--reference-run={file}: {problem}\n  hint: {hint}") from error
        if not run.rehearsal:
            yield run


def decision_fingerprint(identity: str, rows: str, gates: Iterable[Gate]) -> str:
    """The same for the same recipe, rows and comparisons, whatever candidates and files are called."""
    said = sorted(
        fingerprint([gate.role, *(_rounded(getattr(gate.comparison, name)) for name in SAID)])
        for gate in gates
    )
    return fingerprint([identity, rows, said])[:DIGITS]


def has_judged(gate: Gate, suite: str, candidate: str, size: int | None) -> bool:
    """Whether it judged the candidate on rows of the suite; too few rows to judge anything have not."""
    if gate.against:  # whoever is held to a reference today, and not tomorrow, takes the same decision
        return False
    own = (gate.suite, gate.candidate, gate.size, gate.state) == (suite, candidate, size, "gated")
    return own and gate.comparison is not None and gate.comparison.low is not None


def _rounded(value: object) -> object:
    if isinstance(value, tuple):
        return [_rounded(item) for item in value]
    return round(value, 9) if isinstance(value, float) else value


def _uses_of(run: JudgedHead, suite: str, rows: str) -> Iterator[HeldoutUse]:
    """The decisions of a record that lists none: each candidate was judged for itself."""
    for decision in run.decisions:
        name = decision.candidate
        if gates := [gate for gate in run.gates if has_judged(gate, suite, name, decision.size)]:
            key = decision_fingerprint(name, rows, gates)
            yield HeldoutUse(key, name, "", rows, decision.verdict, run.alpha, run.created)


def _merged(uses: Iterable[HeldoutUse]) -> tuple[HeldoutUse, ...]:
    """Each decision once, as it was first taken, oldest first."""
    first: dict[str, HeldoutUse] = {}
    for use in sorted(uses, key=lambda use: (use.created, use.run, use.decision)):
        first.setdefault(use.decision, use)
    return tuple(first.values())
