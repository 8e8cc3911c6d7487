"""What a candidate costs and saves a day, and what hosted models were billed in the run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from harness.decision.prices import call_usd
from harness.records import (
    Amount,
    AnswerCounts,
    Economics,
    FailureKind,
    Payback,
    Price,
    RunRecord,
    SpendingLine,
)
from harness.report import numbers
from harness.report.knowing import knowing_table
from harness.report.quality import (
    quality_rows,
    quality_sentence,
    tokens_alone,
    why_unpriced,
)
from harness.report.view_models import CostBlock, SpendingBlock, TextTable

MANY_CUT = 0.1  # share of a side's answers that were cut off, from which the costs say so

_WHY_THEY_DIFFER = (
    "The economics price each measured answer as one call of its own. The bill is lower where an answer came "
    "from the store and was not billed again, or came in a batch, at half the price. It is higher by calls "
    "that failed or were repeated, and by calls whose bill is not known, which count at the most they can be."
)


def cost(record: RunRecord, money: Economics) -> CostBlock:
    """The candidate beside its baseline: a day's costs, the saving, what points are worth, and the prices."""
    tokens_saved, whole = tokens_alone(money), money.with_quality
    requests = f"{numbers.number(money.requests_per_day)} requests a day"
    of_both_sides = (money.baseline_price, money.candidate_price)
    by_time = [
        (head, field)
        for head, field in (
            ("an hour#", "hosting_usd_per_hour"),
            ("a GB and month#", "storage_usd_per_gb_month"),
        )
        if any(getattr(price, field) for price in of_both_sides)
    ]
    prices = [
        (
            f"{name} ({price.model})",
            numbers.usd(price.input_usd_per_mtok),
            numbers.usd(price.cached_input_usd_per_mtok),
            numbers.usd(price.output_usd_per_mtok),
            numbers.usd(price.training_usd_per_mtok),
            *(numbers.usd(getattr(price, field)) for _, field in by_time),
            price.source,
            price.date or "undated",
        )
        for name, price in zip((money.baseline, money.candidate), of_both_sides, strict=True)
    ]
    tokens = [
        ("prompt tokens a request (mean)", money.baseline_prompt_tokens, money.candidate_prompt_tokens),
        (
            "of these cached, at their own price",
            money.baseline_cached_prompt_tokens,
            money.candidate_cached_prompt_tokens,
        ),
        (
            "completion tokens a request (mean)",
            money.baseline_completion_tokens,
            money.candidate_completion_tokens,
        ),
    ]
    if not money.baseline_cached_prompt_tokens and not money.candidate_cached_prompt_tokens:
        del tokens[1]
    is_trained = any(trial.label == money.candidate and trial.size is not None for trial in record.trials)
    of_candidate = _of_candidate(money, tokens_saved, whole, is_trained=is_trained)
    usd = numbers.in_currency(money)
    of_both = [("inference a day", usd(money.baseline_usd_per_day), usd(money.candidate_usd_per_day))]
    if money.outlook is not None:
        theirs, mine = money.outlook.baseline_usd_per_1000_requests, money.outlook.usd_per_1000_requests
        of_both.append(("1,000 requests", _amount(money, theirs), _amount(money, mine)))
    return CostBlock(
        table=TextTable(
            caption=f"{money.candidate} against {money.baseline}, {requests}",
            heads=("", f"{money.baseline}#", f"{money.candidate}#"),
            rows=[
                *((name, numbers.tokens(mean), numbers.tokens(other)) for name, mean, other in tokens),
                *of_both,
                *((name, numbers.NONE, text) for name, text in of_candidate),
            ],
            note="Token counts are means over "
            f"{numbers.plural(money.n_requests_measured, 'request')} of this run."
            + _what_limits_hold(record, tokens_saved, whole),
        ),
        prices=TextTable(
            "Prices, dollars per million tokens",
            (
                "price of",
                "input#",
                "cached#",
                "output#",
                "training#",
                *(h for h, _ in by_time),
                "source",
                "date#",
            ),
            prices,
        ),
        verdict=_verdict(money, tokens_saved, whole, requests),
        notes=[
            *(money.outlook.warnings if money.outlook else ()),
            *_cut_answers(record, money),
            *filter(None, [why_unpriced(record, money)]),
            *money.notes,
        ],
        knowing=knowing_table(record, money),
    )


def _verdict(money: Economics, tokens_saved: Payback, whole: Payback | None, requests: str) -> str:
    usd = numbers.in_currency(money)
    said = f"pays for itself after {numbers.days_with_limits(tokens_saved)} at {requests}."
    if tokens_saved.days is None:
        said = (
            f"never pays for itself at {requests}: {usd(money.candidate_usd_per_day)} a day against "
            f"{usd(money.baseline_usd_per_day)} for {money.baseline}."
        )
    if whole is None and not money.priced_scores and money.value_usd_per_point_per_day is None:
        return said[0].upper() + said[1:]
    return f"Tokens alone: {said} {quality_sentence(money)}".rstrip()


def _of_candidate(
    money: Economics, tokens_saved: Payback, whole: Payback | None, *, is_trained: bool
) -> Iterator[tuple[str, str]]:
    """What it takes once and gives a day, by name: tokens alone and, beside them, with the points."""
    usd, found = numbers.in_currency(money), money.outlook
    once, training_usd = "training, once", money.training_usd
    if money.data_preparation_usd is None:
        once = "training and data preparation, once"
    elif money.data_preparation_usd and not is_trained:
        once = f"data preparation of {numbers.plural(money.rows_used or 0, 'row')}, once"
    elif money.data_preparation_usd:
        rows = f" of {numbers.plural(money.rows_used, 'row')}" if money.rows_used else ""
        data_usd = money.data_preparation_usd
        once = f"training {usd(training_usd - data_usd)} and data preparation{rows} {usd(data_usd)}, once"
    horizon = f"in {numbers.days(money.horizon_days)}, training and data deducted"
    alone = ", tokens alone" if whole is not None else ""
    yield once, usd(training_usd)
    if found is not None and found.n_trainings > 1:
        trainings = numbers.plural(found.n_trainings, "training")
        yield f"all {trainings} of this study, spent already", usd(found.study_usd)
    yield f"saved a day{alone}", _usd_a_day(money, tokens_saved)
    if whole is not None:
        yield from quality_rows(money)
        if found is not None and found.maintenance_usd_per_day.value:
            yield "upkeep a day: retraining, labels, review", _amount(money, found.maintenance_usd_per_day)
        yield "saved and gained a day", _usd_a_day(money, whole)
    yield f"saved {horizon}{alone}", _usd_over_horizon(tokens_saved, money)
    if whole is not None:
        yield f"saved and gained {horizon}", _usd_over_horizon(whole, money)
    yield f"break-even{alone}", numbers.days_with_limits(tokens_saved)
    if whole is not None:
        yield (
            "break-even with the points" if money.priced_scores else "break-even",
            numbers.days_with_limits(whole),
        )
    if found is not None and found.roi is not None:
        ends = [None if end is None else numbers.percent(end, 0) for end in (found.roi.low, found.roi.high)]
        between = f" [{ends[0]}, {ends[1]}]" if all(ends) else ""
        yield (
            f"return {horizon.partition(',')[0]} on what is paid once",
            (f"{numbers.percent(found.roi.value, 0)}{between}"),
        )
    if found is not None and found.p_never is not None and found.p_within_90_days is not None:
        yield (
            "chance that it pays within 90 days, and never",
            (f"{numbers.percent(found.p_within_90_days, 0)}, {numbers.percent(found.p_never, 0)}"),
        )


def _amount(money: Economics, amount: Amount) -> str:
    write = numbers.in_currency(money)
    if write(amount.low) == write(amount.high):
        return write(amount.value)
    return numbers.usd_with_limits(amount.value or 0.0, amount.low, amount.high, write)


def _usd_a_day(money: Economics, value: Payback) -> str:
    return _amount(money, Amount(value.usd_per_day, value.low_usd_per_day, value.high_usd_per_day))


def _usd_over_horizon(value: Payback, money: Economics) -> str:
    if money.outlook is not None and (value is money.with_quality or money.with_quality is None):
        return _amount(money, money.outlook.usd_over_horizon)
    limits = value.low_usd_per_day, value.high_usd_per_day
    low, high = (None if x is None else x * money.horizon_days - money.training_usd for x in limits)
    return _amount(money, Amount(value.usd_over_horizon, low, high))


def _what_limits_hold(record: RunRecord, tokens_saved: Payback, whole: Payback | None) -> str:
    if tokens_saved.low_usd_per_day is None:
        return ""
    added = ""
    if whole is not None:
        added = " Points have the interval of their own difference."
    return (
        f" Brackets hold {numbers.level(record.alpha)} intervals: held-out rows are drawn again with their"
        f" tokens and scores, and figures that were given as a range vary within it.{added}"
    )


def _cut_answers(record: RunRecord, money: Economics) -> Iterator[str]:
    """A side whose answers were cut off does not do the job that its costs are set against."""
    tasks = {suite.name for suite in record.suites if suite.prompt_digest is not None}
    for label in (money.baseline, money.candidate):
        trials = [trial for trial in record.trials if trial.label == label]
        trials = [trial for trial in trials if trial.suite in tasks] or trials
        counts = AnswerCounts.of(answer for trial in trials for answer in trial.answers)
        cut = counts.cut + counts.failed.get(FailureKind.CUT, 0)
        if counts.n and cut / counts.n > MANY_CUT:
            yield (
                f"{cut:,} of {counts.n:,} answers of {label} were cut off at the token limit: dollars a day"
                " compare with a system that did not finish these."
            )


def spending_sentence(record: RunRecord) -> str:
    """The bill of this run against its cap; empty where there is neither. All reports print this sentence."""
    if not record.spending and record.max_usd is None:
        return ""
    by_purpose: defaultdict[str, float] = defaultdict(float)
    for line in record.spending:
        by_purpose[line.purpose] += line.usd
    cap = "" if record.max_usd is None else f" of at most {record.max_usd:g}"
    parts = ", ".join(f"{purpose} {usd:.4f}" for purpose, usd in sorted(by_purpose.items()))
    amount = f"{sum(by_purpose.values()):.4f}{cap} USD" + (f" ({parts})" if parts else "")
    if record.rehearsal:
        return f"Nothing was paid. By the twin's counts of tokens the service would have taken {amount}."
    return f"Hosted models took {amount} in this run."


def spending(record: RunRecord) -> SpendingBlock | None:
    """The bills by purpose and model with their total, beside the economics' prices; None without a bill."""
    if not record.spending:
        return None
    rows = []
    lines = sorted(record.spending, key=lambda line: (line.purpose, line.model, line.is_tuned))
    for line in lines:
        # a training makes a fine-tune, and an ft:… id names one: both say it already
        is_marked = line.is_tuned and line.purpose != "training" and not line.model.startswith("ft:")
        rows.append(_row(line.purpose, f"{line.model} (tuned)" if is_marked else line.model, [line]))
    table = TextTable(
        "What the service would have billed" if record.rehearsal else "Billed in this run",
        ("for", "model", "calls#", "prompt tokens#", "completion tokens#", "dollars#"),
        [*rows, _row("total", "", lines)],
        spending_sentence(record),
    )
    return SpendingBlock(table, _reconciliation(record))


def _row(purpose: str, model: str, lines: Sequence[SpendingLine]) -> tuple[str, ...]:
    prompt = [line.prompt_tokens for line in lines if line.prompt_tokens is not None]
    completion = [line.completion_tokens for line in lines if line.completion_tokens is not None]
    return (
        purpose,
        model,
        numbers.count(sum(line.calls for line in lines)),
        numbers.tokens(sum(prompt) if prompt else None),
        numbers.tokens(sum(completion) if completion else None),
        numbers.usd(sum(line.usd for line in lines)),
    )


def _reconciliation(record: RunRecord) -> tuple[str, ...]:
    """The measured answers at the economics' prices, against the bill for answers.

    Only models that have both are compared; without any there is nothing to say.
    """
    prices: dict[str, Price] = {}  # by candidate; all its sizes have one price
    for money in record.economics:
        prices[money.baseline.partition("@")[0]] = money.baseline_price
        prices[money.candidate.partition("@")[0]] = money.candidate_price
    models = {info.name: info.model for info in record.candidates}
    bills: defaultdict[tuple[str, bool], list[SpendingLine]] = defaultdict(list)
    for line in record.spending:
        if line.purpose == "answers":
            bills[_priced_as(line.model, is_tuned=line.is_tuned)].append(line)

    compared: set[tuple[str, bool]] = set()
    n_answers, n_batched, priced_usd = 0, 0, 0.0
    for trial in record.trials:
        if trial.candidate not in prices or trial.candidate not in models:
            continue
        is_tuned = trial.training is not None or trial.size is not None
        key = _priced_as(models[trial.candidate], is_tuned=is_tuned)
        if key not in bills:
            continue  # served on this machine, where nobody bills
        if trial.provenance is not None and trial.provenance.recorded:
            continue  # billed to another run, or to nobody
        compared.add(key)
        answers = [answer for answer in trial.answers if answer.failure is None]
        n_answers += len(answers)
        n_batched += sum(answer.batched for answer in answers)
        priced_usd += call_usd(
            prices[trial.candidate],
            sum(answer.prompt_tokens or 0 for answer in answers),
            sum(answer.completion_tokens or 0 for answer in answers),
            sum(answer.cached_prompt_tokens for answer in answers),
        )
    if not compared:
        return ()
    billed = [line for key in compared for line in bills[key]]
    billed_usd = sum(line.usd for line in billed)
    more_usd = billed_usd - priced_usd
    answered = numbers.plural(n_answers, "answer")
    answered += f" ({n_batched:,} of them batched)" if n_batched else ""
    calls = numbers.plural(sum(line.calls for line in billed), "call")
    who = "The twin counted" if record.rehearsal else "The service billed"
    return (
        f"At the prices of the economics, the measured tokens of {answered} cost {numbers.usd(priced_usd)}. "
        f"{who} {numbers.usd(billed_usd)} for {calls}, "
        f"{numbers.usd(abs(more_usd))} {'more' if more_usd > 0 else 'less'}.",
        _WHY_THEY_DIFFER,
    )


def _priced_as(model: str, *, is_tuned: bool) -> tuple[str, bool]:
    """The base model and whether a fine-tune of it is asked: ``ft:BASE:…`` and BASE as tuned are one."""
    if model.startswith("ft:"):
        return model.split(":")[1], True
    return model, is_tuned
