"""The shapes that travel between rooms: frozen, plain, and the same in memory and in ``run.json``.

A value that could not be obtained is ``None`` beside a ``failure`` that says why; it is never a zero.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import dropwhile, takewhile
from math import hypot
from typing import Literal, TypeAlias

Json: TypeAlias = object  # whatever json.loads gives; narrowed where it is used

SCHEMA_VERSION = 3  # of run.json; `report.runjson` migrates older records


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that the assistant asks for. ``id`` is empty in the deprecated ``function_call`` form."""

    id: str
    name: str
    arguments: str  # JSON text of an object


def called(content: str, calls: Iterable[ToolCall]) -> str:
    """Calls as the text that checks and judges see, below what was said before them.

    One line, ``[{"name": "get_weather", "arguments": {"city": "Paris"}}]``, whoever wrote them in which
    format, with the arguments in the order of their keys. Those that are no JSON stay as they came.
    """
    objects = [{"name": call.name, "arguments": _parsed(call.arguments)} for call in calls]
    told = json.dumps(objects, ensure_ascii=False)
    return f"{content.strip()}\n{told}" if content.strip() else told


def _parsed(arguments: str) -> Json:
    try:
        return json.loads(json.dumps(json.loads(arguments or "{}"), sort_keys=True))
    except (ValueError, RecursionError):
        return arguments


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: str
    content: str  # empty where an assistant's turn only calls tools
    weight: int = 1  # OpenAI's: 0 keeps an assistant turn out of the loss
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None  # of a tool's message: the call that it answers


@dataclass(frozen=True, slots=True)
class Row:
    """One example: a conversation that ends with the assistant's reply, and its metadata."""

    id: str
    messages: tuple[Message, ...]
    metadata: Mapping[str, Json] = field(default_factory=dict)  # every top-level key but the format's own
    where: str = ""  # ``file:line``, for messages to people
    tools: tuple[Mapping[str, Json], ...] = ()  # function definitions the assistant may call, as given
    parallel_tool_calls: bool | None = None

    @property
    def prompt(self) -> tuple[Message, ...]:
        """The turns before the final assistant reply."""
        return self.messages[:-1]

    @property
    def reference(self) -> str:
        """The final assistant reply: what a good answer looks like. Tool calls as ``called`` writes them."""
        last = self.messages[-1]
        return called(last.content, last.tool_calls) if last.tool_calls else last.content

    @property
    def instructions(self) -> str:
        """The system messages before the first other turn, which a suite's prompt takes the place of."""
        own = takewhile(lambda message: message.role == "system", self.prompt)
        return "\n\n".join(message.content for message in own)

    @property
    def turns(self) -> tuple[Message, ...]:
        """The prompt without ``instructions``. A later system message is a turn like any other."""
        return tuple(dropwhile(lambda message: message.role == "system", self.prompt))

    @property
    def uses_tools(self) -> bool:
        """Whether any turn calls a tool or is a tool's, or tools are offered."""
        return bool(self.tools) or any(m.tool_calls or m.role in ("tool", "function") for m in self.messages)

    @property
    def question(self) -> str:
        """The last user turn, or the empty string."""
        return next((m.content for m in reversed(self.prompt) if m.role == "user"), "")

    def text(self, key: str) -> str | None:
        """Metadata ``key`` as text, or None where the row has none."""
        value = self.metadata.get(key)
        return None if value is None else str(value)


class FailureKind(StrEnum):
    """Why an answer never came."""

    CUT = "cut off before the answer"  # the limit was reached within a thought, or before anything was said
    UNANSWERED = "thought without an answer"  # it ended by itself
    REFUSED = "refused by the service"
    WITHHELD = "withheld by a content filter"
    ERROR = "not obtained"  # the call failed, or the model's code raised


@dataclass(frozen=True, slots=True)
class Part:
    """One of the calls that an answer was made with."""

    name: str  # the prompt file of a chain's step, or the route that a row took
    text: str  # the beginning of what it said; empty for the last one, which is the answer itself
    prompt_tokens: int | None
    completion_tokens: int | None
    why: str = ""  # what the route was chosen by: the row's value and the threshold


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's answer to one row. ``failure`` is set, and ``text`` empty, when no answer came.

    A model gives ``text`` as it came, and in ``thought`` what its service gave apart. Before an answer is
    scored, `scoring.envelope` moves every thought from ``text`` to ``thought``.
    """

    row_id: str
    text: str
    prompt_tokens: int | None  # the cached ones included; None: nobody counted them
    completion_tokens: int | None
    latency_ms: float | None  # of the one call that answered; 0 where it came batched; None: not known
    # "tool_calls": ``text`` ends with calls, as `called` writes them
    finish: Literal["stop", "length", "failed", "tool_calls"] = "stop"
    failure: str | None = None
    cached_prompt_tokens: int = 0
    attempts: int = 1  # calls made for it
    repeat: int = 0  # tells answers to one question apart
    logprob: float | None = None  # mean natural log-probability a token; None: not asked for or not offered
    batched: bool = False  # it came hours after it was asked
    thought: str | None = None  # what it wrote before the answer, never scored; None: nothing
    thought_tokens: int | None = None  # those of completion_tokens; None: not counted, or a thought unread
    failure_kind: FailureKind | None = None
    served_by: str = ""  # the model that a service names as answering, where it is not the one asked for
    system_fingerprint: str = ""  # a service's name for what the model ran on, where it gives one
    parts: tuple[Part, ...] = ()  # of an answer that several calls made; the other counts are their sums

    @property
    def answer_tokens(self) -> int | None:
        """Tokens without those of its thought and of earlier steps; None where nobody counted them."""
        written = self.parts[-1].completion_tokens if self.parts else self.completion_tokens
        return None if written is None else max(0, written - (self.thought_tokens or 0))

    @property
    def route(self) -> str:
        """The route that its row took; empty where there was but one."""
        name = self.parts[-1].name.partition(":")[0] if self.parts else ""
        return "" if name.startswith("step ") else name


@dataclass(frozen=True, slots=True)
class AnswerCounts:
    """What became of the questions of one trial, or of several."""

    n: int
    failed: Mapping[FailureKind, int]  # answers that never came, by reason
    cut: int  # answers that came and were cut off at the limit
    thought: int  # questions before whose answer a thought was set aside
    thought_tokens: int

    @property
    def n_failed(self) -> int:
        """Answers that never came."""
        return sum(self.failed.values())

    @classmethod
    def of(cls, answers: Iterable[Answer]) -> AnswerCounts:
        """Count answers that have been handed out."""
        answers = tuple(answers)
        failed = Counter([a.failure_kind or FailureKind.ERROR for a in answers if a.failure is not None])
        thinking = [a for a in answers if a.thought or a.thought_tokens]
        return cls(
            n=len(answers),
            failed=dict(failed.most_common()),
            cut=len([a for a in answers if a.finish == "length" and a.failure is None]),
            thought=sum(bool(a.thought and a.thought.strip()) or bool(a.thought_tokens) for a in thinking),
            thought_tokens=sum(a.thought_tokens or 0 for a in thinking),
        )


class Kind(StrEnum):
    """How the values of a score are distributed, which decides the interval."""

    BINARY = "binary"  # 0 or 1
    GRADED = "graded"  # anywhere in [0, 1]
    PREFERENCE = "preference"  # 0, 0.5 or 1: the candidate loses, ties or wins against the baseline


TIE = 0.5  # the value of a preference for neither


@dataclass(frozen=True, slots=True)
class Score:
    """The worth of one answer, in [0, 1], with its reason."""

    value: float | None  # None: it failed, or, without a failure, was not judged, as judging stopped early
    reason: str = ""
    failure: str | None = None

    @property
    def was_judged(self) -> bool:
        """Whether it was tried at all."""
        return self.value is not None or self.failure is not None


@dataclass(frozen=True, slots=True)
class ScoreVector:
    """One score over the rows of one suite, in the suite's order. All tuples have one length."""

    subject: str
    score: str
    kind: Kind
    row_ids: tuple[str, ...]
    values: tuple[float | None, ...]  # of a candidate trained with several seeds, their means
    groups: tuple[str | None, ...]  # each row's cluster; None: the row stands alone
    reasons: tuple[str, ...] = ()
    advisory: bool = False
    #: the least and the most of a true difference that the score is taken to show; see `Comparison.written`
    shows: tuple[float, float] = (1.0, 1.0)
    by_seed: tuple[tuple[float | None, ...], ...] = ()  # each row's values, one a seed
    unanswered: tuple[bool, ...] = ()  # whether the row's answer never came; empty: not known of any
    rows: str = ""  # the part of the suite that this is (``language=es``); empty: all of it


class Outcome(StrEnum):
    """What the evidence says of a claim."""

    SHOWN = "shown"
    REFUTED = "refuted"
    INCONCLUSIVE = "inconclusive"


class Role(StrEnum):
    """What a gate asserts."""

    TARGET = "target"  # candidate > baseline
    GUARD = "guard"  # candidate >= baseline - margin
    THRESHOLD = "threshold"  # candidate against a plain number


@dataclass(frozen=True, slots=True)
class Comparison:
    """The paired difference candidate - baseline on the same rows, and what it says of one claim."""

    score: str
    candidate: str
    baseline: str
    kind: Kind
    n: int
    candidate_mean: float | None
    baseline_mean: float | None
    difference: float | None  # as its limits, in score units ([-1, 1])
    low: float | None  # the two one-sided 1 - alpha limits: a two-sided 90% interval at the default
    high: float | None
    bound: float  # the claim is difference > bound: 0 for a target, -margin for a guard
    alpha: float
    outcome: Outcome
    method: str  # "Tango", "paired t and Hall", "cluster-robust t and Tango", "Wilson", ..., "none"
    reason: str  # one sentence: why this outcome
    discordant: int | None = None  # rows that differ, for binary scores; without ties, for preferences
    clusters: int | None = None
    failures: int = 0  # rows left out because one side has no value
    rows_needed: int | None = None  # to decide at 80% power if the observed difference is the true one
    p_one_sided: float | None = None
    rows: str = ""  # the slice compared (``language=es``); empty: all rows
    seed_differences: tuple[float, ...] = ()  # of a candidate trained with several seeds, one each
    seed_sd: float | None = None  # between seeds, the rows' noise taken out
    seed_share: float | None = None  # of the variance of the difference that is due to seeds
    seed_error: float | None = None  # standard error of one seed's difference: its noise on single rows
    effect_size: float | None = None  # the difference over the standard deviation of one row's (d_z)
    #: the bound as the claim has it, where a judge trusted on labels from elsewhere is tested at another
    written: float | None = None

    @property
    def claimed(self) -> float:
        """The bound as the claim has it."""
        return self.bound if self.written is None else self.written


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A reply of which a judge and people said opposite things; texts are cut."""

    where: str  # its row and side, or what its label calls it
    question: str
    answer: str
    score: float  # the judge's
    label: float  # people's, on the same scale: 1 good, or the first better
    reason: str = ""  # the judge's


@dataclass(frozen=True, slots=True)
class Correction:
    """What people's labels of a run's own answers did to a comparison that rests on a judge (PPI++)."""

    n: int  # rows compared
    n_labels: int  # of them, those with labels of every answer
    weight: float  # of the judgments, from 0 to 1: lambda
    difference_of_labels: float  # without the judge, in score units
    labels_saved: float  # how many more labels would be as exact without the judge
    annotators: Mapping[str, int]  # each with their number of labels, of this score in this suite
    agreement: float | None = None  # Krippendorff's alpha; None where nothing can be said of it
    n_shared: int = 0  # answers that several people labelled
    unpaired: tuple[str, ...] = ()  # rows left out, as only a part of their answers was labelled
    disagreements: tuple[Disagreement, ...] = ()  # the widest
    labels_needed: int | None = None  # to decide it 4 times in 5; None where the rows are too few for that


@dataclass(frozen=True, slots=True)
class Gate:
    """A comparison that a suite asserts."""

    suite: str
    test: str  # the test's id without the candidate
    candidate: str
    size: int | None
    seeds: tuple[int, ...]
    role: Role
    #: gated decides; measured is a smaller size; advisory rests on a judge that has no vote; missing was
    #: deselected, never reached or never asserted, and has no comparison; money, while a run goes on, is a
    #: claim that is kept among the record's money_gates
    state: Literal["gated", "measured", "advisory", "missing", "money"]
    comparison: Comparison | None = None
    place: str = ""  # ``file:line:column`` of the claim; empty where nobody saw it written
    why: str = ""  # of a missing gate: what kept it from being judged; of an advisory one: from deciding
    naive: Comparison | None = None  # what the judge alone says, where labels corrected it
    correction: Correction | None = None
    against: str = ""  # the reference run that it holds the candidate to; empty: the suite asserts it
    #: of a guard: the smallest true loss, in score units, that these rows show 4 times in 5; None: not worked
    #: out, or none below 1
    smallest_loss: float | None = None


class Verdict(StrEnum):
    """The decision for one candidate at one size."""

    GO = "GO"
    NO_GO = "NO-GO"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict for one candidate at one size, with its reasons, strongest first."""

    candidate: str
    size: int | None
    verdict: Verdict
    reasons: tuple[str, ...]
    seeds: tuple[int, ...] = ()  # of one, the verdict speaks of that checkpoint; of several, of the recipe
    #: what to know beside the verdict: many answers that never came, sides that differ in thinking
    notes: tuple[str, ...] = ()
    collapsed: tuple[int, ...] = ()  # of the seeds, those that lie far below the others
    #: the largest of its gates', each in proportion to its own level; None: not GO by its own gates, or alone
    p_value: float | None = None
    #: that ``p_value`` has to reach among the candidates of the run (Holm); a GO has met it
    level: float | None = None
    #: in the run, this one included, and those judged beside it on its rows before that the run leaves out
    candidates_judged: int = 1
    #: of the reasons, those that come from no gate: what stood against GO, and what was only mentioned.
    #: None: the record is of a version that did not keep them apart
    obstacles: tuple[str, ...] | None = None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rate:
    """A proportion with its two-sided 95% interval."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Anchors:
    """Labelled replies that a hosted judge grades in every run, and whether its scores of them have moved.

    ``shift`` is today's mean score less the earlier one, with a two-sided 95% interval; None where nothing
    was compared: there is no earlier score, the model is pinned, or, as ``why`` says, it could not be asked.
    """

    digest: str  # of the replies, whatever was said of them
    scores: Mapping[str, float]  # today's, to three decimals, by the beginning of each label's hash
    since: str = ""  # when the earlier scores were given; ISO 8601, UTC
    n: int = 0  # replies that have both scores
    shift: float | None = None
    low: float | None = None
    high: float | None = None
    good_shift: float | None = None  # of the replies that people called good
    bad_shift: float | None = None
    p_value: float | None = None  # two-sided, of exact sign-flip tests of the mean and of good less bad
    moved: bool = False  # beyond noise
    why: str = ""
    of_pairs: bool = False  # the good ones are then those of which people preferred the first

    @property
    def kinds(self) -> tuple[str, str]:
        """What ``good_shift`` and ``bad_shift`` are of."""
        if self.of_pairs:
            return "pairs for the first", "pairs for the second"
        return "good replies", "bad replies"

    @property
    def mean(self) -> float | None:
        """Of today's scores."""
        return sum(self.scores.values()) / len(self.scores) if self.scores else None


@dataclass(frozen=True, slots=True)
class AttackTest:
    """What came of answers that asked a judge for a good grade (`harness judge-check`)."""

    made: str  # ISO 8601, UTC
    n: int  # attempts
    gained: int  # of them, those whose answer then counted as good, or rose by a level of five
    failed: int = 0  # of them, those without a judgment; they gained nothing


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a judge has earned its vote, measured on labels it was not calibrated on."""

    judge: str
    admitted: bool
    kappa: Rate
    tpr: Rate
    tnr: Rate
    threshold: float  # the judge's score from which a reply counts as good
    n_calibration: int
    n_test: int
    reasons: tuple[str, ...]  # which bars were missed; empty when admitted
    weighted_kappa: Rate | None = None  # quadratic weights, where people gave levels
    slope: Rate | None = None  # of scores on labels, both in [0, 1]; None where scores are but good or bad
    length_effect: Rate | None = None  # rank correlation of score and length among labels of one kind
    alpha: Rate | None = None  # Krippendorff's, of several annotators; n counts replies
    n_annotators: int = 0  # 0: the labels name none
    n_ties: int = 0  # replies on which annotators were evenly divided: they are left out
    concerns: tuple[str, ...] = ()  # reasons to look, which bar nothing
    anchors: Anchors | None = None  # None: nothing hosted judges, or a version noted none
    facts: tuple[tuple[str, str], ...] = ()  # what else was measured of it: what, and its value in words
    by_kind: Mapping[str, Rate] = field(default_factory=dict)  # judged as by people, of each kind that tested
    annotators: tuple[str, ...] = ()  # their names
    disagreements: tuple[Disagreement, ...] = ()  # on the labels that tested it, the widest
    attacks: AttackTest | None = None  # None: none was made of this judge with these labels

    @property
    def youden(self) -> Rate:
        """TPR + TNR - 1 (Youden 1950): the share of a true difference that its labels of good and bad show.

        The interval is Newcombe's (1998, Statistics in Medicine 17:873, method 10), from those of the two.
        """
        value = self.tpr.value + self.tnr.value - 1.0
        below = hypot(self.tpr.value - self.tpr.low, self.tnr.value - self.tnr.low)
        above = hypot(self.tpr.high - self.tpr.value, self.tnr.high - self.tnr.value)
        n = self.tpr.n + self.tnr.n
        return Rate(value, max(-1.0, value - below), min(1.0, value + above), n)


@dataclass(frozen=True, slots=True)
class TrainingPoint:
    """Loss and token accuracy (share of supervised tokens predicted right) at one moment."""

    step: int
    epoch: float
    train_loss: float | None
    train_token_accuracy: float | None
    dev_loss: float | None
    dev_loss_se: float | None
    dev_token_accuracy: float | None


@dataclass(frozen=True, slots=True)
class Training:
    """How one adapter came to be. ``tokens`` are non-padding tokens of one epoch over all rows."""

    fingerprint: str
    rows: int
    replay_rows: int
    epochs: float
    steps: int
    tokens: int
    supervised_tokens: int
    seconds: float
    tokens_per_second: float
    points: tuple[TrainingPoint, ...]
    overfitting: str | None  # a sentence, when development loss ended above its minimum
    device: str
    numeric_config: str
    row_ids: tuple[str, ...]
    versions: Mapping[str, str]
    row_digest: str = ""
    subset: str = ""  # how the rows were drawn from their file, in words


@dataclass(frozen=True, slots=True)
class Provenance:
    """When the answers of a trial were given. ``asked`` and ``kept`` are rows; failures count as asked."""

    asked: int  # by this run
    kept: int  # from earlier runs
    undated: int = 0  # of the kept: those of versions that noted no date
    oldest: str | None = None  # of the kept, ISO 8601, UTC
    newest: str | None = None
    runs: tuple[str, ...] = ()  # that gave the kept ones: the beginnings of their records' ids
    recorded: str = ""  # the file or run that holds the kept ones, where no run of this project asked
    by: str = ""  # who gave those, as it says
    prompts: tuple[str, ...] = ()  # digests of the prompts that those were given under; empty text: of none

    def is_of_another_prompt(self, prompt_digest: str | None) -> bool:
        """Whether recorded answers were given under a prompt that is not the suite's today."""
        return any(prompt != (prompt_digest or "") for prompt in self.prompts)


@dataclass(frozen=True, slots=True)
class LookedUp:
    """A passage or an example that was shown with a row."""

    place: str  # the file, and which part or line of it
    score: float  # BM25, or the cosine of embeddings
    at: int  # its place among all that could be looked up, from 0


@dataclass(frozen=True, slots=True)
class Trial:
    """One candidate at one size and seed, evaluated on one suite. ``scores`` has one tuple a score."""

    candidate: str
    size: int | None
    seed: int | None
    suite: str
    answers: tuple[Answer, ...]
    scores: Mapping[str, tuple[Score, ...]]
    seconds: float
    numeric_config: str
    training: Training | None = None
    provenance: Provenance | None = None  # None in records of versions that noted none
    asked_with: str = ""  # what stood before each question, in words; empty: not said
    decoding: Mapping[str, Json] = field(
        default_factory=dict
    )  # the settings that the answers were drawn with
    looked_up: Mapping[str, tuple[LookedUp, ...]] = field(default_factory=dict)  # by row, the nearest first

    @property
    def label(self) -> str:
        """``name`` or ``name@size``."""
        return self.candidate if self.size is None else f"{self.candidate}@{self.size}"

    @property
    def bound_to(self) -> str:
        """The JSON schema that its answers were bound to, as people see it; empty: none."""
        schema = self.decoding.get("schema")
        return str(schema.get("name")) if isinstance(schema, Mapping) else ""

    @property
    def schema_digest(self) -> str:
        """Of the content of the schema that its answers were bound to; empty: none."""
        schema = self.decoding.get("schema")
        return str(schema.get("digest")) if isinstance(schema, Mapping) else ""

    @property
    def counts(self) -> AnswerCounts:
        """What became of its questions."""
        return AnswerCounts.of(self.answers)


@dataclass(frozen=True, slots=True)
class SuiteRow:
    """A held-out row as the report shows it."""

    id: str
    question: str
    reference: str
    slices: Mapping[str, str]
    group: str | None = None
    #: numbers and names of the reference that no prompt, question or training row holds; None: not looked for
    unseen_facts: tuple[str, ...] | None = None
    #: digest of all its turns, by which recorded answers are found; None: of a version that kept none
    asked: str | None = None


@dataclass(frozen=True, slots=True)
class ScoreInfo:
    """A score that a suite uses. For judges, ``admission`` is set, and ``spec`` says how they are asked."""

    name: str
    kind: Kind
    description: str
    admission: Admission | None = None
    spec: Mapping[str, Json] = field(default_factory=dict)
    #: whether an admitted judge needs labels of the run to decide; empty in records of versions that asked
    #: for none, and for other scores
    trust: Literal["", "run-labels", "transfer"] = ""


@dataclass(frozen=True, slots=True)
class RowSet:
    """Held-out rows by their content, whatever their order, ids and file are called."""

    digest: str
    n: int  # different rows
    rows: tuple[str, ...]  # short fingerprints, ascending
    bits: int = 0  # of many rows, ``rows`` holds those whose fingerprint ends in so many zero bits


@dataclass(frozen=True, slots=True)
class HeldoutUse:
    """One decision about one candidate that held-out rows have served."""

    decision: str  # fingerprint of the candidate, the rows and what their comparisons gave
    candidate: str  # its name in that run
    identity: str  # fingerprint of its recipe, by content; empty where a version did not note it
    rows: str  # the digest of their ``RowSet``
    verdict: Verdict | None = None  # None where a version did not note it
    level: float = 0.05  # of each one-sided test
    created: str = ""  # of the run; ISO 8601, UTC
    #: when the run began, to the microsecond: the uses of one run share its level between them; empty: of a
    #: version in which each candidate of a run was judged for itself
    run: str = ""


@dataclass(frozen=True, slots=True)
class SuiteInfo:
    """A suite as it was run."""

    name: str
    heldout: str
    heldout_digest: str
    rows: tuple[SuiteRow, ...]
    scores: tuple[ScoreInfo, ...]
    slices: tuple[str, ...]
    prompt_digest: str | None
    uses: int = 1  # decisions about a candidate that these held-out rows have served, this run's included
    #: where the rows' own system messages are in what a prompted side is sent: in the prompt's place for
    #: them, beside the prompt, or replaced by it, since all rows share one; empty: no prompt, or no messages
    own_system: Literal["", "placed", "beside", "replaced"] = ""
    history: tuple[HeldoutUse, ...] = ()  # those decisions, oldest first; of very many, the latest
    row_sets: tuple[RowSet, ...] = ()  # that ``history`` speaks of


@dataclass(frozen=True, slots=True)
class CandidateInfo:
    """A candidate as it was written, and its place in the order of cost."""

    name: str
    kind: str  # "prompted", "few-shot", "qlora", ...
    cost_rank: int
    spec: Mapping[str, Json]
    model: str
    model_digest: str
    baseline: str


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars per million tokens, with where and when they were read. None: not known or not sold."""

    model: str
    input_usd_per_mtok: float
    output_usd_per_mtok: float
    training_usd_per_mtok: float | None
    source: str
    date: str | None  # ISO date; None where the source gives none
    cached_input_usd_per_mtok: float | None = None  # None: as any other prompt token
    hosting_usd_per_hour: float | None = None  # beside the tokens, whether anybody asks or not
    storage_usd_per_gb_month: float | None = None


@dataclass(frozen=True, slots=True)
class PricedScore:
    """A score whose points have a price, and the difference from the baseline at the gated size, on all rows.

    ``difference`` and its two one-sided limits are in score units; None: not measured, and ``why`` says why.
    """

    suite: str
    score: str
    usd_per_point_per_day: float  # a point is 1 of 100
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    why: str = ""
    usd_range: tuple[float, float] | None = None  # 90% of what a point may be worth, where it was given so


@dataclass(frozen=True, slots=True)
class Payback:
    """Dollars a day with their two one-sided limits, and the days until they have paid for the training.

    Limits of dollars are None where rows are too few for an interval. Days are None for never, and where
    there is no interval.
    """

    usd_per_day: float
    low_usd_per_day: float | None
    high_usd_per_day: float | None
    usd_over_horizon: float  # training and data deducted
    days: float | None
    soonest_days: float | None
    latest_days: float | None


@dataclass(frozen=True, slots=True)
class Amount:
    """A figure with its 90% interval; None: unknown, no interval (too few rows), or of days: never."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Swing:
    """What one input moves while the others stay: the outcome at both ends of the input's own 90% range."""

    input: str
    low: float  # in the unit that ``input`` names
    high: float
    usd_at_low: float  # net over the horizon
    usd_at_high: float
    days_at_low: float | None  # the break-even; None: never
    days_at_high: float | None


@dataclass(frozen=True, slots=True)
class Outlook:
    """What shipping costs once, saves, is worth and costs to keep, all together, and when it has paid.

    US dollars, written in ``currency``. Days are None for never.
    """

    preparation_usd: Amount  # once: rows and hours
    training_usd: Amount  # once: the training that ships
    study_usd: float  # all trainings of the run, that one among them
    n_trainings: int
    usd_per_1000_requests: Amount
    baseline_usd_per_1000_requests: Amount
    inference_usd_per_day: Amount  # saved by tokens and hosting
    quality_usd_per_day: Amount | None  # None: no score is priced, or one of them was not measured
    maintenance_usd_per_day: Amount  # a cost
    saving_usd_per_day: Amount  # of all of these, at today's requests
    usd_over_horizon: Amount  # what is paid once deducted
    roi: Amount | None  # of that, for each dollar paid once; None: nothing is
    break_even_days: Amount
    horizon_days: float  # ends with the model, where that ends first
    p_never: float | None = None  # these three are None without an interval
    p_within_90_days: float | None = None
    p_within_horizon: float | None = None
    swings: tuple[Swing, ...] = ()  # the largest first
    warnings: tuple[str, ...] = ()
    ends: str | None = None  # ISO day from which the candidate no longer answers, where one is announced
    growth_per_month: float = 0.0  # of requests
    fixed_usd_per_day: float = 0.0  # hosting and upkeep, which do not grow with the requests
    level: float = 0.9  # of the intervals
    currency: str = "USD"
    usd_per_unit: float = 1.0


@dataclass(frozen=True, slots=True)
class MoneyGate:
    """A claim on money that a test asserts, such as ``break_even_days < 90``."""

    test: str  # its id without the candidate
    candidate: str
    size: int | None
    figure: str
    sign: Literal["<", "<=", ">", ">="]
    bound: float
    amount: Amount | None  # None: it could not be computed
    outcome: Outcome
    reason: str
    place: str = ""  # ``file:line:column`` of the claim


@dataclass(frozen=True, slots=True)
class Economics:
    """What the candidate costs and saves, from token counts measured in this run.

    ``saving_…`` and ``break_even_days`` are of tokens alone.
    """

    candidate: str
    baseline: str
    requests_per_day: float
    horizon_days: float
    baseline_prompt_tokens: float  # mean a request
    baseline_completion_tokens: float
    candidate_prompt_tokens: float
    candidate_completion_tokens: float
    n_requests_measured: int
    training_usd: float  # once: training, and preparing its data
    baseline_usd_per_day: float
    candidate_usd_per_day: float
    saving_usd_per_day: float
    saving_usd_over_horizon: float  # training cost deducted
    break_even_days: float | None  # None: never
    baseline_price: Price
    candidate_price: Price
    notes: tuple[str, ...] = ()
    value_usd_per_point_per_day: float | None = None  # in records of versions that did not name the score
    baseline_cached_prompt_tokens: float = 0.0  # mean a request, of its prompt tokens
    candidate_cached_prompt_tokens: float = 0.0
    training_row_usd: float | None = None  # to write and check one more row
    data_preparation_usd: float | None = None  # of training_usd; None: that version did not note it apart
    rows_used: int | None = None  # the project's rows that the candidate was trained on, or is shown
    tokens_alone: Payback | None = None  # None in records of versions without intervals
    #: tokens, priced_scores and maintenance; None: neither of the latter, or a score was not measured
    with_quality: Payback | None = None
    priced_scores: tuple[PricedScore, ...] = ()
    outlook: Outlook | None = None  # None in records of earlier versions


@dataclass(frozen=True, slots=True)
class SpendingLine:
    """What one hosted model was billed for one purpose; in a rehearsal, what it would have been."""

    purpose: Literal["training", "answers", "judging"]
    model: str
    is_tuned: bool  # a fine-tuned model, which has a price of its own
    usd: float  # the most it can be where the bill of a call is not known
    calls: int  # billed ones; training has one for each job
    prompt_tokens: int | None  # None where a bill came without them
    completion_tokens: int | None


@dataclass(frozen=True, slots=True)
class LabelFile:
    """A file of labels that a run was decided with."""

    name: str
    digest: str  # SHA-256 of its bytes
    n_labels: int


@dataclass(frozen=True, slots=True)
class Rung:
    """A candidate's place in a ladder, and what came of it. Costs are measured; None: not known, no price."""

    candidate: str
    size: int | None
    rank: int  # 1: the cheapest
    cost_rank: int  # of its kind
    outcome: Literal["holds", "fails", "undecided", "not tried"]
    why: str = ""
    usd_per_1000_requests: float | None = None
    latency_ms: float | None = None  # mean of a request
    training_usd: float | None = None

    @property
    def label(self) -> str:
        """``name`` or ``name@size``."""
        return self.candidate if self.size is None else f"{self.candidate}@{self.size}"


@dataclass(frozen=True, slots=True)
class Ladder:
    """The candidates of a run in the order of their cost, and the cheapest whose gates all hold."""

    rungs: tuple[Rung, ...]
    mode: Literal["first", "all"]  # ended at the first that holds, or tried every one
    level: float  # one-sided, that each gate of a rung had to meet
    answer: str | None  # the label of the cheapest rung that holds
    order: str  # how it came about, in words
    stopped_before_usd: float | None = None  # what was not spent; None: nothing, or no price tells


@dataclass(frozen=True, slots=True)
class SinceReference:
    """Where a candidate says or scores otherwise than the reference did, on the rows of a suite."""

    candidate: str
    suite: str
    rows: int  # that both have
    answers: tuple[str, ...]  # rows whose answer is another one
    scores: Mapping[str, Mapping[str, tuple[float, float]]]  # by score, by row: then and now, over seeds
    less_is_better: tuple[str, ...] = ()  # scores of which the suite asks for less


@dataclass(frozen=True, slots=True)
class HeldTo:
    """The reference that a run was held to, and what of it could be compared."""

    path: str
    label: str
    run: str
    created: str
    margin: float  # in score units: what a score may lose, where no guard of the suite says
    said: tuple[str, ...]  # what was compared, what was not, and why, in sentences
    blessed: str = ""
    by: str = ""
    why: str = ""
    prompt_tokens: float | None = None  # means of a request
    completion_tokens: float | None = None
    latency_ms: float | None = None
    changes: tuple[SinceReference, ...] = ()


@dataclass(frozen=True, slots=True)
class RunRecord:
    """Everything one run did and saw. The reports show nothing that is not in it."""

    id: str
    created: str  # ISO 8601, UTC
    command: str
    gate_policy: Literal["release", "regression"]
    alpha: float
    candidates: tuple[CandidateInfo, ...]
    suites: tuple[SuiteInfo, ...]
    trials: tuple[Trial, ...]
    gates: tuple[Gate, ...]
    decisions: tuple[Decision, ...]
    economics: tuple[Economics, ...]
    environment: Mapping[str, str]  # versions, machine
    timings_s: Mapping[str, float]  # training, generation, scoring, total
    notes: tuple[str, ...] = ()
    rehearsal: bool = False  # hosted models were a local twin's
    spending: tuple[SpendingLine, ...] = ()
    max_usd: float | None = None  # the cap on spending
    decided_from: str = ""  # the id of the run whose answers were labelled, where it was decided with labels
    label_files: tuple[LabelFile, ...] = ()
    ladder: Ladder | None = None
    economics_toml: str = ""  # the project's file of prices, as it was; empty: none, or an earlier version
    money_gates: tuple[MoneyGate, ...] = ()
    held_to: HeldTo | None = None  # the reference run; None: there was none
    schema: int = SCHEMA_VERSION


# --------------------------------------------------------------------------- why it fails in production
Cause: TypeAlias = Literal["leaks", "long tail", "shift", "overfitting", "base", "forgetting"]


@dataclass(frozen=True, slots=True)
class CauseTest:
    """One thing that was looked at for one cause. Effects lie in [-1, 1]; ``measure`` says of what."""

    cause: Cause
    what: str
    said: str  # the figures in words, or why it was not looked at
    measure: str = ""
    n: tuple[int, int] = (0, 0)  # what is tested, and what it is compared with
    effect: float | None = None  # None: not looked at
    low: float | None = None  # limits of a 95% interval
    high: float | None = None
    p: float | None = None
    adjusted: float | None = None  # Holm's, for all tests of the diagnosis
    detectable: float | None = None  # the least effect that is found 8 times in 10 with these n
    is_shown: bool = False
    next_step: str = ""


@dataclass(frozen=True, slots=True)
class Category:
    """A value of a field, and how often each kind of row has it."""

    field: str
    value: str
    training: int
    heldout: int
    right: float | None  # share of the held-out ones that it got right; None: not known
    failures: int
    is_thin: bool  # whether the training rows hardly cover it


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why a candidate that scored well fails on these rows, as far as its run and its rows tell."""

    run: str
    candidate: str  # its label
    suite: str
    file: str  # of the failures
    failures: int
    training: int
    heldout: int
    judged: int  # held-out rows of which a check says whether it was right
    right: int  # of those
    level: float
    tests: tuple[CauseTest, ...]  # in the order in which they were looked at
    causes: tuple[Cause, ...]  # those that are shown, the strongest first
    categories: tuple[Category, ...]  # those with the largest excess of failures
    notes: tuple[str, ...] = ()
    schema: int = 1
