"""A run priced again, from its record and another ``economics.toml``. No model is asked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime

from harness.decision.economics import Prices, appraise
from harness.decision.economics_file import EconomicsConfig, parse_economics
from harness.decision.gates import decided_again
from harness.decision.ladder import with_costs
from harness.decision.money import Evidence
from harness.decision.money_claims import judged_again
from harness.decision.paired import compare
from harness.decision.point_values import ScoreOf, named_scores, only_target
from harness.decision.prices import price_of
from harness.errors import HarnessError, UnknownName, UsageError
from harness.records import CandidateInfo, Economics, Price, PricedScore, Role, RunRecord, Trial
from harness.report.trial_pairs import Pair, is_advisory, pairs
from harness.run.deciding import decided_together
from harness.run.measured_money import bill_of, bills_of, differences_of, measured_sides
from harness.training.hosted.lifetimes import today

PRICED = "priced"  # the end of the name of a run that was priced again
_ROUTES = "the mean over the tokens of its routes"


def repriced_config(
    record: RunRecord, text: str | None, where: str, figures: Mapping[str, str]
) -> EconomicsConfig:
    """The configuration of a file's ``text``, or of the run's own, with other ``figures`` by key.

    Raises:
        UsageError: there is neither, or the file is broken.
    """
    if text is None:
        text, where = record.economics_toml, f"economics.toml of run {record.id}"
    if not text:
        raise UsageError(
            f"run {record.id} holds no economics.toml.\n  hint: name one: --economics suites/economics.toml"
        )
    for key, value in figures.items():
        line = f"{key} = {value}"
        text, n = re.subn(rf"^\s*{key}\s*=.*$", line, text, count=1, flags=re.MULTILINE)
        text = text if n else f"{line}\n{text}"
    return parse_economics(text, where)


def priced_again(record: RunRecord, config: EconomicsConfig, command: str) -> RunRecord:
    """The record with its costs by another configuration, and the gates that assert them judged again.

    Answers, scores and all other gates stay. A score that labels corrected counts as they have it.

    Raises:
        UsageError: the record has no costs, a price is missing, or a point of an unknown score has a price.
    """
    if not record.economics and not record.money_gates:
        raise UsageError(
            f"run {record.id} has no costs to price again.\n  hint: put economics.toml beside the suites and"
            " run them again; answers are kept, so nothing is asked twice."
        )
    values = _point_values(record, config)
    economics = tuple(_again(record, money, config, values) for money in record.economics)
    by_name = {money.candidate.partition("@")[0]: money for money in economics}
    money_gates = tuple(
        judged_again(gate, by_name.get(gate.candidate, "this run has no costs of it"))
        for gate in record.money_gates
    )
    decisions = record.decisions
    if money_gates:
        each = [decided_again(one, record.gates, record.gates, money_gates) for one in decisions]
        decisions = decided_together(record, each, [(gate, None) for gate in record.gates])
    return replace(
        record,
        id=f"{record.id}-{PRICED}",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
        economics=economics,
        economics_toml=config.text,
        money_gates=money_gates,
        decisions=decisions,
        ladder=record.ladder and with_costs(record.ladder, economics),
        notes=(
            *record.notes,
            f"Run {record.id} was priced again, without asking a model, by {config.where}.",
        ),
    )


def _again(
    record: RunRecord, money: Economics, config: EconomicsConfig, values: Mapping[ScoreOf, float]
) -> Economics:
    sides = [_task_trials(record, label) for label in (money.candidate, money.baseline)]
    measured = measured_sides(*sides)
    if measured.candidate is None or measured.baseline is None:
        raise UsageError(f"run {record.id} holds no tokens of {money.candidate} or of {money.baseline}.")
    name = money.candidate.partition("@")[0]
    priced = [
        _priced(record, name, place, replace(PricedScore(*place, usd), usd_range=config.points_range(*place)))
        for place, usd in sorted(values.items())
        if any((trial.suite, trial.candidate) == (place[0], name) for trial in record.trials)
    ]
    groups = {(suite.name, row.id): row.group for suite in record.suites for row in suite.rows}
    ends = money.outlook.ends if money.outlook is not None else None
    evidence = Evidence(
        rows_used=money.rows_used,
        pairs=measured.pairs,
        groups=measured.groups(groups),
        differences=[measured.by_pair(one.suite, of_rows) for one, of_rows in priced],
        trainings=bills_of(record.trials, name),
        priced=[one for one, _ in priced],
        alpha=record.alpha,
        ends=None if ends is None else date.fromisoformat(ends),
        today=today(),
    )
    prices = Prices(
        _price(record, money.candidate, money.candidate_price, config),
        _price(record, money.baseline, money.baseline_price, config),
    )
    return appraise(
        money.candidate,
        money.baseline,
        measured.candidate,
        measured.baseline,
        config,
        bill_of(sides[0][0]),
        prices,
        evidence,
    )


def _task_trials(record: RunRecord, label: str) -> list[Trial]:
    tasks = [suite.name for suite in record.suites if suite.prompt_digest is not None]
    its = [trial for trial in record.trials if trial.label == label]
    return [trial for trial in its if trial.suite in tasks] if tasks else its


def _price(record: RunRecord, label: str, kept: Price, config: EconomicsConfig) -> Price | None:
    """None for what the team serves itself; the file's own price comes before the one that was kept."""
    if kept.model == label and not kept.source.startswith(_ROUTES):
        return None
    info: CandidateInfo | None = next(
        (c for c in record.candidates if c.name == label.partition("@")[0]), None
    )
    model, tuned = kept.model.removesuffix(" (tuned)"), kept.model.endswith(" (tuned)")
    for name in (info.model if info else model, model):
        try:
            found = price_of(name, tuned, config.prices, config.where)
        except UnknownName:
            continue
        if found in config.prices.values():
            return found
    return kept


def _point_values(record: RunRecord, config: EconomicsConfig) -> Mapping[ScoreOf, float]:
    values = config.value_usd_per_point_per_day
    scores = {suite.name: [score.name for score in suite.scores] for suite in record.suites}
    if values is None:
        return {}
    if isinstance(values, Mapping):
        return named_scores(values, scores, config.where).usd
    compared = {
        (gate.suite, gate.comparison.score)
        for gate in record.gates
        if gate.role is Role.TARGET and gate.comparison is not None
    }
    return only_target(values, compared, scores, config.where)


def _priced(
    record: RunRecord, name: str, place: ScoreOf, one: PricedScore
) -> tuple[PricedScore, Mapping[str, float]]:
    """As labels corrected it, else as the run kept it, else from the values of its rows."""
    its: Pair | None = next(
        (p for p in pairs(record) if (p.suite.name, p.candidate.name) == (place[0], name)), None
    )
    vectors = None if its is None else its.vectors(place[1])
    of_rows: Mapping[str, float] = {}
    try:
        of_rows = differences_of(vectors)
        found = None if vectors is None else compare(*vectors, alpha=record.alpha)
    except HarnessError:  # values that its kind cannot have
        found = None
    corrected = [
        gate.comparison
        for gate in record.gates
        if gate.correction is not None and (gate.suite, gate.candidate) == (place[0], name)
        if gate.comparison is not None and not gate.comparison.rows and gate.comparison.score == place[1]
    ]
    kept = [
        old for money in record.economics for old in money.priced_scores if _is_of(money, old, name, place)
    ]
    if corrected:
        found = corrected[0]
    elif kept:
        old = replace(kept[0], usd_per_point_per_day=one.usd_per_point_per_day, usd_range=one.usd_range)
        return old, of_rows
    elif its and any(score.name == place[1] and is_advisory(score) for score in its.suite.scores):
        return replace(one, why="its judge has no vote"), {}
    if found is None or found.low is None or found.high is None:
        return replace(one, why="no gate of this run compares it, and its rows show no interval"), {}
    return replace(one, difference=found.difference, low=found.low, high=found.high, n=found.n), of_rows


def _is_of(money: Economics, old: PricedScore, name: str, place: ScoreOf) -> bool:
    return (money.candidate.partition("@")[0], old.suite, old.score) == (name, *place)
