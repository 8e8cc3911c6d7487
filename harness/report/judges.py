"""What a sceptic wants to know of a run's judges: how they did on labels, and what these cannot say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from harness.records import Admission, Gate, Json, Kind, RunRecord, ScoreInfo
from harness.report import numbers
from harness.report.anchors import anchors_told
from harness.report.trial_pairs import trial_label
from harness.report.view_models import Caution, TextTable
from harness.scoring.pairwise import order_effect

UNSEEN = (
    "Labels of other answers cannot show whether the judge favours one side of this run, by its style, its"
    " length or its words: such a favour is part of the difference, and no interval holds it. Labels of this"
    " run's answers correct it (harness label RUN, then harness decide RUN --labels FILE)."
)


def admission_figures(judge: Admission, kind: Kind = Kind.GRADED) -> tuple[tuple[str, str], ...]:
    """What was measured of a judge of that kind, as (name, value with interval and n)."""
    if kind is Kind.PREFERENCE:
        return (
            ("right where people preferred the first", numbers.rate(judge.tpr)),
            ("right where people preferred the second", numbers.rate(judge.tnr)),
            ("their sum − 1", numbers.rate(judge.youden)),
            ("Cohen’s kappa", numbers.rate(judge.kappa)),
            ("tested on", numbers.plural(judge.n_test, "pair")),
            *judge.facts,
        )
    found = [
        ("true-positive rate", numbers.rate(judge.tpr)),
        ("true-negative rate", numbers.rate(judge.tnr)),
        ("TPR + TNR − 1", numbers.rate(judge.youden)),
        ("Cohen’s kappa", numbers.rate(judge.kappa)),
    ]
    more = (
        ("weighted kappa of levels", judge.weighted_kappa),
        ("slope of scores on labels", judge.slope),
        ("rank correlation with length, labels alike", judge.length_effect),
        ("Krippendorff’s alpha of its annotators", judge.alpha),
    )
    found += [(name, numbers.rate(rate)) for name, rate in more if rate is not None]
    if judge.n_annotators:
        ties = f", {numbers.plural(judge.n_ties, 'tie')} left out" if judge.n_ties else ""
        found.append(("labelled by", numbers.plural(judge.n_annotators, "annotator") + ties))
    return (
        *found,
        ("good from a score of", numbers.score(judge.threshold, Kind.GRADED)),
        ("calibrated on", numbers.plural(judge.n_calibration, "label")),
        ("tested on", numbers.plural(judge.n_test, "other label")),
        *([] if judge.anchors is None else [("anchors", anchors_told(judge.anchors))]),
        *judge.facts,
    )


def judge_cautions(record: RunRecord) -> Iterator[Caution]:
    """What to know of each judge before its gates are believed."""
    for suite in record.suites:
        for info in suite.scores:
            found = info.admission
            if found is None:
                continue
            which = f"The judge of {suite.name} / {info.name}"
            gates = _resting(record, suite.name, info.name)
            means = "its gates only advise"
            if gates and all(gate.correction is not None for gate in gates):
                means = "labels of this run's answers correct it, and decide"
            if not found.admitted:
                yield Caution(
                    f"{which} was not admitted: {means}.", found.reasons, admission_figures(found, info.kind)
                )
            elif info.trust == "run-labels" and any(gate.state == "advisory" for gate in gates):
                yield Caution(f"{which} was admitted on labels from elsewhere: {means}.", (UNSEEN,))
            elif info.trust == "transfer" and any(gate.correction is None for gate in gates):
                yield Caution(f'{which} decides on labels from elsewhere (trust="transfer").', (UNSEEN,))
            if found.concerns:
                yield Caution(f"{which}: look at what it does before you believe it.", found.concerns)


def judges_table(record: RunRecord) -> TextTable:
    """Every judge of the run, with whom it asks and what was measured of it."""
    lines = []
    for suite in record.suites:
        for info in suite.scores:
            if info.admission is None:
                continue
            name = f"{suite.name} / {info.name}: {info.admission.judge}"
            figures = [f"{what} {value}" for what, value in admission_figures(info.admission, info.kind)]
            measured = "; ".join([*figures, *_of_order(record, suite.name, info)])
            admitted = "yes" if info.admission.admitted else "no"
            lines.append((name, _asks(info.spec), admitted, _trusted(info), measured))
    return TextTable(
        "Judges",
        ("judge", "asks", "admitted", "decides with", "measured"),
        lines,
        "Scores are out of 100. A judge's instructions are in run.json word for word (its spec). Rates and"
        " agreement are of labels that it was not calibrated on.",
    )


def _asks(spec: Mapping[str, Json]) -> str:
    """The models that a judge asks, as its spec describes it."""
    members, model = spec.get("judges"), spec.get("model")
    if isinstance(members, list | tuple):  # of a panel
        return "; ".join(dict.fromkeys(_asks(one) for one in members if isinstance(one, Mapping)))
    if not isinstance(model, Mapping):
        return "the built-in model"
    how = "two answers, in both orders" if spec.get("check") == "Pairwise" else ""
    if spec.get("scale") is not None:
        how = f"levels 1 to {spec['scale']}"
    return ", ".join(filter(None, (f"{model.get('model')} at {model.get('base_url')}", how)))


def _of_order(record: RunRecord, suite: str, info: ScoreInfo) -> Iterator[str]:
    """For each trial, how many verdicts of a judge of pairs depend on the order."""
    for trial in record.trials if info.kind is Kind.PREFERENCE else ():
        if trial.suite == suite and info.name in trial.scores:
            effect = order_effect(trial.scores[info.name])
            if effect is not None:
                yield f"of {trial_label(trial)}, verdicts that depend on the order {numbers.rate(effect)}"


def _resting(record: RunRecord, suite: str, score: str) -> list[Gate]:
    return [
        gate
        for gate in record.gates
        if gate.suite == suite and gate.comparison is not None and gate.comparison.score == score
        if gate.state in ("gated", "advisory")
    ]


def _trusted(info: ScoreInfo) -> str:
    if info.trust == "run-labels":
        return "labels of this run"
    return "the labels that admit it" if info.trust == "transfer" else numbers.NONE
