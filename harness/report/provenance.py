"""What was run: the command, the data, the models, their digests, versions, timings and failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.records import RunRecord
from harness.report import numbers
from harness.report.headline import admission_figures
from harness.report.view_models import Cell, RunBlock, TextTable


def provenance(record: RunRecord) -> RunBlock:
    """Enough to run it again, and to see what did not go as it should."""
    versions = dict(record.environment)
    for trial in record.trials:
        for name, version in trial.training.versions.items() if trial.training else ():
            if record.environment.get(name) != version:  # trained elsewhere, or before an update
                versions[f"{name} (training)"] = version
    tables = (
        _candidates(record),
        _suites(record),
        _judges(record),
        _trials(record),
        _table("Timings", "part time#", [(k, numbers.seconds(v)) for k, v in record.timings_s.items()]),
        _table("Environment", "name version", sorted(versions.items())),
    )
    return RunBlock(record.command, tuple(table for table in tables if table.rows))


def _table(caption: str, heads: str, rows: Sequence[tuple[str, ...]], note: str = "") -> TextTable:
    """A table from plain text; a head that ends in ``#`` is of a numeric column, ``_`` is a space."""
    names = [name.replace("_", " ") for name in heads.split()]
    numeric = [name.endswith("#") for name in names]
    head = tuple(Cell(name.removesuffix("#"), right) for name, right in zip(names, numeric, strict=True))
    cells = (tuple(map(Cell, row, numeric)) for row in rows)
    return TextTable(caption, head, tuple(cells), note)


def _candidates(record: RunRecord) -> TextTable:
    rows = [
        (
            candidate.name,
            candidate.kind,
            str(candidate.cost_rank),
            candidate.model,
            candidate.model_digest,
            candidate.baseline or numbers.NONE,
            ", ".join(f"{key}={value}" for key, value in sorted(candidate.spec.items())) or numbers.NONE,
        )
        for candidate in record.candidates
    ]
    heads = "candidate kind cost_rank# model model_digest compared_with settings"
    return _table("Candidates", heads, rows)


def _suites(record: RunRecord) -> TextTable:
    rows = [
        (
            suite.name,
            suite.heldout,
            suite.heldout_digest,
            numbers.count(len(suite.rows)),
            suite.prompt_digest or numbers.NONE,
            numbers.count(suite.uses),
            "; ".join(f"{info.name} ({info.kind.value}): {info.description}" for info in suite.scores),
        )
        for suite in record.suites
    ]
    note = "Uses: how often the held-out file has been used for a decision, this run included."
    return _table(
        "Suites and data", "suite held-out_file digest rows# prompt_digest uses# scores", rows, note
    )


def _judges(record: RunRecord) -> TextTable:
    rows = []
    for suite in record.suites:
        for info in suite.scores:
            if info.admission is None:
                continue
            asks, model = "the built-in model", info.spec.get("model")
            if isinstance(model, Mapping):  # a hosted one, as its spec describes it
                asks = (
                    f"{model.get('model')} at {model.get('base_url')}, levels 1 to {info.spec.get('scale')}"
                )
            rows.append(
                (
                    f"{suite.name} / {info.name}: {info.admission.judge}",
                    asks,
                    "yes" if info.admission.admitted else "no",
                    "; ".join(f"{name} {value}" for name, value in admission_figures(info.admission)),
                )
            )
    note = "Scores are out of 100. A judge's instructions are in run.json word for word (its spec)."
    return _table("Judges", "judge asks admitted measured", rows, note)


def _trials(record: RunRecord) -> TextTable:
    rows = []
    for trial in record.trials:
        latencies_ms = [answer.latency_ms for answer in trial.answers if answer.failure is None]
        failed_scores = {
            name: sum(score.failure is not None for score in scored) for name, scored in trial.scores.items()
        }
        rows.append(
            (
                trial.label,
                trial.suite,
                numbers.NONE if trial.seed is None else str(trial.seed),
                numbers.count(len(trial.answers)),
                numbers.count(len(trial.answers) - len(latencies_ms)),
                numbers.count(sum(answer.finish == "length" for answer in trial.answers)),
                ", ".join(f"{name} {n:,}" for name, n in failed_scores.items() if n) or "0",
                numbers.seconds(trial.seconds),
                f"{sum(latencies_ms) / len(latencies_ms):,.0f} ms" if latencies_ms else numbers.NONE,
                trial.numeric_config,
                (trial.training.row_digest if trial.training else "") or numbers.NONE,
            )
        )
    heads = "trial suite seed# answers# failed# cut_off# scores_failed# time# latency_(mean)# numerics"
    note = "A failed answer or score has no value: it is counted here and left out of every mean."
    return _table("Trials", f"{heads} training_data_digest", rows, note)
