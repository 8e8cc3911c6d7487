"""What was run: the command, the data, the models, their digests, versions, timings and failures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from harness.records import RunRecord, Trial
from harness.report import numbers
from harness.report.headline import admission_figures
from harness.report.view_models import Cell, RunBlock, Table

JUDGES_NOTE = "Scores are out of 100. What a judge is told, word for word, stands in run.json (its spec)."


def provenance(record: RunRecord) -> RunBlock:
    """Enough to run it again, and to see what did not go as it should."""
    tables = [_candidates(record), _suites(record), _trials(record), _timings(record), _environment(record)]
    judges = tuple(_judges(record))
    if judges:
        tables.insert(
            2, Table("Judges", _heads("judge", "asks", "admitted", "measured"), judges, JUDGES_NOTE)
        )
    return RunBlock(record.command, tuple(table for table in tables if table.rows))


def _heads(*names: str) -> tuple[Cell, ...]:
    return tuple(Cell(name.removesuffix("#"), numeric=name.endswith("#")) for name in names)


def _candidates(record: RunRecord) -> Table:
    rows = tuple(
        (
            Cell(c.name),
            Cell(c.kind),
            Cell(str(c.cost_rank), numeric=True),
            Cell(c.model),
            Cell(c.model_digest),
            Cell(c.baseline or numbers.NONE),
            Cell(_spec(c.spec)),
        )
        for c in record.candidates
    )
    head = _heads("candidate", "kind", "cost_rank#", "model", "model digest", "compared with", "settings")
    return Table("Candidates", head, rows)


def _spec(spec: Mapping[str, object]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(spec.items())) or numbers.NONE


def _suites(record: RunRecord) -> Table:
    rows = tuple(
        (
            Cell(s.name),
            Cell(s.heldout),
            Cell(s.heldout_digest),
            Cell(numbers.count(len(s.rows)), numeric=True),
            Cell(s.prompt_digest or numbers.NONE),
            Cell(numbers.count(s.uses), numeric=True),
            Cell("; ".join(f"{info.name} ({info.kind.value}): {info.description}" for info in s.scores)),
        )
        for s in record.suites
    )
    head = _heads("suite", "held-out file", "digest", "rows#", "prompt digest", "uses#", "scores")
    note = "Uses: how often the held-out file has been used for a decision, this run included."
    return Table("Suites and data", head, rows, note)


def _judges(record: RunRecord) -> Iterator[tuple[Cell, ...]]:
    for suite in record.suites:
        for info in suite.scores:
            if info.admission is not None:
                figures = "; ".join(f"{name} {value}" for name, value in admission_figures(info.admission))
                admitted = "yes" if info.admission.admitted else "no"
                yield (
                    Cell(f"{suite.name} / {info.name}: {info.admission.judge}"),
                    Cell(_grader(info.spec)),
                    Cell(admitted),
                    Cell(figures),
                )


def _grader(spec: Mapping[str, object]) -> str:
    """The hosted model that a judge asks, and on which scale it answers."""
    model = spec.get("model")
    if not isinstance(model, Mapping):
        return "the built-in model"
    return f"{model.get('model')} at {model.get('base_url')}, levels 1 to {spec.get('scale')}"


def _trials(record: RunRecord) -> Table:
    head = _heads(
        "trial",
        "suite",
        "seed#",
        "answers#",
        "failed#",
        "cut off#",
        "scores failed#",
        "time#",
        "latency (mean)#",
        "numerics",
        "training data digest",
    )
    note = "A failed answer or score has no value: it is counted here and left out of every mean."
    return Table("Trials", head, tuple(map(_trial, record.trials)), note)


def _trial(trial: Trial) -> tuple[Cell, ...]:
    said = trial.answers
    failed = sum(a.failure is not None for a in said)
    cut = sum(a.finish == "length" for a in said)
    answered = [a.latency_ms for a in said if a.failure is None]
    latency = f"{sum(answered) / len(answered):,.0f} ms" if answered else numbers.NONE
    no_score = ", ".join(
        f"{name} {missing:,}"
        for name, scored in trial.scores.items()
        if (missing := sum(score.failure is not None for score in scored))
    )
    figures = (
        numbers.NONE if trial.seed is None else str(trial.seed),
        numbers.count(len(said)),
        numbers.count(failed),
        numbers.count(cut),
        no_score or "0",
        numbers.seconds(trial.seconds),
        latency,
    )
    digest = trial.training.row_digest if trial.training else ""
    return (
        Cell(trial.label),
        Cell(trial.suite),
        *(Cell(text, numeric=True) for text in figures),
        Cell(trial.numeric_config),
        Cell(digest or numbers.NONE),
    )


def _timings(record: RunRecord) -> Table:
    rows = tuple((Cell(k), Cell(numbers.seconds(v), numeric=True)) for k, v in record.timings_s.items())
    return Table("Timings", _heads("part", "time#"), rows)


def _environment(record: RunRecord) -> Table:
    versions = {
        f"{k} (training)": v for t in record.trials if t.training for k, v in t.training.versions.items()
    }
    known = {f"{name} (training)": version for name, version in record.environment.items()}
    new = {name: version for name, version in versions.items() if known.get(name) != version}
    rows = tuple((Cell(k), Cell(v)) for k, v in sorted({**record.environment, **new}.items()))
    return Table("Environment", _heads("name", "version"), rows)
