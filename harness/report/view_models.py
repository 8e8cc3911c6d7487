"""The report as data: every block holds text that is ready to print, or plain floats for a chart.

Templates and Markdown lay these out and compute nothing. All text that came from a run (answers,
questions, reasons, names) is held raw here; whoever renders a block escapes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Tone: TypeAlias = Literal["good", "bad", "unsure", "plain"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table. ``numeric`` cells are right-aligned with tabular figures."""

    text: str
    numeric: bool = False


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table of text. The first cell of every row names the row."""

    caption: str
    head: tuple[Cell, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


# --------------------------------------------------------------------------- decision
@dataclass(frozen=True, slots=True)
class DecisionCard:
    """The decision for one candidate: verdict, tone, then its reasons, strongest first."""

    subject: str
    verdict: str
    tone: Tone
    means: str  # the verdict in one plain sentence
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Caution:
    """Something to know before trusting the decision, with its figures as (name, value)."""

    title: str
    details: tuple[str, ...] = ()
    figures: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Headline:
    """The top of the report."""

    title: str
    run_id: str
    created: str
    stamps: tuple[str, ...]  # such as REHEARSAL
    notes: tuple[str, ...]  # the run's
    cards: tuple[DecisionCard, ...]
    cautions: tuple[Caution, ...]
    policy: str
    spending: str  # the bill in one sentence; empty where there is none


# --------------------------------------------------------------------------- comparisons
@dataclass(frozen=True, slots=True)
class IntervalPlot:
    """Positions in percent of the plot's width. ``bound`` is what the interval has to clear.

    ``axis_low`` and ``axis_high`` are the ends of the axis, in points; zero is in the middle.
    """

    low: float
    width: float
    point: float
    zero: float
    bound: float | None
    tone: Tone
    axis_low: str
    axis_high: str
    label: str


@dataclass(frozen=True, slots=True)
class ComparisonLine:
    """One comparison, formatted. The defaults are those of a gate that was not run.

    ``subject`` is the candidate with its size and seeds. ``clusters`` and ``failed`` are empty where there
    are none, and ``reason`` where nothing is claimed.
    """

    suite: str
    test: str
    score: str
    role: str
    state: str
    subject: str
    outcome: str
    tone: Tone
    reason: str
    baseline: str = "–"
    n: str = "–"
    clusters: str = ""
    failed: str = ""
    baseline_mean: str = "–"
    candidate_mean: str = "–"
    difference: str = "–"
    interval: str = "–"
    method: str = "–"
    plot: IntervalPlot | None = None


@dataclass(frozen=True, slots=True)
class Comparisons:
    """All comparisons, gates first. Those of one score and suite are drawn on one scale.

    ``power`` says what each suite's rows can show; ``changes`` which suites changed at all.
    """

    lines: tuple[ComparisonLine, ...]
    note: str
    power: tuple[str, ...]
    changes: TextTable | None


# --------------------------------------------------------------------------- learning curve
@dataclass(frozen=True, slots=True)
class CurveMark:
    """The mean score of one trial with its interval, in points (0 to 100). ``size`` is in rows."""

    size: int
    seed: int | None
    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class CurveLine:
    """One trained candidate over its sizes, in order. Several marks of one size are its seeds."""

    label: str
    colour: int  # index into the palette
    marks: tuple[CurveMark, ...]


@dataclass(frozen=True, slots=True)
class Band:
    """A candidate without a size: its mean and interval, in points, over the whole width."""

    label: str
    colour: int
    mean: float
    low: float | None
    high: float | None
    is_baseline: bool


@dataclass(frozen=True, slots=True)
class Curve:
    """One score over training size, as a chart, and the same numbers as a table."""

    title: str
    y_label: str
    lines: tuple[CurveLine, ...]
    bands: tuple[Band, ...]
    table: TextTable
    forecast: tuple[str, ...]  # what more rows would give, a sentence each
    description: str  # for those who do not see the chart


# --------------------------------------------------------------------------- slices
@dataclass(frozen=True, slots=True)
class SliceLine:
    """One slice of one score."""

    key: str
    value: str
    n: str
    baseline_mean: str
    candidate_mean: str
    difference: str
    interval: str
    p_adjusted: str
    tone: Tone
    plot: IntervalPlot | None


@dataclass(frozen=True, slots=True)
class Slices:
    """One score of one suite broken down by row metadata, furthest from zero first."""

    title: str
    lines: tuple[SliceLine, ...]
    axis_low: str
    axis_high: str
    note: str


# --------------------------------------------------------------------------- answers
@dataclass(frozen=True, slots=True)
class Folded:
    """A text: its beginning, the whole where that is longer, and what had to be left out."""

    head: str
    whole: str | None
    left_out: str


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
    answer: Folded
    failure: str
    chips: tuple[ScoreChip, ...]


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """One held-out row with every answer to it."""

    id: str
    tags: str  # "changed wrong": what the filter buttons read
    change: str  # in words: which scores were gained or lost
    tone: Tone
    question: Folded
    reference: Folded
    slices: tuple[tuple[str, str], ...]
    cells: tuple[AnswerCell, ...]


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers to one suite side by side: those that changed first."""

    title: str
    rows: tuple[AnswerRow, ...]
    n_changed: str
    n_wrong: str
    n_all: str
    note: str


# --------------------------------------------------------------------------- training
@dataclass(frozen=True, slots=True)
class LossLine:
    """One training: (epoch, value) pairs; token accuracies in percent."""

    label: str
    colour: int
    train_loss: tuple[tuple[float, float], ...]
    dev_loss: tuple[tuple[float, float], ...]
    train_accuracy: tuple[tuple[float, float], ...]
    dev_accuracy: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class TrainingCurves:
    """The trainings of one candidate, one line for each size and seed."""

    title: str
    lines: tuple[LossLine, ...]
    description: str


@dataclass(frozen=True, slots=True)
class TrainingBlock:
    """How the adapters came to be."""

    curves: tuple[TrainingCurves, ...]
    table: TextTable
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CostBlock:
    """What one candidate costs and saves."""

    table: TextTable
    prices: TextTable
    verdict: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SpendingBlock:
    """The bills of this run; ``reconciliation`` compares them with the economics, a sentence each."""

    table: TextTable
    reconciliation: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunBlock:
    """What was run."""

    command: str
    tables: tuple[TextTable, ...]


@dataclass(frozen=True, slots=True)
class ReportView:
    """The whole report, in reading order."""

    headline: Headline
    curves: tuple[Curve, ...]
    comparisons: Comparisons
    slices: tuple[Slices, ...]
    slices_note: str
    answers: tuple[Answers, ...]
    costs: tuple[CostBlock, ...]
    spending: SpendingBlock | None
    training: TrainingBlock
    run: RunBlock
