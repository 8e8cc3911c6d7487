"""What a run on this machine says of its time, what it trains first, and what it says of each size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from planned_project import Project

from harness.candidates.base import Prepared, Variant
from harness.candidates.lab import Lab
from harness.decision.plan import CallCount, Purpose, Work
from harness.models.device import DevicePlan
from harness.models.pace import Pace
from harness.models.progress import Silent
from harness.records import Admission, Answer, Json, Kind, Rate, Row, Score
from harness.run.outlook import Outlook
from harness.run.session import Session
from harness.scoring.checks import ExactMatch
from harness.scoring.judges import JudgeEstimate, Oracle
from harness.testing.scripted import Scripted
from harness.training.executor import InlineExecutor

right = ExactMatch(name="right")


@dataclass
class Told(Silent):
    """Lines that were said."""

    lines: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.lines.append(text)


@dataclass(frozen=True, kw_only=True)
class Logged(Scripted):
    """Notes when it is trained and when it is asked."""

    log: list[str] = field(default_factory=list, compare=False)

    def prepare(self, lab: Lab, variant: Variant) -> Prepared:
        made = super().prepare(lab, variant)

        def load() -> object:
            self.log.append(f"ask {variant.size}")
            return made.load()

        self.log.append(f"train {variant.size}")
        return replace(made, load=load)  # type: ignore[arg-type]


def good(prompt: object, size: int | None) -> str:
    return "yes"


def bad(prompt: object, size: int | None) -> str:
    return "no"


def project(tmp_path: Path) -> tuple[Session, list[str], Told]:
    made = Project(tmp_path)
    made.suite(questions=[f"question {k}?" for k in range(20)])
    log: list[str] = []
    made.candidates = {
        "tuned": Logged(train="train.jsonl", reply=good, log=log),
        "base": Scripted(train="train.jsonl", reply=bad),
    }
    run = made.run(scores=(right,), sizes=(4, 8, 12), candidates=("tuned",), baseline="base")
    told = Told()
    run.lab = replace(run.lab, progress=told)
    run.written_targets = {("support", "right")}
    arms = run.selection.arms()
    run.need((arm, "support") for arm in arms)
    log.clear()  # identities are asked for before
    return run, log, told


def ask(run: Session, size: int) -> None:
    """As a gate at that size does."""
    arm = next(arm for arm in run.selection.sized("tuned") if arm.size == size)
    run.subject(arm, "support", None).scores(run.suites["support"].scores[0])
    run.subject(run.selection.baseline_of("tuned"), "support", None).scores(run.suites["support"].scores[0])


class Sharing(InlineExecutor):
    """Trains three of a candidate's sizes side by side."""

    def beside(self, plan: DevicePlan) -> int:
        return 3


@pytest.mark.parametrize("is_able", [True, False])
def test_sizes_on_one_base_are_trained_at_once_where_the_executor_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_able: bool
) -> None:
    monkeypatch.setattr(Logged, "trains_beside", is_able, raising=False)
    run, log, _ = project(tmp_path)
    run.lab = replace(run.lab, executor=Sharing())
    ask(run, 4)
    trained = ["train 4", "train 8", "train 12"] if is_able else ["train 4"]
    assert sorted(log[: len(trained)]) == sorted(trained)
    assert log[len(trained) :] == ["ask 4"]
    ask(run, 8)
    assert log.count("train 8") == 1


def test_the_smallest_size_is_trained_and_asked_before_the_next_is_trained(tmp_path: Path) -> None:
    run, log, _ = project(tmp_path)
    for size in (4, 8, 12):
        ask(run, size)
    assert [said for said in log if said.startswith("train")] == ["train 4", "train 8", "train 12"]
    assert log.index("ask 4") < log.index("train 8")


def test_where_judging_may_stop_all_are_trained_first_since_its_levels_count_them(tmp_path: Path) -> None:
    run, log, _ = project(tmp_path)
    run.settings = replace(run.settings, max_interim_looks=3)
    ask(run, 4)
    assert log.index("train 12") < log.index("ask 4")


def outlook(run: Session, **seconds: Mapping[Purpose, float]) -> Outlook:
    work = [Work(label, False, None, CallCount(0, 0), seconds=each) for label, each in seconds.items()]
    run.outlook = Outlook(run, work, Pace())
    run.outlook.begin()
    return run.outlook


def planned(run: Session, training: Sequence[float], answers: float = 60.0) -> Outlook:
    labels = [arm.label for arm in run.selection.sized("tuned")]
    each: dict[str, Mapping[Purpose, float]] = {
        label: {"training": s, "answers": answers} for label, s in zip(labels, training, strict=True)
    }
    each[run.selection.baseline_of("tuned").label] = {"answers": answers}
    return outlook(run, **each)


def test_the_time_that_it_takes_is_said_first_with_its_parts(tmp_path: Path) -> None:
    run, _, told = project(tmp_path)
    planned(run, (60.0, 120.0, 240.0))
    (said,) = told.lines
    assert said.startswith("this machine computes for ")
    assert "(training 7, answers 4.0)" in said


def test_a_run_of_seconds_says_nothing(tmp_path: Path) -> None:
    run, _, told = project(tmp_path)
    planned(run, (1.0, 2.0, 3.0), answers=1.0)
    ask(run, 4)
    assert told.lines == []


def test_each_smaller_size_is_told_once_with_its_difference_and_what_is_left(tmp_path: Path) -> None:
    run, _, told = project(tmp_path)
    planned(run, (60.0, 120.0, 240.0))
    del told.lines[:]
    for size, spent in ((4, 120.0), (8, 240.0), (12, 480.0)):  # twice what was predicted
        run.training_seconds += spent
        run.answerer.seconds["generation"] = 0.0
        ask(run, size)
    assert len(told.lines) == 2
    assert told.lines[0].startswith("tuned@4: right +100.0 ")
    assert "provisional, the gates are read at the largest size" in told.lines[0]
    assert told.lines[1].startswith("tuned@8: ")


def test_what_is_left_follows_the_speed_so_far(tmp_path: Path) -> None:
    run, _, _ = project(tmp_path)
    made = planned(run, (60.0, 120.0, 240.0), answers=0.0)
    run.training_seconds = 120.0
    ask(run, 4)
    assert made.seconds_left() == pytest.approx(720.0, rel=0.05)


def test_what_a_size_shows_leaves_the_gates_as_they_are(tmp_path: Path) -> None:
    run, _, _ = project(tmp_path)
    planned(run, (60.0, 120.0, 240.0))
    for size in (4, 8, 12):
        ask(run, size)
    assert run.gates == []
    assert run.claims == {}


# ----------------------------------------------------------------- judges
@dataclass(frozen=True)
class Refused:
    """A judge that its labels do not admit. It notes what it is asked."""

    log: list[str] = field(default_factory=list, compare=False)
    name: str = "taste"
    kind: Kind = Kind.GRADED

    def spec(self) -> Mapping[str, Json]:
        return {"check": "taste"}

    def bind(self, read: object) -> Refused:
        return self

    def require_ready(self, oracle: Oracle) -> None: ...

    def estimate(self, rows: Sequence[Row]) -> JudgeEstimate | None:
        return None

    def redirected(self, url: str) -> Refused:
        return self

    @property
    def judge(self) -> Refused:
        return self

    def calibrated(self, oracle: Oracle) -> Refused:
        self.log.append("labels")
        return self

    @property
    def admission(self) -> Admission:
        rate = Rate(0.1, 0.0, 0.2, 100)
        return Admission("taste", False, rate, rate, rate, 0.5, 50, 50, ("kappa is too low",))

    def score_many(self, rows: Sequence[Row], answers: Sequence[Answer], oracle: Oracle) -> tuple[Score, ...]:
        self.log.append(f"{len(rows)} rows")
        return tuple(Score(1.0) for _ in rows)


def test_a_judge_that_labels_do_not_admit_is_named_before_it_judges_an_answer(tmp_path: Path) -> None:
    made, judge = Project(tmp_path), Refused()
    made.candidates = {
        "tuned": Scripted(train="train.jsonl", reply=good),
        "base": Scripted(train="train.jsonl", reply=bad),
    }
    run = made.run(scores=(judge,), candidates=("tuned",), baseline="base")

    class Log(Silent):
        def say(self, text: str) -> None:
            judge.log.append(text)

    run.answerer._progress = Log()
    (arm,) = run.selection.sized("tuned")
    run.subject(arm, "support", None).scores(run.suites["support"].scores[0])
    assert judge.log == [
        "labels",
        "the judge taste is not admitted, and its gates decide nothing: kappa is too low",
        "10 rows",
    ]


def test_a_cache_that_cannot_be_written_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cache"
    folder.write_text("a file where the folder should be", encoding="utf-8")
    monkeypatch.setattr("harness.models.pace.cache_folder", lambda: folder)
    monkeypatch.setattr("harness.models.pace._products_per_second", lambda: 1e9)
    pace = Pace()
    before = pace.flop_per_second(10, "training")
    pace.correct("training", 20.0, 10.0)
    assert pace.flop_per_second(10, "training") == 2 * before  # known to this run
