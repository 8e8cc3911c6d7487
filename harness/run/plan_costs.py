"""Tokens and dollars of what is yet to be done: counted with the model's encoding, bounded as a cap would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from harness.candidates.base import Candidate, TrainingEstimate, answered_by
from harness.data.hosted import DEFAULT_ENCODING, hosted_counter, hosted_model, text_counter
from harness.decision.plan import CallCount, CostLine, Purpose, Usd
from harness.decision.prices import TOKENS_PER_MTOK, PriceKey, batch_price, price_of
from harness.errors import UnknownName
from harness.models.ledger import Ledger, Spending, prompt_bound
from harness.models.protocol import Decoding, Prompt, Tools
from harness.models.remote import RemoteModel
from harness.models.thinking import most_tokens
from harness.records import Message, Price, Row
from harness.scoring.judges import JudgeEstimate


@dataclass(frozen=True, slots=True)
class JudgedTrial:
    """One trial whose answers are judged.

    Args:
        fresh: the share of its answers that are yet to be made.
        most_answer_tokens: the longest of them.
        is_compared: whether it is a candidate's, which has a baseline.
    """

    fresh: float
    most_answer_tokens: int
    is_compared: bool = True


BYTES_A_TOKEN = 8  # of an answer, where prompts are bounded by bytes; ordinary text has about 4


class Tokens:
    """Counts tokens as one model does; of an unknown model with the newest encoding.

    Args:
        model: whose encoding counts what is expected.
        asked_as: the name that it is asked by, which decides on what a cap sets aside.
    """

    def __init__(self, model: str, asked_as: str) -> None:
        known = hosted_model(model)
        self.is_known = hosted_model(asked_as) is not None
        encoding = known.encoding if known else DEFAULT_ENCODING
        self._count, self._bound = hosted_counter(encoding), prompt_bound(asked_as)
        self.of_text = text_counter(encoding)
        self._seen: dict[tuple[Message, ...], tuple[int, int]] = {}

    def of_prompt(self, messages: tuple[Message, ...], tools: Tools | None = None) -> tuple[int, int]:
        """What a prompt has, and the most that is set aside for it."""
        if messages not in self._seen:
            (counted,) = self._count([Row("", messages)])
            self._seen[messages] = counted, self._bound(messages)
        offered = 0 if tools is None else self.of_schema(tools.text)
        counted, most = self._seen[messages]
        return counted + offered, most + offered

    def of_schema(self, schema: str) -> int:
        """At most those of a JSON schema, which a service may put before the prompt."""
        return self.of_text(schema) if self.is_known else len(schema)

    def of_judgment(
        self, judge: JudgeEstimate, prompt: tuple[Message, ...], reference: str, trial: JudgedTrial
    ) -> tuple[int, int]:
        """A row's question to a judge: with an answer as long as the reference, and with the longest."""
        counted, most = self.of_prompt(prompt)
        expected = counted + judge.answers * min(self.of_text(reference), trial.most_answer_tokens)
        longest = judge.answers * trial.most_answer_tokens * (1 if self.is_known else BYTES_A_TOKEN)
        return expected, most + longest + judge.extra_tokens + self.of_schema(judge.schema)


@dataclass(frozen=True)
class Asking:
    """CallCount of one model for one suite.

    Args:
        asked_as: the name that it is asked by.
        prompts: those to be sent.
        references: the suite's, whose mean length stands for that of a short answer.
        most_answer_tokens: the longest answer.
        heard: tokens at most of the earlier answer that stands in each prompt.
    """

    asked_as: str
    prompts: Sequence[Prompt]
    references: Sequence[str]
    most_answer_tokens: int
    heard: int = 0


@dataclass(frozen=True)
class Payee:
    """A hosted model that is paid: the name under which it is priced, and whether by the batch."""

    model: str
    is_tuned: bool
    is_batched: bool


def paid(candidate: Candidate) -> Payee | None:
    """Who is paid for a candidate's answers; None where nothing is hosted."""
    priced = answered_by(candidate)
    return None if priced is None else Payee(priced.billed_as, priced.is_tuned, priced.model.batch)


@dataclass
class Costs:
    """Dollars at the project's prices, before its calls are made.

    Args:
        prices: the project's own, which come first.
        prices_file: where they stand.
    """

    prices: Mapping[PriceKey, Price]
    prices_file: str
    _tokens: dict[tuple[str, str], Tokens] = field(default_factory=dict)

    def tokens(self, model: str, asked_as: str) -> Tokens:
        """The counter of a model."""
        if (model, asked_as) not in self._tokens:
            self._tokens[model, asked_as] = Tokens(model, asked_as)
        return self._tokens[model, asked_as]

    def spending(self, model: str, is_tuned: bool) -> Spending | None:
        """What calls of a model are paid by; None where it has no price. Nothing is ever set aside here."""
        try:
            price = price_of(model, is_tuned, self.prices, self.prices_file)
        except UnknownName:
            return None
        return Spending(model, price, self._nobody)

    @cached_property
    def _nobody(self) -> Ledger:
        return Ledger()

    def training(self, base: str, trainings: Sequence[TrainingEstimate], unbounded: str) -> CostLine:
        """The bill of jobs that are yet to begin; ``unbounded`` says why where nothing bounds them."""
        spending = self.spending(base, True)
        usd_per_mtok = spending.price.training_usd_per_mtok if spending else None
        is_open = any(one.most_tokens is None for one in trainings)
        why = unbounded if is_open else ""
        if spending is None or usd_per_mtok is None:
            return CostLine("training", base, True, None, unbounded=why)
        low = sum(one.tokens for one in trainings) * usd_per_mtok / TOKENS_PER_MTOK
        high = sum(one.most_tokens or 0.0 for one in trainings) * usd_per_mtok / TOKENS_PER_MTOK
        return CostLine("training", base, True, spending.price, Usd(low, None if is_open else high), why)

    def answers(self, payee: Payee, asking: Sequence[Asking]) -> tuple[CostLine, int]:
        """The bill of answers, and the tokens of their prompts."""
        spending = self.spending(payee.model, payee.is_tuned)
        read, usd = 0, Usd()
        for one in asking:
            tokens = self.tokens(payee.model, one.asked_as)
            counted = [tokens.of_prompt(prompt.messages, prompt.tools) for prompt in one.prompts]
            prompt_tokens = sum(n for n, _ in counted)
            read += prompt_tokens
            if spending is None:
                continue
            written = int(len(counted) * _short_answer(one, tokens))
            low = spending.cost(prompt_tokens, written, batched=payee.is_batched)
            heard = one.heard * (1 if tokens.is_known else BYTES_A_TOKEN)
            most = (
                spending.most(n + heard, one.most_answer_tokens, batched=payee.is_batched) for _, n in counted
            )
            usd += Usd(low, sum(most))
        return self.bill("answers", payee, spending, usd), read

    def judgments(
        self, judge: JudgeEstimate, trials: Sequence[JudgedTrial], *, labels: bool, anchors: int = 0
    ) -> tuple[CostLine, CallCount]:
        """The cost of one judge on one suite: its labels once a run, and every row of every trial.

        Judgments that the store has are not known here, so the high end counts them all. The low end counts
        answers that are yet to be made, which nobody has judged, and the labels where there are any such;
        else the ``anchors`` among them, which a model that is not pinned judges in every run.
        """
        model = judge.model
        name = model.billed_as if isinstance(model, RemoteModel) else model.model
        payee = Payee(name, model.is_tuned, model.batch)
        tokens = self.tokens(model.model, model.model)
        schema = tokens.of_schema(judge.schema)
        known = [(n, most + schema) for n, most in map(tokens.of_prompt, judge.labels if labels else ())]
        asked = list(zip(judge.rows, judge.references, strict=True))
        parts = [
            (trial.fresh, [tokens.of_judgment(judge, p, r, trial) for p, r in asked]) for trial in trials
        ]
        is_pinned = isinstance(model, RemoteModel) and model.is_pinned
        again = 0.0 if is_pinned else min(1.0, anchors / max(1, len(known)))
        parts.append((1.0 if any(trial.fresh for trial in trials) else again, known))
        spending = self.spending(payee.model, payee.is_tuned)
        usd, longest = Usd(), most_tokens(model.model, Decoding(max_new_tokens=judge.max_tokens))
        if spending is not None:
            short, batched = min(judge.short_tokens, judge.max_tokens), payee.is_batched
            for share, prompts in parts:
                low = spending.cost(sum(n for n, _ in prompts), len(prompts) * short, batched=batched)
                high = sum(spending.most(most, longest, batched=batched) for _, most in prompts)
                usd += Usd(share * low, high)
        counts = [n for _, prompts in parts for n, _ in prompts]
        calls = CallCount(len(counts), 0, prompt_tokens=sum(counts), most_answer_tokens=longest)
        return self.bill("judging", payee, spending, usd), calls

    def bill(self, purpose: Purpose, payee: Payee, spending: Spending | None, usd: Usd) -> CostLine:
        """The bill of calls; through the Batch API at its price."""
        if spending is None:
            return CostLine(purpose, payee.model, payee.is_tuned, None)
        price = batch_price(spending.price) if payee.is_batched else spending.price
        return CostLine(purpose, payee.model, payee.is_tuned, price, usd)


def _short_answer(asking: Asking, tokens: Tokens) -> float:
    """Tokens of an answer as long as the references are in the mean."""
    lengths = [tokens.of_text(reference) for reference in asking.references]
    return min(sum(lengths) / len(lengths), asking.most_answer_tokens)
