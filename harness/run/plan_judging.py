"""What a rubric's model would be asked, before there is an answer to judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from json import dumps

from harness.decision.plan import CallCount, Usd, Work
from harness.models.pricing import Spending
from harness.models.remote import RemoteModel
from harness.run.plan_costs import Costs, Payee, Tokens
from harness.run.suite_loading import LoadedSuite
from harness.scoring.rubric import Rubric
from harness.scoring.rubric_prompt import CODE_CHARACTERS, Case, as_prompt, reply_schema

SHORT_JUDGMENT_TOKENS = 40  # a sentence or two, a number, and the JSON around them
# the code in a prompt's tags is another one for each answer: at worst every character is a token
CODES_IN_A_PROMPT = 7
MOST_CODE_TOKENS = CODES_IN_A_PROMPT * CODE_CHARACTERS
BYTES_A_TOKEN = 8  # of an answer, where the judge's prompts are bounded by bytes; ordinary text has about 4


@dataclass(frozen=True, slots=True)
class Judged:
    """One trial whose answers are judged: how many of them are yet to be made, and the longest."""

    left: int
    most_answer_tokens: int


@dataclass(frozen=True, slots=True)
class JudgePrompt:
    """Tokens of one question to the judge: expected, and at most."""

    tokens: int
    most: int


def rubrics(bound: LoadedSuite) -> tuple[Rubric, ...]:
    """The suite's rubrics."""
    scores: Sequence[object] = bound.scores
    return tuple(score for score in scores if isinstance(score, Rubric))


def judging(
    rubric: Rubric, bound: LoadedSuite, trials: Sequence[Judged], costs: Costs, *, labels: bool
) -> Work:
    """What one rubric asks on one suite, at most: its labels once a run, and every row of every trial.

    Judgments that the store has are not known here. The low end counts answers that are yet to be made, for
    nobody has judged them, and the labels where there are any such.
    """
    payee = _payee(rubric)
    tokens = costs.tokens(payee.model, payee.model)
    known = [_of_label(rubric, case, tokens) for case in (_label_cases(rubric) if labels else ())]
    cases = [case for case in map(rubric.case_before, bound.rows) if case is not None]
    each = [[of_row(rubric, case, trial, tokens) for case in cases] for trial in trials]
    asked = [*known, *(prompt for of_one in each for prompt in of_one)]
    spending = costs.spending(payee.model, payee.is_tuned)
    usd = Usd()
    if spending is not None:
        fresh = [trial.left / len(bound.rows) for trial in trials]
        parts = [
            (share, _usd(of_one, rubric, spending, payee)) for share, of_one in zip(fresh, each, strict=True)
        ]
        parts.append((float(any(fresh)), _usd(known, rubric, spending, payee)))
        usd = Usd(sum(share * part.low for share, part in parts), sum(part.high or 0.0 for _, part in parts))
    calls = CallCount(
        new=len(asked),
        kept=0,
        prompt_tokens=sum(prompt.tokens for prompt in asked),
        most_answer_tokens=rubric.max_tokens,
    )
    bill = costs.bill("judging", payee, spending, usd)
    return Work(f"judge {bound.name}/{rubric.name}", True, None, calls, (bill,))


def _payee(rubric: Rubric) -> Payee:
    model = rubric.model
    is_batched = isinstance(model, RemoteModel) and model.batch
    return Payee(model.model, model.model.startswith("ft:"), is_batched)


def _usd(prompts: Sequence[JudgePrompt], rubric: Rubric, spending: Spending, payee: Payee) -> Usd:
    short = len(prompts) * min(SHORT_JUDGMENT_TOKENS, rubric.max_tokens)
    low = spending.cost(sum(prompt.tokens for prompt in prompts), short, batched=payee.is_batched)
    most = (spending.most(prompt.most, rubric.max_tokens, batched=payee.is_batched) for prompt in prompts)
    return Usd(low, sum(most))


def _label_cases(rubric: Rubric) -> list[Case]:
    """Cases of the labels, each once: equal ones are asked once."""
    cases = (Case(label.message, label.reference, label.reply) for label in rubric.known or ())
    return list(dict.fromkeys(cases))


def _of_label(rubric: Rubric, case: Case, tokens: Tokens) -> JudgePrompt:
    counted, most = tokens.of_prompt(as_prompt(rubric.instructions, case))
    return JudgePrompt(counted, most + _schema_tokens(rubric, tokens))


def of_row(rubric: Rubric, case: Case, trial: Judged, tokens: Tokens) -> JudgePrompt:
    """A row's question to the judge: with the reference as the expected answer, and with the longest."""
    counted, most = tokens.of_prompt(as_prompt(rubric.instructions, replace(case, answer="")))
    expected = min(tokens.of_text(case.reference), trial.most_answer_tokens)
    longest = trial.most_answer_tokens * (1 if tokens.is_known else BYTES_A_TOKEN)
    return JudgePrompt(counted + expected, most + longest + MOST_CODE_TOKENS + _schema_tokens(rubric, tokens))


def _schema_tokens(rubric: Rubric, tokens: Tokens) -> int:
    """At most those of the JSON schema, which a service may put before the prompt."""
    schema = dumps(reply_schema(rubric.scale))
    return tokens.of_text(schema) if tokens.is_known else len(schema)
