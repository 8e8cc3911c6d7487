"""How each side was asked: with what, answered when and by which version, and what never came."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from harness.records import CandidateInfo, RunRecord, SuiteInfo, Trial
from harness.report import numbers
from harness.report.trial_pairs import order, trial_label
from harness.report.view_models import TextTable

_OWN_SYSTEM = {
    "placed": ", each row's own system message in its place",
    "beside": ", then each row's own system message",
    "replaced": " in place of the rows' one system message",
}
NOTE = (
    "Asked with: what stood before each question. Answers: those of this run, and those kept of earlier runs"
    " with the days (UTC) on which they were given. Never came: they count against the side that is favoured."
    " Cut off: they came, and ended at the limit."
    " Bound to a schema: no answer that it does not hold could be given, but for those cut off."
)
_HEADS = ("suite", "side", "asked with", "drawn", "version", "answers", "never came", "cut off#", "thought#")


def sides(record: RunRecord) -> TextTable:
    """One line for each trial."""
    candidates = {candidate.name: candidate for candidate in record.candidates}
    suites = {suite.name: suite for suite in record.suites}
    rows = [
        _side(trial, candidates[trial.candidate], suites[trial.suite])
        for trial in sorted(record.trials, key=order)
        if trial.candidate in candidates and trial.suite in suites
    ]
    return TextTable("How each side was asked", _HEADS, rows, NOTE)


def _side(trial: Trial, candidate: CandidateInfo, suite: SuiteInfo) -> tuple[str, ...]:
    counts = trial.counts
    never = ", ".join(f"{n:,} {kind.value}" for kind, n in counts.failed.items())
    return (
        suite.name,
        trial_label(trial),
        _asked_with(trial, suite) + _routes(trial),
        _drawn(trial.decoding) + (f", bound to {trial.bound_to}" if trial.bound_to else ""),
        _version(trial, candidate),
        _given(trial),
        never or "0",
        numbers.count(counts.cut),
        numbers.count(counts.thought),
    )


def _asked_with(trial: Trial, suite: SuiteInfo) -> str:
    if not trial.asked_with:
        return numbers.NONE
    if trial.provenance is not None and trial.provenance.is_of_another_prompt(suite.prompt_digest):
        return f"{trial.asked_with} of another wording than the suite's today"
    if "prompt" not in trial.asked_with:
        return trial.asked_with
    if suite.prompt_digest is None:  # a suite without a prompt puts the rows as they are
        return "each row's own turns"
    return trial.asked_with + _OWN_SYSTEM.get(suite.own_system, "")


def _routes(trial: Trial) -> str:
    """How many rows took each route, where there are several."""
    taken = Counter(answer.route for answer in trial.answers if answer.route)
    routes = [f"{name}: {numbers.plural(n, 'row')}" for name, n in sorted(taken.items(), reverse=True)]
    return f" (answered by {', '.join(routes)})" if routes else ""


def _drawn(decoding: Mapping[str, object]) -> str:
    if not decoding:
        return numbers.NONE
    temperature = decoding.get("temperature")
    how = "greedy" if not temperature else f"temperature {temperature}, top_p {decoding.get('top_p')}"
    limit = f"at most {decoding.get('max_new_tokens')} tokens"
    thinking = decoding.get("thinking")
    if thinking is None:
        return f"{how}, {limit}"
    extra = f" and {decoding.get('max_thinking_tokens')} of thought" if thinking else ""
    return f"{how}, {limit}{extra}, thinking {'on' if thinking else 'off'}"


def _version(trial: Trial, candidate: CandidateInfo) -> str:
    """What tells the model that answered from one of the same name."""
    served = {answer.served_by for answer in trial.answers if answer.served_by}
    if served:
        return f"served as {', '.join(sorted(served))}"
    model = candidate.spec.get("model")
    pinned = model.get("version") if isinstance(model, Mapping) else candidate.spec.get("version")
    return f"version {pinned}" if pinned else candidate.model_digest[:12]


def _given(trial: Trial) -> str:
    found = trial.provenance
    if found is None:
        return numbers.count(len(trial.answers))
    days = " to ".join(dict.fromkeys(day[:10] for day in (found.oldest, found.newest) if day))
    if found.recorded:
        whose = f" from {found.by}" if found.by else ""
        return f"{numbers.count(found.kept)} recorded{whose} on {days or 'an unknown day'}"
    asked = f"{numbers.count(found.asked)} now"
    if not found.kept:
        return asked
    return f"{asked}, {numbers.count(found.kept)} kept of {days or 'an unknown day'}"
