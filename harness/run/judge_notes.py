"""What to know of judges beside a decision: whose family they are of, what their labels cannot see."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.records import Gate
from harness.run.session import Session
from harness.scoring.families import models_of, same_family
from harness.scoring.judges import Judge, trust_of


def judge_notes(run: Session, name: str, gates: Sequence[Gate]) -> Iterator[str]:
    """A sentence for each judge that a gate of the candidate rests on, where there is something to know.

    Args:
        run: what was tried.
        name: the candidate's.
        gates: of the whole run.
    """
    arms = run.selection.sized(name)[-1], run.selection.baseline_of(name)
    rests_on = {
        (gate.suite, gate.comparison.score)
        for gate in gates
        if gate.candidate == name and gate.comparison is not None and gate.state in ("gated", "advisory")
    }
    for suite in run.suites.values():
        for judge in suite.judges:
            if (suite.name, judge.name) not in rests_on:
                continue
            which = f"the judge {judge.name} (suite {suite.name})"
            sides = [
                f"the {side} ({model})"
                for side, model in zip(("candidate", "baseline"), map(run.model_of, arms), strict=True)
                if any(same_family(one, model) for one in models_of(judge))
            ]
            if sides:
                yield (
                    f"{which} asks {', '.join(models_of(judge))}, of the family of {' and '.join(sides)}:"
                    " judges prefer what their own family writes. Let another family judge too, or label some"
                    " of these answers."
                )
            if _decides_by_transfer(run, judge):
                yield transfer_note(suite.name, judge.name)


def transfer_note(suite: str, score: str) -> str:
    """What stands beside a decision on labels from elsewhere, until labels of the run correct the judge."""
    return (
        f"the judge {score} (suite {suite}) decides on labels from elsewhere. They cannot show whether it"
        " favours one side of this run; labels of this run's answers can (harness label RUN)."
    )


def _decides_by_transfer(run: Session, judge: Judge) -> bool:
    admission = run.answerer.admission(judge)
    return trust_of(judge) == "transfer" and admission is not None and admission.admitted
