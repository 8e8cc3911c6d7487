"""From what a run did to its record: decisions, costs, environment. Nothing here asks a model."""

from __future__ import annotations

import os
import platform
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from harness.candidates.specs import Tuned
from harness.data.fingerprints import fingerprint, rows_fingerprint
from harness.decision.economics import (
    EconomicsConfig,
    Prices,
    TrainingBill,
    Usage,
    appraise,
    parse_economics,
)
from harness.decision.gates import decide
from harness.errors import UsageError
from harness.models.device import cpu_name
from harness.records import (
    Admission,
    CandidateInfo,
    Decision,
    Economics,
    Gate,
    RunRecord,
    Trial,
)
from harness.run.flow import Entry, Run
from harness.run.safeguards import chosen_seeds, harm_gates
from harness.scoring.judge import LikelihoodJudge

SHOWN_VERSIONS = ("torch", "transformers", "trl", "peft", "bitsandbytes", "datasets", "scipy", "pytest")


def make_record(run: Run, expected: Sequence[Gate], command: str, notes: Sequence[str] = ()) -> RunRecord:
    """The run as it is kept.

    Args:
        run: what was tried and claimed.
        expected: gates that were collected (state ``missing``); those that never spoke stay missing.
        command: what the user typed.
        notes: sentences for the report.
    """
    gates = [*run.gates, *harm_gates(run, run.gates), *still_missing(expected, run.gates)]
    claimed = {gate.candidate for gate in gates}
    decisions = tuple(
        decide(
            name,
            run.largest(name),
            gates,
            seeds=run.sized(name)[-1].seeds,
            obstacles=chosen_seeds(run, name, gates),
        )
        for name in run.chosen()
        if name in claimed or _was_tried(run, name)
    )
    economics, money_notes = _economics(run)
    now = datetime.now(UTC)
    return RunRecord(
        id=run_id(now, run.chosen()),
        created=now.isoformat(timespec="seconds"),
        command=command,
        gate_policy=run.settings.gate,
        alpha=run.settings.alpha,
        candidates=_candidate_infos(run),
        suites=tuple(
            bound.info(_admissions(run, bound.name), _uses(run, bound.name, gates))
            for bound in run.suites.values()
        ),
        trials=tuple(run.trials.values()),
        gates=tuple(gates),
        decisions=decisions,
        economics=economics,
        environment=environment(),
        timings_s=_timings(run),
        notes=(*notes, *_replay_notes(run), *money_notes),
    )


def _replay_notes(run: Run) -> list[str]:
    """For every generation of general rows that was trained on: whose, how many, and where they are."""
    trained = dict.fromkeys(t.candidate for t in run.trials.values() if t.training is not None)
    names: dict[str, list[str]] = {}
    for name in trained:
        candidate = run.candidates[name]
        generated = run.workshop.generated_rows(candidate) if isinstance(candidate, Tuned) else None
        told = generated.told() if generated is not None else None
        if generated is not None and told is not None:
            where = os.path.relpath(generated.file, run.settings.root)
            names.setdefault(f"{told} They are in {where}.", []).append(name)
    return [f"{', '.join(users)}: {told}" for told, users in names.items()]


def run_id(now: datetime, names: Sequence[str]) -> str:
    """``20261121-093000-qlora-r16``: sorts by time and says what it was."""
    shown = names[0] if len(names) == 1 else f"{len(names)}-candidates"
    return f"{now:%Y%m%d-%H%M%S}-{shown}"


def own_folder(record: RunRecord, reports: Path) -> tuple[RunRecord, Path]:
    """A new folder for the record, which takes its name: two runs may end in one second."""
    number = 1
    while True:
        name = record.id if number == 1 else f"{record.id}-{number}"
        try:
            (reports / name).mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return replace(record, id=name), reports / name


def still_missing(expected: Sequence[Gate], spoken: Sequence[Gate]) -> list[Gate]:
    """Expected gates of which no gate of the same test, suite, candidate and size has spoken."""
    heard = {(g.suite, g.test, g.candidate, g.size) for g in spoken}
    return [g for g in expected if (g.suite, g.test, g.candidate, g.size) not in heard]


def _was_tried(run: Run, name: str) -> bool:
    return any(trial.candidate == name for trial in run.trials.values())


def _candidate_infos(run: Run) -> tuple[CandidateInfo, ...]:
    """The candidates that were tried, then the baselines that are not among them (their own baseline)."""
    tried = [name for name in run.chosen() if _was_tried(run, name)]
    baselines = {run.baseline_of(name).name: run.baseline_of(name) for name in tried}
    others = [entry for name, entry in baselines.items() if name not in tried and _is_prepared(run, entry)]
    own = [_info(run, run.sized(name)[-1], run.baseline_of(name).name) for name in tried]
    return (*own, *(_info(run, entry, entry.name) for entry in others))


def _is_prepared(run: Run, entry: Entry) -> bool:
    return any((entry.label, seed) in run.prepared for seed in entry.replicas)


def _info(run: Run, entry: Entry, baseline: str) -> CandidateInfo:
    prepared = next(p for (label, _), p in run.prepared.items() if label.partition("@")[0] == entry.name)
    return CandidateInfo(
        name=entry.name,
        kind=entry.candidate.kind,
        rung=entry.candidate.rung,
        spec=entry.candidate.described(),
        model=prepared.model_name,
        model_digest=prepared.model_digest,
        baseline=baseline,
    )


def _admissions(run: Run, suite: str) -> dict[str, Admission]:
    judges = [score for score in run.suites[suite].scores if isinstance(score, LikelihoodJudge)]
    found = {judge.name: run.answerer.admission(judge) for judge in judges}
    return {name: admission for name, admission in found.items() if admission is not None}


def _uses(run: Run, suite: str, gates: Sequence[Gate]) -> int:
    """How many different decisions this held-out file has served, this one included."""
    said = [g.comparison for g in gates if g.state == "gated" and g.suite == suite]
    if not said:
        return 0
    return run.store.count_use(rows_fingerprint(run.suites[suite].rows), fingerprint(said))


# --------------------------------------------------------------------------- money
def _economics(run: Run) -> tuple[tuple[Economics, ...], list[str]]:
    config = economics_config(run)
    if config is None:
        return (), ["no economics.toml was found beside the suites: costs and break-even are not computed."]
    found: list[Economics] = []
    notes: list[str] = []
    for name in run.chosen():
        sides = _task_trials(run, run.sized(name)[-1]), _task_trials(run, run.baseline_of(name))
        candidate, baseline = (_usage(side) for side in sides)
        if candidate is None or baseline is None:
            continue
        bill = _bill(sides[0][0]) if isinstance(run.candidates[name], Tuned) else None
        labels = run.sized(name)[-1].label, run.baseline_of(name).label
        try:
            found.append(appraise(*labels, candidate, baseline, config, bill, Prices()))
        except UsageError as error:
            notes.append(f"the costs of {name} are not computed: {error}")
    return tuple(found), notes


def economics_config(run: Run) -> EconomicsConfig | None:
    """What the project says of its costs, or None.

    Raises:
        UsageError: the file is not TOML, or says what cannot be.
    """
    path = economics_file(run)
    if path is None:
        return None
    where = os.path.relpath(path, run.settings.root)
    try:
        return parse_economics(tomllib.loads(path.read_text(encoding="utf-8")), where)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{where}: not TOML: {error}.") from error


def require_economics(run: Run) -> None:
    """Check, before anything is spent, that the economics will come out; one token stands for the usage.

    Raises:
        UsageError: see ``economics_config``; or a price is missing.
    """
    config = economics_config(run)
    if config is not None:
        token, hour = Usage(1.0, 1.0, 1, 1.0), TrainingBill(1.0, 1.0)
        trained = any(isinstance(run.candidates[name], Tuned) for name in run.chosen())
        appraise("the candidate", "the baseline", token, token, config, hour if trained else None, Prices())


def economics_file(run: Run) -> Path | None:
    """``economics.toml`` in the folder above the suites, or in the project's root."""
    folders = [bound.folder.parent for bound in run.suites.values()]
    found = [f / "economics.toml" for f in (*folders, run.settings.root) if (f / "economics.toml").is_file()]
    return found[0] if found else None


def _task_trials(run: Run, entry: Entry) -> list[Trial]:
    """Trials on suites that have a prompt: the task itself, not what is watched beside it."""
    tasks = [b.name for b in run.suites.values() if b.prompt is not None] or list(run.suites)
    places = [(entry.label, seed, suite) for suite in tasks for seed in entry.replicas]
    return [run.trials[place] for place in places if place in run.trials]


def _usage(trials: Sequence[Trial]) -> Usage | None:
    answers = [a for trial in trials for a in trial.answers if a.failure is None]
    if not answers:
        return None
    prompt = sum(a.prompt_tokens for a in answers)
    completion = sum(a.completion_tokens for a in answers)
    seconds = sum(trial.seconds for trial in trials)
    return Usage(
        prompt_tokens=prompt / len(answers),
        completion_tokens=completion / len(answers),
        n=len(answers),
        tokens_per_second=(prompt + completion) / seconds if seconds else None,
    )


def _bill(trial: Trial) -> TrainingBill | None:
    training = trial.training
    return None if training is None else TrainingBill(training.tokens * training.epochs, training.seconds)


# --------------------------------------------------------------------------- circumstances
def environment() -> Mapping[str, str]:
    """Versions and machine."""
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in SHOWN_VERSIONS},
        "processor": cpu_name(),
        "cores": str(os.cpu_count() or 1),
        "system": f"{platform.system()} {platform.release()}",
    }


def _timings(run: Run) -> dict[str, float]:
    """Sorted like every mapping of the record once it is read back, so that a page comes out the same."""
    total = time.perf_counter() - run.began
    spent = {"training": run.training_seconds, **run.answerer.seconds, "total": total}
    return {name: round(seconds, 3) for name, seconds in sorted(spent.items())}


def fails(policy: str, decisions: Sequence[Decision]) -> bool:
    """Whether the decisions alone fail the run: under ``release`` anything but GO does."""
    return policy == "release" and any(d.verdict != "GO" for d in decisions)
