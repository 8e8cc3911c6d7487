"""Several judges as one: combined scores, lost ones, admission and what their votes weigh."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from pair_graders import Comparer, Named, honest, pair_labels, rows_and_sides, verdict

from harness.errors import UsageError
from harness.records import Admission, Answer, Kind, Message, Rate, Row, Score
from harness.scoring.judges import Failure, Grader, Judge
from harness.scoring.labels import Label
from harness.scoring.pairwise import Pairwise
from harness.scoring.panel import Panel
from harness.scoring.rubric import CalibratedRubric, Rubric
from harness.scoring.votes import agreement_of, effective_votes

N = 120
LABELS = tuple(
    Label(f"m{k}", f"r{k}", f"{'right' if k % 2 else 'wrong'} {k}", good=bool(k % 2)) for k in range(N)
)


def rubric(name: str, **more: object) -> Rubric:
    return replace(Rubric(Named(name), "It is right.", labels="l.jsonl", name=name, known=LABELS), **more)  # type: ignore[arg-type]


def panel(*judges: Judge, **more: object) -> Panel:
    return replace(Panel(judges, known=LABELS), **more)  # type: ignore[arg-type]


Say = Callable[[str], str | Failure]


@dataclass
class Graders:
    """Each model grades by its own function of the answer; is the oracle, too."""

    by_model: dict[str, Say]
    asked: list[str] = field(default_factory=list)

    def grader(self, model: object, schema: object, max_tokens: int) -> Grader:
        name = str(getattr(model, "model", ""))
        outer = self

        class One:
            def ask(self, prompts: Sequence[Sequence[Message]]) -> Sequence[str | Failure]:
                outer.asked += [f"{name}: {prompt[-1].content}" for prompt in prompts]
                answers = [p[-1].content.rpartition("\n</answer-")[0].rpartition("\n")[2] for p in prompts]
                return [outer.by_model[name](answer) for answer in answers]

        return One()

    def logprob(self, prompts: Sequence[tuple[str, str]]) -> Sequence[float]:
        raise AssertionError


def judgment(level: int) -> str:
    return json.dumps({"reason": "because", "score": level})


def right(answer: str) -> str:
    return judgment(4 if answer.startswith("right") else 2)


def number(answer: str) -> int:
    return int(answer.rpartition(" ")[2])


def wrong_where(share: Callable[[int], bool]) -> Say:
    """Errs on some answers."""
    return lambda a: judgment(6 - json.loads(right(a))["score"]) if share(number(a)) else right(a)


def scored(judged: Panel, graders: Graders, *texts: str) -> tuple[Score, ...]:
    calibrated = judged.calibrated(Graders(dict.fromkeys(graders.by_model, right)))
    rows = [Row(str(k), (Message("user", "?"), Message("assistant", "ref"))) for k in range(len(texts))]
    answers = [Answer(str(k), text, 1, 1, 1.0) for k, text in enumerate(texts)]
    return calibrated.score_many(rows, answers, graders)


A, B, C = rubric("a"), rubric("b"), rubric("c")


# --------------------------------------------------------------------------- combined
def test_a_row_has_the_mean_of_its_judges_or_what_more_than_half_of_them_call_it() -> None:
    levels = Graders({"a": lambda x: judgment(5), "b": lambda x: judgment(4), "c": lambda x: judgment(1)})
    (mean,) = scored(panel(A, B, C), levels, "x")
    assert mean.value == pytest.approx((1 + 0.75 + 0) / 3)
    assert mean.reason == "a 1: 5 of 5: because; b 0.75: 4 of 5: because; c 0: 1 of 5: because"
    (good,) = scored(panel(A, B, C, combine="majority"), levels, "x")
    assert good.value == 1.0
    (split,) = scored(panel(A, C, combine="majority"), levels, "x")
    assert split.value == 0.0
    assert panel(A, B).kind is Kind.GRADED
    assert panel(A, B, combine="majority").kind is Kind.BINARY


@pytest.mark.parametrize(("lost", "value"), [("", 0.75), ("a", 0.75), ("ab", None), ("abc", None)])
def test_a_row_needs_half_of_the_judges(lost: str, value: float | None) -> None:
    fails: Say = lambda x: Failure("timed out")  # noqa: E731
    each = Graders({name: fails if name in lost else right for name in "abc"})
    (score,) = scored(panel(A, B, C), each, "right 1")
    assert score.value == value
    if value is None:
        assert score.failure == f"{len(lost)} of 3 judges gave no score: not judged: timed out"
    (of_two,) = scored(panel(A, B), Graders({"a": fails, "b": right}), "right 1")
    assert of_two.value == 0.75, "one of two is half"


def test_a_judge_of_the_projects_own_that_raises_loses_its_vote_and_no_more() -> None:
    @dataclass(frozen=True)
    class Broken(Rubric):
        def calibrated(self, oracle: object) -> CalibratedRubric:
            raise RuntimeError("out of order")

    broken = Broken(Named("c"), "It is right.", labels="l.jsonl", name="broken")
    (score,) = scored(panel(A, B, broken), Graders({"a": right, "b": right}), "right 1")
    assert score.value == 0.75
    assert "broken none: broken: not calibrated: RuntimeError: out of order" in score.reason


class Tries:
    """What a stranger writes: it derives from nothing, and has no labels, field or seed."""

    kind = Kind.BINARY

    def __init__(self, name: str = "tries") -> None:
        self.name = name

    def spec(self) -> dict[str, object]:
        return {"check": "Tries"}

    def bind(self, read: object) -> Tries:
        return self

    def require_ready(self, oracle: object) -> None: ...

    def estimate(self, rows: object) -> None: ...

    def redirected(self, url: str) -> Tries:
        return self

    def calibrated(self, oracle: object) -> Tries:
        return self

    @property
    def admission(self) -> Admission:
        one = Rate(1.0, 0.9, 1.0, 50)
        return Admission("tries", True, one, one, one, 0.5, 50, 50, ())

    def score_many(self, rows: object, answers: Sequence[Answer], oracle: object) -> tuple[Score, ...]:
        return tuple(Score(float(answer.text.startswith("right"))) for answer in answers)


def test_a_judge_of_the_projects_own_may_sit_on_a_panel() -> None:
    jury = panel(A, Tries())
    (score,) = scored(jury, Graders({"a": right}), "right 1")
    assert score.value == pytest.approx((0.75 + 1) / 2)
    assert jury.calibrated(Graders({"a": right})).admission.admitted
    estimate = jury.estimate([])
    assert estimate is not None
    assert [one.model.model for one in estimate.every] == ["a"]
    assert Panel((Tries(), Tries("others")), labels="l.jsonl").estimate([]) is None


# --------------------------------------------------------------------------- admission
def test_judges_with_errors_of_their_own_are_admitted_together_where_none_is_alone() -> None:
    thirds = {name: wrong_where(lambda k, own=own: k // 2 % 3 == own) for own, name in enumerate("abc")}  # type: ignore[misc]
    found = panel(A, B, C).calibrated(Graders(thirds)).admission
    assert found.admitted
    assert (found.kappa.value, found.n_calibration, found.n_test) == (1.0, N // 2, N // 2)
    assert not A.calibrated(Graders(thirds)).admission.admitted
    assert dict(found.facts)["independent votes that 3 judges weigh as"].startswith("3.00 (")


def test_judges_that_err_alike_are_one_vote() -> None:
    alike = dict.fromkeys("abc", wrong_where(lambda k: k // 2 % 3 == 0))
    found = panel(A, B, C).calibrated(Graders(alike)).admission
    assert not found.admitted
    facts = dict(found.facts)
    assert facts["independent votes that 3 judges weigh as"] == f"1.00 (1.00 to 1.00, n={N // 2})"
    assert facts["agreement of the judges (Krippendorff's alpha)"].startswith("1.00 (1.00 to 1.00")


def test_its_labels_are_the_prompts_of_its_judges_and_cost_nothing_more() -> None:
    graders = Graders({"a": right, "b": right})
    panel(A, B).calibrated(graders)
    assert len(set(graders.asked)) == 2 * N


def test_few_scored_labels_forbid_admission() -> None:
    fails: Say = lambda a: Failure("HTTP 500") if number(a) % 5 == 0 else right(a)  # noqa: E731
    found = panel(A, B).calibrated(Graders({"a": fails, "b": fails})).admission
    assert not found.admitted
    assert "test labels were not scored" in found.reasons[-1]


# --------------------------------------------------------------------------- pairs
def pairwise(name: str) -> Pairwise:
    return Pairwise(Named(name), "Says more.", labels="pairs.jsonl", name=name, known=pair_labels())


def test_of_judges_of_pairs_the_side_wins_that_more_than_half_prefer() -> None:
    jury = Panel((pairwise("a"), pairwise("b"), pairwise("c")), known=pair_labels())
    assert (jury.kind, jury.needs_baseline, jury.labels) == (Kind.PREFERENCE, True, "pairs.jsonl")
    calibrated = jury.calibrated(Comparer(honest))
    assert calibrated.admission.admitted
    facts = dict(calibrated.admission.facts)
    assert facts["independent votes that 3 judges weigh as"] == "not known: nothing differs"
    rows, mine, theirs = rows_and_sides(("good 2", "poor 1"), ("a 1", "b 1"), ("poor 1", "good 2"))
    scores = calibrated.prefer_many(rows, mine, theirs, Comparer(honest))
    assert [score.value for score in scores] == [1.0, 0.5, 0.0]
    one, two, tie = Score(1.0), Score(0.0), Score(0.5)
    assert jury.combined([one, one, two]).value == 1.0
    assert jury.combined([one, tie, tie]).value == 0.5
    assert jury.combined([one, two, tie]).value == 0.5
    assert jury.combined([two, two, Score(None, failure="x")]).value == 0.0
    by_place = jury.calibrated(Comparer(lambda first, second: verdict("first"))).admission
    assert not by_place.admitted


# --------------------------------------------------------------------------- as a suite's score
def test_a_panel_is_a_judge_that_asks_what_its_judges_ask() -> None:
    lines = "\n".join(
        json.dumps({"message": x.message, "reference": x.reference, "reply": x.reply,
                    "label": "good" if x.good else "bad"}) for x in LABELS
    )  # fmt: skip
    written = Panel((rubric("a", known=None), rubric("b", known=None)))
    bound = written.bind(lambda path: lines)
    assert {written: 1}[bound] == 1
    assert isinstance(bound, Judge)
    estimate = bound.redirected("http://x").estimate([])
    assert estimate is not None
    assert [(one.model.model, one.model.url, len(one.labels)) for one in estimate.every] == [
        ("a", "http://x", N),
        ("b", "http://x", N),
    ]
    assert len(json.dumps(bound.spec()["judges"])) < 10_000
    assert bound.spec() != written.spec()
    with pytest.raises(UsageError, match="bind it first"):
        replace(written, judges=(A, B)).calibrated(Graders({"a": right, "b": right}))


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (lambda: Panel((A,)), "at least two"),
        (lambda: Panel(A), "write several judges"),  # type: ignore[arg-type]
        (lambda: Panel((A, replace(A))), "one name"),
        (lambda: Panel((A, pairwise("p"))), "a panel of each"),
        (lambda: Panel((A, replace(B, field="summary"))), "different field"),
        (lambda: Panel((A, replace(B, labels="other.jsonl"))), "different labels"),
        (lambda: Panel((A, replace(B, seed=1))), "what calibrates must not test"),
        (lambda: Panel((pairwise("p"), pairwise("q")), combine="mean"), "write 'majority'"),
        (lambda: Panel((A, B), combine="median"), "mean, majority"),  # type: ignore[arg-type]
    ],
)
def test_judges_that_make_no_panel_are_refused_by_what_is_wrong(made: Callable[[], Panel], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        made()


# --------------------------------------------------------------------------- what votes weigh
def test_effective_votes_follow_kishs_design_effect_and_cover_the_truth() -> None:
    generator = np.random.default_rng(0)
    rho, n_judges, covered = 0.5, 4, 0
    truth = n_judges / (1 + (n_judges - 1) * rho)
    for _ in range(200):
        shared, own = generator.normal(size=(100, 1)), generator.normal(size=(100, n_judges))
        labels = [0.0, 1.0] * 50
        seen = rho**0.5 * shared + (1 - rho) ** 0.5 * own + np.array(labels)[:, np.newaxis]
        found = effective_votes(seen, labels)
        assert found is not None
        covered += found.low <= truth <= found.high
    assert covered >= 180
    assert effective_votes(np.zeros((50, 3)), [1.0] * 50) is None
    against = generator.normal(size=(100, 1))
    opposed = effective_votes(np.hstack([against, -against]), [1.0] * 100)
    assert opposed is not None
    assert opposed.value == 2.0


def test_agreement_counts_verdicts_alike_and_is_unknown_where_nothing_differs() -> None:
    same = np.array([[1.0, 1.0], [0.0, 0.0]] * 10)
    found = agreement_of(same)
    assert found is not None
    assert found.value == 1.0
    assert agreement_of(np.ones((10, 3))) is None
