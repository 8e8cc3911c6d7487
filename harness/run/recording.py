"""From what a run did to its record: decisions, costs, environment. Nothing here asks a model."""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from harness.candidates.base import Variant
from harness.decision.answered import Side, answer_notes
from harness.decision.gates import decide
from harness.decision.holm import judged_together
from harness.decision.retesting import count_tries, tries_note
from harness.errors import HarnessError
from harness.extras import installed_version
from harness.models.device import cpu_name
from harness.records import (
    Admission,
    CandidateInfo,
    Decision,
    Gate,
    HeldoutUse,
    RunRecord,
)
from harness.run.against import with_smallest_losses
from harness.run.appraisal import appraisals
from harness.run.chosen import chosen_on_its_rows
from harness.run.claim_detection import never_asserted, still_missing
from harness.run.heldout_history import SuiteHistory, decision_fingerprint, has_judged
from harness.run.judge_check import attacks_key
from harness.run.judge_notes import judge_notes
from harness.run.nearness_notes import row_notes
from harness.run.safeguards import harm_gates, unasserted_scores
from harness.run.selection import Arm
from harness.run.session import Session
from harness.run.unseen_facts import with_unseen_facts
from harness.scoring.judges import Judge

SHOWN_VERSIONS = ("torch", "transformers", "trl", "peft", "bitsandbytes", "datasets", "scipy", "pytest")


def make_record(
    run: Session, expected: Sequence[Gate], command: str, *, rehearsal: bool = False
) -> RunRecord:
    """The run as it is kept.

    Args:
        run: what was tried and claimed.
        expected: gates that were collected (state ``missing``); those that never spoke stay missing.
        command: what the user typed.
        rehearsal: whether hosted models were a local twin's.
    """
    gates, decisions = decisions_of(run, expected)
    economics, money_notes = appraisals(run)
    now = datetime.now(UTC)
    created = now.isoformat(timespec="seconds")
    histories = {
        name: run.history.add(bound, list(_uses(run, name, gates, decisions, created)))
        for name, bound in run.suites.items()
    }
    return RunRecord(
        id=run_id(run.started, run.selection.chosen()),
        created=created,
        command=command,
        gate_policy=run.settings.gate,
        alpha=run.settings.alpha,
        candidates=_candidate_infos(run),
        suites=with_unseen_facts(
            run,
            (histories[name].noted(bound.info(_admissions(run, name))) for name, bound in run.suites.items()),
        ),
        trials=tuple(run.trials.values()),
        gates=tuple(with_smallest_losses(run, gates) if run.settings.gate == "regression" else gates),
        decisions=tuple(_with_tries(run, decision, gates, histories) for decision in decisions),
        economics=economics,
        economics_toml=config.text if economics and (config := run.economics()) is not None else "",
        environment=environment(),
        timings_s=_timings(run),
        notes=(*run.notes, *row_notes(run), *_candidate_notes(run), *_notes_on_kept(run), *money_notes),
        rehearsal=rehearsal,
        spending=run.ledger.lines(),
        max_usd=run.ledger.max_usd,
        money_gates=tuple(run.money_gates),
        held_to=None if run.against is None else run.against.held_to,
        ladder=None if run.ladder is None else run.ladder.record(decisions, economics),
    )


def decisions_of(
    run: Session, expected: Sequence[Gate], names: Sequence[str] | None = None
) -> tuple[list[Gate], tuple[Decision, ...]]:
    """All gates of the run, and its decisions; of a rung of a ladder that has ended, ``names`` it alone."""
    every = run.selection.chosen()
    if run.ladder is not None:
        expected = [gate for gate in expected if run.ladder.is_judged(gate)]
    spoken = [gate for gate in run.gates if gate.state not in ("missing", "money")]
    claims = [] if run.against is None else run.against.claims(spoken)
    gates = [
        *spoken,
        *harm_gates(run, spoken),
        *(gate for gate, _ in claims),
        *never_asserted(run.gates),
        *still_missing(expected, run.gates),
    ]
    claimed = {gate.candidate for gate in gates}
    chosen = chosen_on_its_rows(run, gates, has_ended=names is None)
    each = [
        _decision(run, name, gates, chosen.obstacles[name])
        for name in names or every
        if name in claimed or _was_tried(run, name)
    ]
    untried = 0 if run.ladder is None else len(every) - len(each)
    alpha = run.settings.alpha
    return gates, judged_together(each, [*run.claims.items(), *claims], alpha, chosen.left_out, untried)


def _notes_on_kept(run: Session) -> list[str]:
    """What was lost of the kept answers, and whether those of hosted models were still good."""
    return [*([run.store.lost] if run.store.lost else []), *run.freshness.notes]


def _decision(run: Session, name: str, gates: Sequence[Gate], chosen: Sequence[str]) -> Decision:
    worse, remarks = unasserted_scores(run, name, gates)
    return decide(
        name,
        run.selection.largest(name),
        gates,
        seeds=run.selection.sized(name)[-1].seeds,
        obstacles=[*([run.stopped[name]] if name in run.stopped else []), *chosen, *worse],
        remarks=remarks,
        notes=(*_answer_notes(run, name), *judge_notes(run, name, gates)),
        money=run.money_gates,
    )


def _candidate_notes(run: Session) -> list[str]:
    """What candidates say of the variants that were prepared, or failed: each sentence once, with their
    names."""
    names: dict[str, dict[str, None]] = {}
    for arm, variant in run.selection.variants():
        if variant in run.prepared or variant in run.failed:
            for sentence in _notes(run, arm, variant):
                names.setdefault(sentence, {})[arm.name] = None
    return [f"{', '.join(users)}: {sentence}" for sentence, users in names.items()]


def _notes(run: Session, arm: Arm, variant: Variant) -> Sequence[str]:
    """The candidate's sentences; a kind that fails at them does not take the report with it."""
    try:
        notes = [str(sentence) for sentence in arm.candidate.notes(run.lab_of(arm), variant)]
    except HarnessError as error:
        return [" ".join(str(error).split())]
    schema = run.prepared[variant].schema if variant in run.prepared else None
    if schema is not None and not any(suite.is_schema_checked for suite in run.suites.values()):
        notes.append(f"schema={schema.name} binds no answer: no suite of this run has a JsonSchema check.")
    return notes


def _answer_notes(run: Session, name: str) -> tuple[str, ...]:
    """What to know of the answers of a candidate and its baseline, suite by suite."""
    arms = run.selection.sized(name)[-1], run.selection.baseline_of(name)
    found: list[str] = []
    for suite in run.suites:
        candidate, baseline = (
            Side(
                arm.label,
                [
                    run.trials[arm.label, seed, suite]
                    for seed in arm.replicas
                    if (arm.label, seed, suite) in run.trials
                ],
                arm.candidate.decoding.thinking,
            )
            for arm in arms
        )
        if candidate.trials or baseline.trials:
            prompt = run.suites[suite].prompt_digest
            found += answer_notes(suite, candidate, baseline, prompt)
    return tuple(found)


def run_id(now: datetime, names: Sequence[str]) -> str:
    """``20261121-093000-qlora-r16``: sorts by time and says what it was."""
    shown = re.sub(r"[^\w.-]+", "-", names[0]) if len(names) == 1 else f"{len(names)}-candidates"
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


def _was_tried(run: Session, name: str) -> bool:
    return any(trial.candidate == name for trial in run.trials.values())


def _candidate_infos(run: Session) -> tuple[CandidateInfo, ...]:
    """The candidates that were tried, then the baselines that are not among them (their own baseline)."""
    tried = [name for name in run.selection.chosen() if _was_tried(run, name)]
    baselines = {run.selection.baseline_of(name).name: run.selection.baseline_of(name) for name in tried}
    others = [arm for name, arm in baselines.items() if name not in tried and _is_prepared(run, arm)]
    own = [_info(run, run.selection.sized(name)[-1], run.selection.baseline_of(name).name) for name in tried]
    return (*own, *(_info(run, arm, arm.name) for arm in others))


def _is_prepared(run: Session, arm: Arm) -> bool:
    return any(variant in run.prepared for variant in arm.variants)


def _info(run: Session, arm: Arm, baseline: str) -> CandidateInfo:
    prepared = next(p for variant, p in run.prepared.items() if variant.name == arm.name)
    return CandidateInfo(
        name=arm.name,
        kind=arm.candidate.kind,
        cost_rank=arm.candidate.cost_rank,
        spec=arm.candidate.described(),
        model=prepared.model_name,
        model_digest=prepared.model_digest,
        baseline=baseline,
    )


def _admissions(run: Session, suite: str) -> dict[str, Admission]:
    judges = [score for score in run.suites[suite].scores if isinstance(score, Judge)]
    return {
        judge.name: replace(found, attacks=run.store.attack_test(attacks_key(judge)))
        for judge in judges
        if (found := run.answerer.admission(judge)) is not None
    }


def _uses(
    run: Session, suite: str, gates: Sequence[Gate], decisions: Sequence[Decision], created: str
) -> Iterator[HeldoutUse]:
    """The decisions of this run that the suite's held-out rows have served."""
    rows = run.history.of(run.suites[suite]).today
    for decision in decisions:
        name = decision.candidate
        judged = [gate for gate in gates if has_judged(gate, suite, name, decision.size)]
        if judged:
            identity = run.identity_of(run.selection.sized(name)[-1])
            yield HeldoutUse(
                decision=decision_fingerprint(identity or name, rows.digest, judged),
                candidate=name,
                identity=identity,
                rows=rows.digest,
                verdict=decision.verdict,
                level=max(gate.comparison.alpha for gate in judged if gate.comparison is not None),
                created=created,
                run=run.store.run,
            )


def _with_tries(
    run: Session, decision: Decision, gates: Sequence[Gate], histories: Mapping[str, SuiteHistory]
) -> Decision:
    """The decision with a note on how often the rows that judged it have judged."""
    found = []
    for name, bound in run.suites.items():
        if any(has_judged(gate, name, decision.candidate, decision.size) for gate in gates):
            note = tries_note(count_tries(histories[name].uses), run.settings.alpha)
            found += [f"{bound.heldout}: {note}"] if note else []
    return replace(decision, notes=(*decision.notes, *found))


# --------------------------------------------------------------------------- circumstances
def environment() -> Mapping[str, str]:
    """Versions of what is installed, and the machine."""
    return {
        "python": platform.python_version(),
        **{name: found for name in SHOWN_VERSIONS if (found := installed_version(name)) is not None},
        "processor": cpu_name(),
        "cores": str(os.cpu_count() or 1),
        "system": f"{platform.system()} {platform.release()}",
    }


def _timings(run: Session) -> dict[str, float]:
    """Sorted like every mapping of the record once it is read back, so that a page comes out the same."""
    total = time.perf_counter() - run.began
    spent = {"training": run.training_seconds, **run.answerer.seconds, "total": total}
    return {name: round(seconds, 3) for name, seconds in sorted(spent.items())}
