"""What is said beside a decision of its answers: how many never came, and who thought before answering."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.records import AnswerCounts, Trial

WORTH_SAYING = 0.02  # share of a side's answers, or of its scores, that failed

MOST = 0.5  # share of a side's answers


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a decision on one suite: its trials, one a seed, and whether it was asked to think."""

    name: str
    trials: Sequence[Trial]
    thinking: bool | None = None  # None: as the model is served

    @property
    def counts(self) -> AnswerCounts:
        """What became of its questions, over all seeds."""
        return AnswerCounts.of(answer for trial in self.trials for answer in trial.answers)

    @property
    def bound_to(self) -> str:
        """The JSON schema that its answers were bound to; empty: none."""
        return next((trial.bound_to for trial in self.trials), "")

    @property
    def schema_digest(self) -> str:
        """Of that schema's content; empty: none."""
        return next((trial.schema_digest for trial in self.trials), "")


def answer_notes(
    suite: str, candidate: Side, baseline: Side, prompt_digest: str | None = None
) -> tuple[str, ...]:
    """Sentences on failures above 2% of a side, on answers of which most are cut off or empty, on thoughts
    that one side has, on settings not taken, and on recorded answers: asked otherwise, or not measured.
    """
    notes = [*_failures(suite, candidate, "wrong"), *_failures(suite, baseline, "right")]
    if candidate.trials and baseline.trials and candidate.schema_digest != baseline.schema_digest:
        one, other = candidate.bound_to or "no schema", baseline.bound_to or "no schema"
        if one == other:
            one, other = (
                f"{one} ({candidate.schema_digest[:8]})",
                f"another one ({baseline.schema_digest[:8]})",
            )
        notes.append(
            f"{suite}: the sides were asked differently: answers of {candidate.name} were bound to"
            f" {one}, those of {baseline.name} to {other}. schema= sets it for each."
        )
    for side in (candidate, baseline):
        notes += [*_unfinished(suite, side), *_not_taken(suite, side)]
        notes += _recorded(suite, side, prompt_digest)
    mine, theirs = candidate.counts, baseline.counts
    if _share(mine) > 0.5 > _share(theirs) or _share(theirs) > 0.5 > _share(mine):
        notes.append(
            f"{suite}: the sides differ in thinking: {_thought(candidate)}, {_thought(baseline)}."
            " thinking=True or False sets it for each."
        )
    elif candidate.thinking is not baseline.thinking and candidate.trials and baseline.trials:
        notes.append(
            f"{suite}: the sides were asked differently: {candidate.name} with thinking={candidate.thinking},"
            f" {baseline.name} with thinking={baseline.thinking}."
        )
    return tuple(notes)


def _failures(suite: str, side: Side, counted_as: str) -> Iterator[str]:
    counts = side.counts
    if counts.n_failed > WORTH_SAYING * counts.n:
        why = ", ".join(f"{n:,} {kind.value}" for kind, n in counts.failed.items())
        yield (
            f"{suite}: {counts.n_failed:,} of {counts.n:,} answers of {side.name} never came ({why})."
            f" No claim is shown unless it would hold if all of them were {counted_as}."
        )
    unscored: Counter[str] = Counter()
    for trial in side.trials:
        for name, scores in trial.scores.items():
            failed = zip(trial.answers, scores, strict=True)
            unscored[name] += sum(s.failure is not None and a.failure is None for a, s in failed)
    for name, n in unscored.items():
        if n > WORTH_SAYING * counts.n:
            yield f"{suite}: {n:,} of {counts.n:,} scores {name} of {side.name} could not be computed."


def _unfinished(suite: str, side: Side) -> Iterator[str]:
    """Most answers broken off or empty: they are scored, and may say more of a setting than of a model."""
    counts = side.counts
    if counts.cut > MOST * counts.n:
        yield (
            f"{suite}: {counts.cut:,} of {counts.n:,} answers of {side.name} were cut off at their limit and"
            " are scored as they are. If it thinks before it answers, or writes more than was asked for, a"
            " higher Suite(max_tokens=...) or another prompt would show what it can do."
        )
    empty = sum(a.failure is None and not a.text.strip() for trial in side.trials for a in trial.answers)
    if empty > MOST * counts.n:
        yield f"{suite}: {empty:,} of {counts.n:,} answers of {side.name} are empty, and are scored as such."


def _not_taken(suite: str, side: Side) -> Iterator[str]:
    """A service may drop a setting without a word; its answers tell."""
    counts = side.counts
    if side.thinking is False and counts.thought > WORTH_SAYING * counts.n:
        yield (
            f"{suite}: {side.name} was asked with thinking=False, and thought before {counts.thought:,} of"
            f" {counts.n:,} answers: its service does not take that setting."
        )
    ended = [a.text for trial in side.trials for a in trial.answers if a.finish == "stop"]
    if side.bound_to and (free := sum(not _is_json(text) for text in ended)) > WORTH_SAYING * counts.n:
        yield (
            f"{suite}: answers of {side.name} were bound to {side.bound_to}, and {free:,} of {counts.n:,} are"
            " no JSON: its service does not take that setting."
        )
    if side.thinking is True and counts.n and not counts.thought:
        yield (
            f"{suite}: {side.name} was asked with thinking=True, and no thought came with its {counts.n:,}"
            " answers: its service does not take that setting, or does not show thoughts."
        )


def _recorded(suite: str, side: Side, prompt_digest: str | None) -> Iterator[str]:
    found = [trial.provenance for trial in side.trials if trial.provenance and trial.provenance.recorded]
    if any(one.is_of_another_prompt(prompt_digest) for one in found):
        yield (
            f"{suite}: the answers of {side.name} were recorded under another prompt than the suite's today:"
            " it is judged as it was asked then."
        )
    came = [answer for trial in side.trials for answer in trial.answers if answer.failure is None]
    unknown = {
        "token counts": sum(None in (answer.prompt_tokens, answer.completion_tokens) for answer in came),
        "latencies": sum(answer.latency_ms is None for answer in came),
    }
    for what, n in unknown.items():
        if n:
            yield f"{suite}: {n:,} of {len(came):,} answers of {side.name} have no {what}, and count in none."


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _share(counts: AnswerCounts) -> float:
    return counts.thought / counts.n if counts.n else 0.0


def _thought(side: Side) -> str:
    return f"{side.name} thought before {side.counts.thought:,} of {side.counts.n:,} answers"
