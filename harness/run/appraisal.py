"""What each candidate of a run costs, saves and is worth: its answers and scores at the project's prices."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path

from harness.candidates.base import PricedModel, answered_by
from harness.decision.economics import Prices, appraise
from harness.decision.economics_file import EconomicsConfig
from harness.decision.money import Evidence, TrainingBill, Usage
from harness.decision.point_values import ScoreOf, named_scores, only_target
from harness.errors import HarnessError, UsageError
from harness.records import Economics, Price, PricedScore, Role, Trial
from harness.run.costs import economics_config, hosted_price
from harness.run.measured_money import bill_of, bills_of, differences_of, measured_sides
from harness.run.safeguards import compared_rows, measured_difference
from harness.run.selection import Arm
from harness.run.session import Session
from harness.training.hosted.lifetimes import lifetime

_DEEPEST = 3  # folders below that of the suites, or the root, in which suites are looked for


def appraisals(run: Session) -> tuple[tuple[Economics, ...], list[str]]:
    """The economics of each candidate that has answers, and what could not be computed."""
    config = economics_config(run.suites.values(), run.settings.root)
    if config is None:
        return (), ["no economics.toml was found beside the suites: costs and break-even are not computed."]
    found: list[Economics] = []
    values, notes = _point_values(run, config)
    for name in run.selection.chosen():
        money = _appraised(run, name, config, values)
        if isinstance(money, str):
            notes.append(f"the costs of {name} are not computed: {money}")
        elif money is not None:
            found.append(money)
    return tuple(found), notes


def economics_of(run: Session, name: str) -> Economics | str:
    """The economics of one candidate while the run goes on, or why there are none."""
    config = economics_config(run.suites.values(), run.settings.root)
    if config is None:
        return "there is no economics.toml beside the suites"
    values, _ = _point_values(run, config)
    return _appraised(run, name, config, values) or f"{name} has not answered"


def _appraised(
    run: Session, name: str, config: EconomicsConfig, values: Mapping[ScoreOf, float]
) -> Economics | str | None:
    """Of a candidate at its largest size; why not, in a sentence; None where it has no answers."""
    arm, baseline = run.selection.sized(name)[-1], run.selection.baseline_of(name)
    trials = _task_trials(run, arm), _task_trials(run, baseline)
    sides = measured_sides(*trials)
    for one, its, usage in zip((arm, baseline), trials, (sides.candidate, sides.baseline), strict=True):
        if usage is None and any(answer.failure is None for trial in its for answer in trial.answers):
            return f"nobody counted the tokens of the answers of {one.label}."
    if sides.candidate is None or sides.baseline is None:
        return None
    try:
        data = arm.candidate.data(run.lab_of(arm))
        priced = _priced(run, arm, baseline, values, config)
        groups = {
            (suite.name, row): group
            for suite in run.suites.values()
            for row, group in zip(suite.units.row_ids, suite.units.groups, strict=True)
        }
        evidence = Evidence(
            rows_used=None if data is None else data.used(arm.size),
            pairs=sides.pairs,
            groups=sides.groups(groups),
            differences=[sides.by_pair(one.suite, of_rows) for one, of_rows in priced],
            trainings=bills_of(run.trials.values(), name),
            priced=[one for one, _ in priced],
            alpha=run.settings.alpha,
            ends=_end(run, arm),
            today=run.lab.today(),
        )
        prices = _hosted_prices(run, name, config)
        bill = bill_of(trials[0][0]) if arm.seeds else None
        return appraise(
            arm.label, baseline.label, sides.candidate, sides.baseline, config, bill, prices, evidence
        )
    except HarnessError as error:  # no price; or rows that can be read no more
        return str(error)


def require_economics(run: Session, *, knows_all_suites: bool = True) -> None:
    """Check, before anything is spent, that the economics will come out; one token stands for the usage.

    Args:
        run: what is going to be tried.
        knows_all_suites: whether none of its suites is known only once its tests run.

    Raises:
        UsageError: see ``economics_config``; or a price is missing; or a point of a score is priced that no
            suite has, or of which it cannot be told which suite's it is.
    """
    config = economics_config(run.suites.values(), run.settings.root)
    if config is None:
        return
    values = config.value_usd_per_point_per_day
    scores = _scores(run)
    if isinstance(values, Mapping):
        named = named_scores(values, scores, config.where)
        for name, problem in named.unknown.items():
            if knows_all_suites and not _is_elsewhere(run, name):
                raise UsageError(problem)
    elif values is not None and len(run.written_targets) > 1:
        only_target(values, run.written_targets, scores, config.where)
    token, hour = Usage(1.0, 1.0, 1, 1.0), TrainingBill(1.0, 1.0)
    for name in run.selection.chosen():
        bill = hour if run.selection.sized(name)[-1].seeds else None
        arms = run.selection.sized(name)[-1], run.selection.baseline_of(name)
        if any(_are_given(run, arm) for arm in arms):
            continue  # what is not known of recorded answers is said in the report, and stops nothing
        prices = _hosted_prices(run, name, config)
        appraise("the candidate", "the baseline", token, token, config, bill, prices)


# --------------------------------------------------------------------------- what points are worth
def _point_values(run: Session, config: EconomicsConfig) -> tuple[Mapping[ScoreOf, float], list[str]]:
    """The scores of this run whose points have a price, and what has none because it cannot be told."""
    values, scores = config.value_usd_per_point_per_day, _scores(run)
    if values is None or not scores:
        return {}, []
    try:
        if isinstance(values, Mapping):
            named = named_scores(values, scores, config.where)
            return named.usd, [f"not priced in this run: {problem}" for problem in named.unknown.values()]
        compared = {
            (gate.suite, gate.comparison.score)
            for gate in run.gates
            if gate.role is Role.TARGET and gate.comparison is not None
        }
        return only_target(values, run.written_targets | compared, scores, config.where), []
    except UsageError as error:
        return {}, [f"what points are worth is not computed: {error}"]


def _scores(run: Session) -> dict[str, list[str]]:
    return {name: [score.name for score in suite.scores] for name, suite in run.suites.items()}


def _is_elsewhere(run: Session, name: str) -> bool:
    """Whether a suite that this run leaves out may have the score: prices are for all suites of a project."""
    here = {Path(suite.folder).resolve() for suite in run.suites.values()}
    suite = name.partition("/")[0] if "/" in name else None
    for parent in {folder.parent for folder in here} | {run.settings.root.resolve()}:
        for depth in range(1, _DEEPEST + 1):
            for file in (*parent.glob("*/" * depth + "test_*.py"), *parent.glob("*/" * depth + "*_test.py")):
                inside = file.relative_to(parent).parts
                if file.parent.resolve() in here or any(part.startswith(".") for part in inside):
                    continue
                text = file.read_text(encoding="utf-8", errors="replace")
                if "Suite(" in text and (file.parent.name == suite or (suite is None and name in text)):
                    return True
    return False


def _priced(
    run: Session, arm: Arm, baseline: Arm, values: Mapping[ScoreOf, float], config: EconomicsConfig
) -> list[tuple[PricedScore, Mapping[str, float]]]:
    """The measured differences of the scores that have a price, of the suites that the candidate is asked.

    Each with its rows' own differences.
    """
    asked = {suite.name for suite in run.suites_of(arm)}
    found: list[tuple[PricedScore, Mapping[str, float]]] = []
    for (suite, score), usd in sorted(values.items()):
        if suite not in asked:
            continue
        seen = measured_difference(run, suite, score, arm, baseline)
        one = PricedScore(suite, score, usd, usd_range=config.points_range(suite, score))
        if isinstance(seen, str):
            found.append((replace(one, why=seen.rstrip(".")), {}))
            continue
        one = replace(one, difference=seen.difference, low=seen.low, high=seen.high, n=seen.n)
        found.append((one, differences_of(compared_rows(run, suite, score, arm, baseline))))
    return found


def _end(run: Session, arm: Arm) -> date | None:
    """The announced day from which the model behind an arm no longer answers."""
    priced = _priced_as(run, arm)
    if priced is None or priced.model.provider.name != "openai":
        return None
    return lifetime(priced.model.model, None, in_table=True).shutdown


# --------------------------------------------------------------------------- prices and answers
def _hosted_prices(run: Session, name: str, config: EconomicsConfig) -> Prices:
    arms = run.selection.sized(name)[-1], run.selection.baseline_of(name)
    return Prices(*(_hosted_price(run, arm, config) for arm in arms))


def _hosted_price(run: Session, arm: Arm, config: EconomicsConfig) -> Price | None:
    """An arm's price; of one whose rows take several routes, the mean over the tokens of each."""
    priced = _priced_as(run, arm)
    if priced is None or not priced.route:
        return hosted_price(priced, config)
    prices = {one.route: hosted_price(one, config) for one in (priced, *priced.others)}
    tokens: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    for trial in _task_trials(run, arm):
        for part in (part for answer in trial.answers for part in answer.parts):
            counts = tokens[part.name.partition(":")[0]]
            counts[0] += part.prompt_tokens or 0
            counts[1] += part.completion_tokens or 0
    if not tokens:
        return prices[priced.route]
    own = config.served_input_usd_per_mtok, config.served_output_usd_per_mtok
    sums, usd = [0, 0], [0.0, 0.0]
    for route, counts in tokens.items():
        price = prices.get(route)
        each = own if price is None else (price.input_usd_per_mtok, price.output_usd_per_mtok)
        for k, (count, usd_per_mtok) in enumerate(zip(counts, each, strict=True)):
            if usd_per_mtok is None:
                raise UsageError(
                    f"{config.where}: no price of serving the {route} side of {arm.label}; add"
                    " served_input_usd_per_mtok and served_output_usd_per_mtok"
                )
            sums[k] += count
            usd[k] += count * usd_per_mtok
    read, written = (paid / count if count else 0.0 for paid, count in zip(usd, sums, strict=True))
    first = prices[priced.route]
    training = first.training_usd_per_mtok if first is not None and priced.trains else None
    names = ", ".join(sorted(tokens))
    source = f"the mean over the tokens of its routes ({names})"
    return Price(arm.label, read, written, training, source, first.date if first is not None else None)


def _priced_as(run: Session, arm: Arm) -> PricedModel | None:
    """Whose prices count: the model's that it asks, else the one's that had given its answers before."""
    prepared = run.prepared.get(arm.variants[0])
    return answered_by(arm.candidate) or (prepared.priced_as if prepared else None)


def _are_given(run: Session, arm: Arm) -> bool:
    """Whether all its answers were there before the run. Nothing is trained, loaded or sent."""
    if arm.seeds or arm.candidate.endpoint() is not None:
        return False
    return arm.candidate.estimate(run.lab_of(arm), arm.variants[0]).prepared.given is not None


def _task_trials(run: Session, arm: Arm) -> list[Trial]:
    """Trials on suites that have a prompt: the task itself, not what is watched beside it."""
    tasks = [b.name for b in run.suites.values() if b.prompt is not None] or list(run.suites)
    places = [(arm.label, seed, suite) for suite in tasks for seed in arm.replicas]
    return [run.trials[place] for place in places if place in run.trials]
