"""``harness diagnose``: a run, and rows that its candidate fails on, made into a case for ``run.causes``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.candidates.base import Variant
from harness.candidates.lab import Lab
from harness.candidates.prompted import Prompted
from harness.data.fingerprints import asked_keys, rows_fingerprint
from harness.data.rows import read_rows
from harness.decision.advice import failures as failures_of
from harness.errors import DataError, HarnessError, UnknownName, UsageError
from harness.models.embeddings import embedder_is_at_hand
from harness.models.ledger import Ledger, Money
from harness.models.progress import Progress
from harness.models.protocol import Decoding
from harness.models.remote import RemoteModel
from harness.records import CandidateInfo, Diagnosis, Kind, Row, RunRecord, SuiteInfo, Trial, Verdict
from harness.run.answering import Answerer
from harness.run.cause_inputs import Case, General
from harness.run.causes import LEVEL, find_causes
from harness.run.costs import economics_config
from harness.run.export_check import asked_again
from harness.run.judge_backends import JudgeBackends
from harness.run.references import require_references
from harness.run.suite_loading import LoadedSuite
from harness.scoring.judges import Judge
from harness.store.adapters import AdapterStore
from harness.store.answers import AnswerStore

MOST_EMBEDDED = 5_000  # training rows that distances are measured to, evenly drawn


@dataclass(frozen=True)
class Asking:
    """What the base may be asked with."""

    store: Path
    progress: Progress
    max_usd: float | None = None  # None: nothing may be paid
    asks: bool = True


def diagnose(
    record: RunRecord, file: Path, root: Path, asking: Asking, wanted: str | None, suite_name: str | None
) -> Diagnosis:
    """Why the candidate fails on the rows of ``file``.

    Raises:
        UnknownName, UsageError: the run has no such candidate or suite, or none that was trained.
        DataError: the failures cannot be read or are not the suite's task, or the project's rows are not
            those of the run any more.
    """
    info, trial = _trial(record, wanted, suite_name)
    suite = asked_again(record, trial, root).suite
    notes: list[str] = []
    training = _training_rows(info, trial, suite, root, notes)
    failures = _failures(file, suite, training)
    known = asked_keys(suite.rows)
    repeated = sum(key in known for key in asked_keys(failures))
    if repeated:
        notes.append(
            f"{repeated:,} of the failures are held-out rows of the suite: they are no new evidence."
        )
    found = next(each for each in record.suites if each.name == suite.name)
    right = _right(found, trial)
    if not right:
        notes.append(
            f"{suite.name} has no yes-or-no check, so it is not known which held-out rows were hard."
        )
    store = AnswerStore(asking.store / "answers.sqlite")
    try:
        case = Case(
            training,
            suite.rows,
            failures,
            right,
            slices=suite.suite.slices,
            distances=_distances(training, suite.rows, failures, store, asking.progress),
            curve=trial.training.points if trial.training else (),
            base=_base(record, info, suite, failures, store, root, asking),
            general=list(_general(record, info, trial)),
        )
        tests, causes, categories = find_causes(case)
    finally:
        store.close()
    return Diagnosis(
        run=record.id,
        candidate=trial.label,
        suite=suite.name,
        file=str(file),
        failures=len(failures),
        training=len(training),
        heldout=len(suite.rows),
        judged=len(right),
        right=sum(right.values()),
        level=LEVEL,
        tests=tuple(tests),
        causes=tuple(causes),
        categories=tuple(categories),
        notes=tuple(notes),
    )


# --------------------------------------------------------------------------- the run
def _trial(record: RunRecord, wanted: str | None, suite: str | None) -> tuple[CandidateInfo, Trial]:
    """The trained candidate and its trial: what is named, else what the run calls GO, at its largest size."""
    trained = [trial for trial in record.trials if trial.training is not None]
    if not trained:
        raise UsageError(f"run {record.id} trained no candidate: there is nothing to diagnose.")
    names = {name for trial in trained for name in (trial.candidate, trial.label)}
    if wanted is not None and wanted not in names:
        raise UnknownName("trained candidate", wanted, names, f"Run {record.id}.")
    shipped = [d.candidate for d in record.decisions if d.verdict is Verdict.GO]
    name = wanted or next((each for each in shipped if each in names), trained[0].candidate)
    own = [trial for trial in trained if name in (trial.candidate, trial.label)]
    suites = {trial.suite for trial in own}
    if suite is not None and suite not in suites:
        raise UnknownName("suite", suite, suites, f"Run {record.id}.")
    tasks = [each.name for each in record.suites if each.name in suites and each.prompt_digest is not None]
    chosen = suite or next(iter(tasks), own[0].suite)
    if suite is None and len(tasks) > 1:
        raise UsageError(f"run {record.id} has the suites {', '.join(tasks)}: name one with --suite.")
    own = [trial for trial in own if trial.suite == chosen]
    trial = max(own, key=lambda each: (each.size or 0, -(each.seed or 0)))
    return next(each for each in record.candidates if each.name == trial.candidate), trial


def _training_rows(
    info: CandidateInfo, trial: Trial, suite: LoadedSuite, root: Path, notes: list[str]
) -> tuple[Row, ...]:
    """The rows that it was trained on, as they are in the project today."""
    file, training = info.spec.get("train"), trial.training
    if not isinstance(file, str) or training is None:
        raise UsageError(
            f"{info.name} ({info.kind}) names no file of training rows: nothing to compare with."
        )
    folders = [root, *(folder for folder in (suite.folder, *suite.folder.parents) if root in folder.parents)]
    place = next((folder / file for folder in folders if os.path.lexists(folder / file)), root / file)
    by_id, wanted = {row.id: row for row in read_rows(place)}, training.row_ids
    rows = tuple(by_id[name] for name in wanted if name in by_id)
    if len(rows) < len(wanted):
        raise DataError(
            file,
            f"{len(wanted) - len(rows):,} of the {len(wanted):,} rows that {trial.label} was trained on are"
            " not there",
            "restore the file from version control, or run the suites again",
        )
    if training.row_digest and rows_fingerprint(rows) != training.row_digest:
        notes.append(f"{file} has changed since {trial.label} was trained on it: coverage is that of today.")
    return rows


def _right(info: SuiteInfo, trial: Trial) -> dict[str, bool]:
    """By held-out row, whether all yes-or-no checks hold; empty where there are none."""
    seen = failures_of(info, trial)
    if seen is None:
        return {}
    wrong = {row.id: False for row in (*seen.form, *seen.content)}
    return wrong | {row.id: True for row in seen.right}


def _general(record: RunRecord, info: CandidateInfo, trial: Trial) -> Iterator[General]:
    """Candidate against baseline on the suites without a prompt, which watch beside the task."""
    for suite in record.suites:
        if suite.prompt_digest is not None or suite.name == trial.suite:
            continue
        of = [each for each in record.trials if each.suite == suite.name]
        own = [each for each in of if (each.label, each.seed) == (trial.label, trial.seed)]
        base = [each for each in of if each.candidate == info.baseline]
        if own and base:
            ours, theirs = _right(suite, own[0]), _right(suite, base[0])
            both = ours.keys() & theirs.keys()
            lost = sum(theirs[row] and not ours[row] for row in both)
            gained = sum(ours[row] and not theirs[row] for row in both)
            if both:
                yield General(suite.name, lost, gained, len(both))


# --------------------------------------------------------------------------- the failures
def _failures(file: Path, suite: LoadedSuite, training: Sequence[Row]) -> tuple[Row, ...]:
    """The rows, if they are the suite's task, each with the answer that would have been right.

    Raises:
        DataError: naming the line.
    """
    rows = read_rows(file)
    own = {row.instructions for row in training}
    if len(own) == 1:  # else each row has facts of its own
        (trained_with,) = own
        for row in rows:
            if row.instructions not in ("", trained_with, suite.prompt):
                raise DataError(
                    row.where,
                    "its system message is neither that of the training rows"
                    f" ({trained_with[:60]!r}) nor the suite's prompt: {row.instructions[:60]!r}",
                    "if production asks with it, that is a cause: ask as it was trained, or train as it is"
                    " asked. To look for others, leave the system messages out of the file",
                )
    try:
        require_references(replace(suite, rows=rows, heldout=str(file)))
    except DataError as error:
        hint = f"the last message is to be the right answer, not the model's; {error.hint}"
        raise DataError(error.where, error.problem, hint) from error
    return rows


def _distances(
    training: Sequence[Row],
    heldout: Sequence[Row],
    failures: Sequence[Row],
    store: AnswerStore,
    progress: Progress,
) -> tuple[list[float], list[float]] | str:
    """Cosine distances to the nearest training row."""
    if not embedder_is_at_hand():
        return "the sentence encoder is not in the cache: `harness doctor --fetch` fetches it."
    embedder = JudgeBackends(store, Money(Ledger(0.0), lambda: ({}, "")), progress).embedder()
    sample = training[:: max(1, -(-len(training) // MOST_EMBEDDED))]
    known = embedder.embed([row.question for row in sample])

    def far(rows: Sequence[Row]) -> list[float]:
        near = embedder.embed([row.question for row in rows]) @ known.T
        return [float(one) for one in 1 - near.max(axis=1)]

    return far(heldout), far(failures)


# --------------------------------------------------------------------------- the base
def _base(
    record: RunRecord,
    info: CandidateInfo,
    suite: LoadedSuite,
    failures: Sequence[Row],
    store: AnswerStore,
    root: Path,
    asking: Asking,
) -> tuple[Mapping[str, bool], list[bool | None]] | str:
    """Whether the baseline is right on held-out rows (as the run noted) and on the failures; or why not."""
    base = next((each for each in record.candidates if each.name == info.baseline), None)
    trial = next(
        (each for each in record.trials if (each.candidate, each.suite) == (info.baseline, suite.name)), None
    )
    found = next(each for each in record.suites if each.name == suite.name)
    known = {} if trial is None else _right(found, trial)
    if base is None or trial is None or not known:
        return "the run has no baseline whose answers yes-or-no checks have scored."
    if base.kind != "prompted" or "prompt" in base.spec:
        return f"the baseline {base.name} is no model with the suite's prompt alone: it is not asked."
    if not asking.asks:
        return "not asked (--no-ask)."
    remote = base.spec.get("model")
    if isinstance(remote, Mapping) and asking.max_usd is None:
        return f"{base.model} costs money: --max-usd allows it."
    config = economics_config([suite], root)
    prices = ({}, "economics.toml") if config is None else (config.prices, config.where)
    money = Money(Ledger(asking.max_usd), lambda: prices)
    lab = Lab(root, AdapterStore(asking.store / "adapters"), asking.progress, project=root, money=money)
    bound = replace(suite, rows=tuple(failures))
    try:
        candidate = _prompted(base, trial)
        prepared = candidate.prepare(lab, Variant(base.name, candidate))
        if isinstance(candidate.model, RemoteModel):
            candidate.model.require_ready()
        answerer = Answerer(store, asking.progress, JudgeBackends(store, money, asking.progress))
        answers = answerer.answers(base.name, candidate, prepared, bound)
        checks = [one for one in suite.scores if Kind(one.kind) is Kind.BINARY and not isinstance(one, Judge)]
        scores = answerer.scores(replace(bound, scores=tuple(checks)), answers, judge_all=False)
    except HarnessError as error:
        return f"{base.name} could not be asked: {str(error).splitlines()[0]}"
    values = zip(*([one.value for one in scores[check.name]] for check in checks), strict=True)
    return known, [None if None in row else 0.0 not in row for row in values]


def _prompted(base: CandidateInfo, trial: Trial) -> Prompted:
    """The baseline again, from its record."""
    settings = {name: value for name, value in trial.decoding.items() if name != "schema"}
    spec, model = base.spec, base.spec.get("model")
    given: dict[str, object] = dict(model) if isinstance(model, Mapping) else {}
    hosted: Callable[..., RemoteModel] = RemoteModel
    asked: str | RemoteModel = base.model
    if given:
        names = {"model", "base_url", "version", "logprobs"}
        asked = hosted(**{name: value for name, value in given.items() if name in names})
    schema = spec.get("schema")
    return Prompted(
        model=asked,
        decoding=Decoding(**settings),  # type: ignore[arg-type]  # its own settings
        schema=schema if isinstance(schema, str | Mapping) else None,
        trust_remote_code=bool(spec.get("trust_remote_code")),
    )
