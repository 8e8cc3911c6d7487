"""What each candidate of a run costs, saves and is worth: its answers and scores at the project's prices."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.candidates.base import PricedModel
from harness.decision.economics import (
    EconomicsConfig,
    Evidence,
    Prices,
    TrainingBill,
    Usage,
    appraise,
)
from harness.decision.point_values import ScoreOf, named_scores, only_target
from harness.errors import HarnessError, UsageError
from harness.records import Answer, Economics, Price, PricedScore, Role, Trial
from harness.run.costs import economics_config, hosted_price
from harness.run.safeguards import measured_difference
from harness.run.selection import Arm
from harness.run.session import Session

_DEEPEST = 3  # folders below that of the suites, or the root, in which suites are looked for


def appraisals(run: Session) -> tuple[tuple[Economics, ...], list[str]]:
    """The economics of each candidate that has answers, and what could not be computed."""
    config = economics_config(run.suites.values(), run.settings.root)
    if config is None:
        return (), ["no economics.toml was found beside the suites: costs and break-even are not computed."]
    found: list[Economics] = []
    values, notes = _point_values(run, config)
    for name in run.selection.chosen():
        arm, baseline = run.selection.sized(name)[-1], run.selection.baseline_of(name)
        sides = _task_trials(run, arm), _task_trials(run, baseline)
        usages = [_usage(side) for side in sides]
        for one, side, usage in zip((arm, baseline), sides, usages, strict=True):
            if usage is None and any(answer.failure is None for trial in side for answer in trial.answers):
                why = f"nobody counted the tokens of the answers of {one.label}"
                notes.append(f"the costs of {name} are not computed: {why}.")
        if usages[0] is None or usages[1] is None:
            continue
        bill = _bill(sides[0][0]) if arm.seeds else None
        try:
            data = arm.candidate.data(run.lab_of(arm))
            evidence = Evidence(
                rows_used=None if data is None else data.used(arm.size),
                pairs=_pairs(*sides),
                trainings=_trainings(run, name),
                priced=_priced(run, arm, baseline, values),
                alpha=run.settings.alpha,
            )
            prices = _hosted_prices(run, name, config)
            found.append(
                appraise(arm.label, baseline.label, usages[0], usages[1], config, bill, prices, evidence)
            )
        except HarnessError as error:  # no price; or rows that can be read no more
            notes.append(f"the costs of {name} are not computed: {error}")
    return tuple(found), notes


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
    run: Session, arm: Arm, baseline: Arm, values: Mapping[ScoreOf, float]
) -> tuple[PricedScore, ...]:
    """The measured differences of the scores that have a price, of the suites that the candidate is asked."""
    asked = {suite.name for suite in run.suites_of(arm)}
    found = []
    for (suite, score), usd in sorted(values.items()):
        if suite not in asked:
            continue
        seen = measured_difference(run, suite, score, arm, baseline)
        if isinstance(seen, str):
            found.append(PricedScore(suite, score, usd, why=seen.rstrip(".")))
        else:
            found.append(PricedScore(suite, score, usd, seen.difference, seen.low, seen.high, seen.n))
    return tuple(found)


# --------------------------------------------------------------------------- tokens and trainings
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
    return arm.candidate.endpoint() or (prepared.priced_as if prepared else None)


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


def _usage(trials: Sequence[Trial]) -> Usage | None:
    seconds = sum(trial.seconds for trial in trials)
    return _mean_usage([answer for trial in trials for answer in trial.answers], seconds)


def _mean_usage(answers: Sequence[Answer], seconds: float = 0.0) -> Usage | None:
    came = [answer for answer in answers if answer.failure is None]
    read = [answer.prompt_tokens for answer in came if answer.prompt_tokens is not None]
    written = [answer.completion_tokens for answer in came if answer.completion_tokens is not None]
    if not read or not written:
        return None  # none came, or nobody counted
    all_known = len(read) == len(written) == len(came)
    return Usage(
        prompt_tokens=sum(read) / len(read),
        completion_tokens=sum(written) / len(written),
        n=min(len(read), len(written)),
        cached_prompt_tokens=sum(answer.cached_prompt_tokens for answer in came) / len(came),
        tokens_per_second=(sum(read) + sum(written)) / seconds if seconds and all_known else None,
    )


def _pairs(candidate: Sequence[Trial], baseline: Sequence[Trial]) -> list[tuple[Usage, Usage]]:
    """Both sides' tokens for each row that both answered; of several seeds, their mean."""
    mine, theirs = _by_row(candidate), _by_row(baseline)
    return [(mine[row], theirs[row]) for row in mine if row in theirs]


def _by_row(trials: Sequence[Trial]) -> dict[tuple[str, str], Usage]:
    answers: defaultdict[tuple[str, str], list[Answer]] = defaultdict(list)
    for trial in trials:
        for answer in trial.answers:
            answers[trial.suite, answer.row_id].append(answer)
    return {row: usage for row, its in answers.items() if (usage := _mean_usage(its)) is not None}


def _bill(trial: Trial) -> TrainingBill | None:
    training = trial.training
    return None if training is None else TrainingBill(training.tokens * training.epochs, training.seconds)


def _trainings(run: Session, name: str) -> list[TrainingBill]:
    """The different trainings of a candidate, at every size and seed."""
    bills = {
        trial.training.fingerprint: bill
        for trial in run.trials.values()
        if trial.candidate == name and trial.training is not None and (bill := _bill(trial)) is not None
    }
    return list(bills.values())
