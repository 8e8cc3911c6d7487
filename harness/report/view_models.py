"""The report as data: every block holds text that is ready to print, or plain floats for a chart.

Templates and Markdown lay these out and compute nothing. All text that came from a run (answers,
questions, reasons, names) is held raw here; whoever renders a block escapes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

Tone: TypeAlias = Literal["good", "bad", "unsure", "plain"]
Series: TypeAlias = Sequence[tuple[float, float]]  # (epoch, value)


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table of text, whose rows are named by their first cells. A head that ends in ``#`` is of numbers."""

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    @property
    def columns(self) -> list[tuple[str, bool]]:
        """Each column's name, and whether its cells are numbers: right-aligned, with tabular figures."""
        return [(head.removesuffix("#"), head.endswith("#")) for head in self.heads]


@dataclass(frozen=True, slots=True)
class DecisionCard:
    """The decision for one candidate: verdict, tone, then its reasons, strongest first."""

    subject: str
    verdict: str
    tone: Tone
    means: str  # the verdict in one plain sentence
    reasons: Sequence[str]
    notes: Sequence[str] = ()  # to know before the verdict is trusted
    forecast: str = ""  # of an undecided one: how likely GO is with these rows, and what it takes
    speaks_of: str = ""  # the candidate, its baseline and the rows, in a sentence
    plainly: Sequence[Fact] = ()  # why, what it earns or costs and breaks, and what to do next


@dataclass(frozen=True, slots=True)
class Caution:
    """Something to know before trusting the decision."""

    title: str
    details: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class RungMark:
    """One rung in a picture: what it costs, and its difference to the baseline with its limits, in points."""

    rank: int
    cost: float
    quality: float
    low: float | None
    high: float | None
    tone: Tone
    is_answer: bool


@dataclass(frozen=True, slots=True)
class RungChart:
    """Quality against cost or latency; ``line`` holds the ranks of the efficient rungs, ascending by cost."""

    title: str
    marks: Sequence[RungMark]
    line: Sequence[int]
    x_label: str
    y_label: str
    is_log: bool
    is_usd: bool
    description: str
    note: str


@dataclass(frozen=True, slots=True)
class LadderBlock:
    """What a ladder answered: the cheapest rung that holds, what the next adds, and what each costs."""

    verdict: str
    tone: Tone
    means: str
    facts: Sequence[Fact]
    charts: Sequence[RungChart]
    table: TextTable
    whys: Sequence[str]  # of each outcome
    crossovers: TextTable | None


@dataclass(frozen=True, slots=True)
class Headline:
    """The top of the report."""

    title: str
    run_id: str
    created: str
    stamp: str  # to be read before anything else, such as REHEARSAL; or empty
    notes: Sequence[str]  # the run's
    cards: Sequence[DecisionCard]
    cautions: Sequence[Caution]
    policy: str
    spending: str  # the bill in one sentence; empty where there is none
    together: TextTable | None = None  # the level that each of several candidates met
    ladder: LadderBlock | None = None
    reference: Sequence[str] = ()  # the reference run that it was held to, and what it would have shown
    evidence: Sequence[Fact] = ()  # what failures point to: whose, to what, and why

    @property
    def n_cautions(self) -> str:
        """How many there are, in words; empty for none."""
        n = len(self.cautions)
        return "" if not n else "1 thing" if n == 1 else f"{n:,} things"


@dataclass(frozen=True, slots=True)
class IntervalPlot:
    """Positions in percent of the plot's width; zero is in the middle."""

    low: float
    width: float
    point: float
    bound: float | None  # what the interval has to clear
    tone: Tone
    axis: tuple[str, str]  # its two ends, in points
    label: str


@dataclass(frozen=True, slots=True)
class Figures:
    """A comparison, formatted. ``clusters`` and ``failed`` are empty where there are none."""

    tone: Tone
    n: str = "–"
    clusters: str = ""
    failed: str = ""
    baseline_mean: str = "–"
    candidate_mean: str = "–"
    difference: str = "–"
    interval: str = "–"
    plot: IntervalPlot | None = None


@dataclass(frozen=True, slots=True)
class ComparisonLine:
    """One comparison of a suite. ``reason`` is empty where nothing is claimed."""

    suite: str
    test: str
    score: str
    role: str
    state: str
    subject: str  # the candidate with its size and seeds
    outcome: str
    reason: str
    figures: Figures
    baseline: str = "–"
    method: str = "–"
    mde: str = "–"  # the smallest true difference that its rows show 8 times in 10

    @property
    def sides(self) -> str:
        """What is compared with what."""
        return f"{self.subject} against {self.baseline}"

    @property
    def is_minor(self) -> bool:
        """Whether it is neither a gate nor the advice of one."""
        return self.state in ("measured", "no gate")


@dataclass(frozen=True, slots=True)
class Fact:
    """A figure or a property, with what it means to those who do not know its name."""

    name: str
    value: str
    words: str = ""


@dataclass(frozen=True, slots=True)
class Opposed:
    """An answer of which a judge and people said opposite things; scores are out of 100."""

    where: str
    question: str
    answer: str
    said: str  # by the judge
    people: str
    reason: str  # the judge's; or empty


@dataclass(frozen=True, slots=True)
class JudgeBlock:
    """One judge of one suite: all that there is to be sceptical about."""

    title: str
    said: str  # whether it decides, in a word
    tone: Tone
    means: str  # the same in a sentence
    groups: Sequence[tuple[str, Sequence[Fact]]]
    more: Sequence[Fact]  # folded
    told: str  # its instructions; or empty
    corrections: Sequence[tuple[str, Sequence[Fact]]]  # of each gate: itself alone, and with labels
    opposed: Sequence[Opposed]
    commands: Sequence[str]


@dataclass(frozen=True, slots=True)
class Comparisons:
    """All comparisons, gates first. Those of one score and suite are drawn on one scale."""

    lines: Sequence[ComparisonLine]
    note: str
    power: Sequence[str]  # what each suite's rows can show
    changes: TextTable | None  # which suites changed at all

    @property
    def gates(self) -> list[ComparisonLine]:
        """The lines that decide, and those of gates that advise or are missing."""
        return [line for line in self.lines if not line.is_minor]

    @property
    def others(self) -> list[ComparisonLine]:
        """The lines that decide nothing."""
        return [line for line in self.lines if line.is_minor]


@dataclass(frozen=True, slots=True)
class CurveMark:
    """The mean score of one trial with its interval, in points (0 to 100)."""

    size: int  # rows trained on; 0 where it has no size
    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Ahead:
    """A forecast in points (0 to 100): from the mean measured at the largest size to one at more rows."""

    from_size: int
    from_mean: float
    to: CurveMark


@dataclass(frozen=True, slots=True)
class CurveLine:
    """One candidate over its sizes, in order. Several marks of one size are its seeds."""

    label: str
    colour: str  # the page's custom property: c0 is the baseline's
    marks: Sequence[CurveMark]
    is_baseline: bool = False
    ahead: Ahead | None = None


@dataclass(frozen=True, slots=True)
class CurveForecast:
    """One candidate's forecast of one score as text; where there is none, ``why_not`` alone."""

    candidate: str
    why_not: str = ""
    largest: int = 0  # training size that was measured; the forecast is at twice as many rows
    measured: str = ""
    ahead: str = ""
    gain: str = ""
    small_gain: str = ""  # how likely less than a point is
    check: str = ""  # what the smaller sizes forecast for the largest
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Curve:
    """One score over training size, as a chart, and the same numbers as a table."""

    title: str
    y_label: str
    lines: Sequence[CurveLine]
    bands: Sequence[CurveLine]  # of one mark each, without a size: drawn over the whole width
    table: TextTable
    forecasts: Sequence[CurveForecast]
    worth: Sequence[str]  # what more rows are worth, a sentence each
    description: str  # for those who do not see the chart


@dataclass(frozen=True, slots=True)
class Forecasts:
    """The forecasts of all scores, explained once, and what is to be known about single ones."""

    table: TextTable | None
    notes: Sequence[str]


@dataclass(frozen=True, slots=True)
class SliceLine:
    """One slice of one score."""

    key: str
    value: str
    figures: Figures
    p_adjusted: str


@dataclass(frozen=True, slots=True)
class Slices:
    """One score of one suite broken down by row metadata, furthest from zero first."""

    title: str
    lines: Sequence[SliceLine]
    axis: tuple[str, str]
    note: str
    forest: Forest | None = None  # of the first scores that gates assert


@dataclass(frozen=True, slots=True)
class Marked:
    """A text in parts, each with whether it is marked as differing from the text that it is held against."""

    parts: Sequence[tuple[str, bool]]

    @property
    def text(self) -> str:
        """The whole of it."""
        return "".join(part for part, _ in self.parts)


@dataclass(frozen=True, slots=True)
class ScoreChip:
    """One score of one answer, with its reason."""

    name: str
    value: str
    tone: Tone
    reason: str


@dataclass(frozen=True, slots=True)
class AnswerCell:
    """One trial's answer to the row, with its scores."""

    label: str
    is_baseline: bool
    answer: Marked
    note: str  # why there is none, that it was cut off, which route it took; or empty
    chips: Sequence[ScoreChip]


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """One held-out row with the answers of both sides."""

    id: str
    outcome: str  # "lost", "won", "both wrong", ...
    change: str  # in words: which scores were won or lost
    tone: Tone
    question: str
    reference: Marked
    slices: Sequence[tuple[str, str]]
    cells: Sequence[AnswerCell]


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers of a candidate and its baseline to one suite: the largest losses first.

    With ``since_reference``, the candidate's alone, to rows that were lost or won since the reference run.
    """

    title: str
    rows: Sequence[AnswerRow]
    note: str
    n_changed: str
    since_reference: bool = False


@dataclass(frozen=True, slots=True)
class RowsData:
    """All rows for the page's browser, as ``rows.packed_rows`` packs them, and what there is of them."""

    packed: str
    note: str


@dataclass(frozen=True, slots=True)
class TrainingLine:
    """One training, each of its measures over training rows and over development rows."""

    label: str
    colour: str  # s0 ... s5, by size
    loss: tuple[Series, Series]
    accuracy: tuple[Series, Series]  # of tokens, in percent


@dataclass(frozen=True, slots=True)
class TrainingCurves:
    """The trainings of one candidate, one line for each size and seed."""

    title: str
    lines: Sequence[TrainingLine]
    description: str
    table: TextTable


@dataclass(frozen=True, slots=True)
class TrainingBlock:
    """How the adapters came to be."""

    curves: Sequence[TrainingCurves]
    table: TextTable
    flags: Sequence[str]


@dataclass(frozen=True, slots=True)
class CostBlock:
    """What one candidate costs and saves."""

    table: TextTable
    prices: TextTable
    verdict: str
    notes: Sequence[str]
    knowing: TextTable | None = None  # what more rows, labels or seeds are worth before deciding


@dataclass(frozen=True, slots=True)
class SpendingBlock:
    """The bills of this run; ``reconciliation`` compares them with the economics, a sentence each."""

    table: TextTable
    reconciliation: Sequence[str]


@dataclass(frozen=True, slots=True)
class Span:
    """One line of a forest plot: a value with its limits, and what these have to clear."""

    name: str
    said: str  # the same in figures
    value: float
    low: float | None
    high: float | None
    tone: Tone
    bound: float | None = None


@dataclass(frozen=True, slots=True)
class Forest:
    """Values with their intervals below each other, or bars of a tornado around ``centre``."""

    spans: Sequence[Span]
    x_label: str
    description: str  # for those who do not see the picture
    centre: float = 0.0
    is_tornado: bool = False


@dataclass(frozen=True, slots=True)
class OverTime:
    """Money earned until each day, with its limits; the day on which it breaks even."""

    title: str
    points: Sequence[tuple[float, float, float | None, float | None]]  # day, value, low, high
    even_day: float | None
    y_label: str
    description: str
    table: TextTable


@dataclass(frozen=True, slots=True)
class CostPicture:
    """Quality against cost, and the names of its numbers."""

    chart: RungChart
    table: TextTable


@dataclass(frozen=True, slots=True)
class TornadoPicture:
    """What moves the money most."""

    title: str
    forest: Forest
    table: TextTable


@dataclass(frozen=True, slots=True)
class Pictures:
    """Those for which the run has data."""

    gates: Forest | None
    cost: CostPicture | None
    over_time: Sequence[OverTime]
    tornados: Sequence[TornadoPicture]


@dataclass(frozen=True, slots=True)
class ReportView:
    """The whole report, in reading order."""

    headline: Headline
    curves: Sequence[Curve]
    forecasts: Forecasts | None
    comparisons: Comparisons
    judges: Sequence[JudgeBlock]
    slices: Sequence[Slices]
    slices_note: str
    answers: Sequence[Answers]
    rows: RowsData | None
    pictures: Pictures
    costs: Sequence[CostBlock]
    spending: SpendingBlock | None
    training: TrainingBlock
    command: str
    provenance: Sequence[TextTable]
    not_measured: Sequence[str]
