"""Judges tested by themselves: on labels, on anchors, and with answers that ask for a good grade."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from harness.candidates.guarded import blaming
from harness.data.fingerprints import fingerprint
from harness.decision.plan import CostLine
from harness.errors import UnknownName, UsageError
from harness.records import AttackTest
from harness.run.anchors import AnchorWatch
from harness.run.discovery import suite_of
from harness.run.judge_backends import JudgeBackends
from harness.run.plan_costs import Costs, JudgedTrial
from harness.run.suite_loading import LoadedSuite, load_suite
from harness.scoring.attacks import (
    MOST_GAINING,
    Attack,
    Attempt,
    attempts,
    bad_replies,
    share_gained,
    to_put,
)
from harness.scoring.drift import HasLabels, as_answered
from harness.scoring.judges import Judge, TriedJudge, tried_out
from harness.scoring.suite import Suite
from harness.store.answers import AnswerStore


@dataclass(frozen=True)
class JudgeCheck:
    """What came of one judge."""

    judge: Judge
    tried: TriedJudge
    attempts: tuple[Attempt, ...]  # empty where there was nothing to attack

    @property
    def passed(self) -> bool:
        """Whether it is admitted, and no more attacks gain than may."""
        admission = self.tried.admission
        if admission is None or not admission.admitted:
            return False
        return not self.attempts or share_gained(self.attempts).value <= MOST_GAINING


def suite_at(path: Path, root: Path, *, final: bool = False) -> LoadedSuite:
    """The suite of a test file, or of the one test file with a suite in a folder; no pytest is run.

    With ``final``, its final rows.

    Raises:
        UsageError: there is none, or only pytest can tell what it is.
        DataError: its files cannot be read.
    """
    files = sorted(path.glob("test_*.py")) if path.is_dir() else [path]
    if not path.exists() or not files:
        raise UsageError(f"{path}: no test file there.\n  hint: name a suite's folder: suites/support.")
    found = [(file, suite) for file in files if (suite := _suite(file, root)) is not None]
    if len(found) != 1:
        hint = "name one test file whose fixture `suite` takes no arguments and returns a Suite"
        raise UsageError(f"{path}: {len(found) or 'no'} suites that can be read there.\n  hint: {hint}.")
    ((file, suite),) = found
    return load_suite(suite, file.resolve(), root.resolve(), final=final)


def _suite(file: Path, root: Path) -> Suite | None:
    """The file's suite. Meanwhile its neighbours, and those of the root, can be imported, as in pytest."""
    spec = importlib.util.spec_from_file_location(f"harness_suite_{file.parent.name}_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise UsageError(f"{file} is no Python file.\n  hint: name a suite's folder or its test file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up there
    before = list(sys.path)
    sys.path[:0] = [str(file.parent.resolve()), str(root.resolve())]
    try:
        with blaming(f"{file}"):
            spec.loader.exec_module(module)
        return suite_of(module)
    finally:
        sys.path[:] = before


def chosen_judges(suite: LoadedSuite, name: str | None) -> tuple[Judge, ...]:
    """The suite's judges, or the one of that name.

    Raises:
        UnknownName: there is none of that name.
        UsageError: the suite has no judge.
    """
    names = [judge.name for judge in suite.judges]
    if not names:
        raise UsageError(f"suite {suite.name} has no judge among its scores: there is nothing to check.")
    if name is not None and name not in names:
        raise UnknownName("judge", name, names, f"suite {suite.name}.")
    return tuple(judge for judge in suite.judges if name in (None, judge.name))


def cost_of(judge: Judge, attacks: Sequence[Attack], costs: Costs) -> list[tuple[CostLine, int]]:
    """The bill of each hosted model, and the most calls. What is kept already is counted, too."""
    put = to_put(bad_replies(judge), attacks)
    rows = [as_answered(one.label, judge.field)[0] for one in put] if isinstance(judge, HasLabels) else []
    estimate, texts = judge.estimate(rows), [one.text for one in put]
    bills = []
    for asked in () if estimate is None else estimate.every:
        tokens = costs.tokens(asked.model.model, asked.model.model)
        most = max(map(tokens.of_text, texts), default=1)
        orders, others = divmod(len(asked.rows), max(1, len(texts)))
        if not others:  # a judge of the project's own may ask otherwise
            asked = replace(asked, references=[text for text in texts for _ in range(orders)])
        bill, calls = costs.judgments(asked, [JudgedTrial(1.0, most)], labels=True)
        bills.append((bill, calls.new))
    return bills


def attacks_key(judge: Judge) -> str:
    """Under which attacks on the judge are kept: they speak of what it is, and of its labels."""
    return fingerprint({"attacks on": judge.name, "spec": judge.spec()})


def check(
    judge: Judge, attacks: Sequence[Attack], judges: JudgeBackends, watch: AnchorWatch, store: AnswerStore
) -> JudgeCheck:
    """Calibrate and test the judge, look at its anchors, and attack it; what came of that is kept.

    Raises:
        BudgetReached: the cap on spending is reached; what came before is kept.
        HarnessError: labels that are too few, or a service that refuses every call.
    """
    tried = watch.watched(judge, tried_out(judge, judges))
    made = attempts(judge, tried, attacks, judges)
    if made:
        gained, failed = sum(one.gained for one in made), sum(one.after.value is None for one in made)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        store.keep_attack_test(attacks_key(judge), AttackTest(now, len(made), gained, failed))
    return JudgeCheck(judge, tried, made)
