"""Charts as SVG for a page that follows the reader's light or dark theme.

Matplotlib draws in stand-in colours; each is then replaced by a CSS custom property of the page
(``--ink``, ``--rule``, ``--c0`` ...). Text stays text, in the page's own font. Names that came from a
run are drawn as text that is no formula, with hidden characters spelled out, and escaped like any XML.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from math import ceil, floor, hypot, log10
from typing import TYPE_CHECKING, Literal

from markupsafe import Markup

from harness.report.rows import shown
from harness.report.view_models import (
    Curve,
    CurveLine,
    CurveMark,
    Forest,
    OverTime,
    RungChart,
    Span,
    TrainingCurves,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SMALLEST_SPAN = 10.0  # points
_INK, _RULE = "#010101", "#020202"
_STAND_INS = {
    "ink": _INK,
    "rule": _RULE,
    **{f"c{place}": f"#0300{place:02x}" for place in range(8)},  # candidates; c0 is the baseline's
    **{f"s{place}": f"#0400{place:02x}" for place in range(6)},  # training sizes, in order
    **{tone: f"#0500{place:02x}" for place, tone in enumerate(("good", "bad", "unsure", "plain"))},
    "panel": "#060606",
}
_STYLE: dict[str, object] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "text.parse_math": False,
    "font.size": 11,
    "axes.edgecolor": _RULE,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": _RULE,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
}


def learning_curve(curve: Curve, name: str) -> Markup:
    """Means over training size with their intervals and forecasts, on a logarithmic axis of rows.

    Args:
        curve: its means and limits are in points.
        name: unique on the page; prefixes every id inside the SVG.
    """
    with _figure(3.0) as figure:
        axes = figure.add_subplot()
        for band in curve.bands:
            (mark,), colour = band.marks, _STAND_INS[band.colour]
            style = "-" if band.is_baseline else (0, (4, 3))
            axes.axhline(mark.mean, color=colour, linewidth=1.6, linestyle=style)
            if band.is_baseline and mark.low is not None and mark.high is not None:
                axes.axhspan(mark.low, mark.high, color=colour, alpha=0.16, linewidth=0)
        for place, line in enumerate(curve.lines):
            colour, shift = _STAND_INS[line.colour], 1 + 0.03 * place  # lines of one size stand side by side
            by_size: dict[int, list[float]] = {}
            for mark in line.marks:
                by_size.setdefault(mark.size, []).append(mark.mean)
                if mark.low is not None and mark.high is not None:
                    axes.vlines(
                        mark.size * shift, mark.low, mark.high, color=colour, linewidth=1.8, alpha=0.75
                    )
                axes.plot(mark.size * shift, mark.mean, "o", color=colour, markersize=5.5)
            means = [sum(values) / len(values) for values in by_size.values()]
            axes.plot([size * shift for size in by_size], means, color=colour, linewidth=1.8)
            if line.ahead is not None:
                start, to = line.ahead.from_mean, line.ahead.to
                ends = line.ahead.from_size * shift, to.size * shift
                axes.plot(ends, (start, to.mean), color=colour, linewidth=1.8, linestyle=(0, (1, 1.5)))
                if to.low is not None and to.high is not None:
                    limits = (start, to.low), (start, to.high)
                    axes.fill_between(ends, *limits, color=colour, alpha=0.16, linewidth=0)
        sizes = sorted({mark.size for line in curve.lines for mark in _marks(line)})
        axes.set_xscale("log")
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.minorticks_off()
        if sizes:
            axes.set_xlim(sizes[0] / 1.35, sizes[-1] * 1.35)
        axes.set_ylim(*_score_limits(curve))
        axes.set_xlabel("rows trained on")
        axes.set_ylabel(curve.y_label)
        return _svg(figure, name, curve.description)


def training_curve(curves: TrainingCurves, measure: Literal["loss", "accuracy"], name: str) -> Markup:
    """A measure over epochs: development solid, training dashed. ``name`` is unique on the page."""
    with _figure(2.9) as figure:
        axes = figure.add_subplot()
        for line in curves.lines:
            train, dev = line.loss if measure == "loss" else line.accuracy
            colour = _STAND_INS[line.colour]
            if train:
                axes.plot(*zip(*train, strict=True), color=colour, linewidth=1.2, dashes=(3, 2), alpha=0.85)
            if dev:
                axes.plot(*zip(*dev, strict=True), "o-", color=colour, linewidth=1.8, markersize=3.5)
        y_label = "loss (nats a token)" if measure == "loss" else "token accuracy (%)"
        axes.set_xlabel("epoch")
        axes.set_ylabel(y_label)
        return _svg(figure, name, f"{y_label}. {curves.description}")


def rung_chart(chart: RungChart, name: str) -> Markup:
    """Rungs by cost and quality, each named by its rank; the efficient ones are joined.

    Args:
        chart: costs may be 0, which a logarithmic axis shows at its left end.
        name: unique on the page; prefixes every id inside the SVG.
    """
    costs = sorted({mark.cost for mark in chart.marks})
    least = next((cost for cost in costs if cost > 0), 1.0)
    xs = {cost: log10(cost or least / 3) if chart.is_log else cost for cost in costs}
    first, last = xs[costs[0]], xs[costs[-1]]
    margin = max(0.1 * (last - first), 0.06 * last if not chart.is_log else 0.1, 1e-9)
    ends = [v for m in chart.marks for v in (m.quality, m.low, m.high) if v is not None] + [0.0]
    low, high = min(ends), max(ends)
    rise = 0.08 * max(high - low, _SMALLEST_SPAN)
    # in marks: those that would cover each other stand side by side
    wide, tall = 24.0 / (last - first + 2 * margin), 13.0 / (high - low + 2 * rise)
    places: dict[int, tuple[float, float]] = {}
    for mark in chart.marks:
        x, y = xs[mark.cost], mark.quality
        while any(hypot((x - a) * wide, (y - b) * tall) < 0.9 for a, b in places.values()):
            x += 0.25 / wide
        places[mark.rank] = x, y
    with _figure(3.1) as figure:
        axes = figure.add_subplot()
        axes.axhline(0.0, color=_RULE, linewidth=1.6)
        joined = [places[rank] for rank in chart.line]
        axes.plot(*zip(*joined, strict=True), color=_INK, linewidth=1.2, alpha=0.55)
        for mark in chart.marks:
            colour, (x, y) = _STAND_INS[mark.tone], places[mark.rank]
            if mark.low is not None and mark.high is not None:
                axes.vlines(x, mark.low, mark.high, color=colour, linewidth=1.6, alpha=0.5)
            size, width = (17.0, 3.0) if mark.is_answer else (14.0, 1.4)
            axes.plot(x, y, "o", ms=size, mew=width, mec=colour, mfc=_STAND_INS["panel"])
            axes.annotate(str(mark.rank), (x, y), ha="center", va="center", fontsize=9.5, color=_INK)
        right = max(last, *(x for x, _ in places.values())) + margin
        axes.set_xlim(first - margin, right)
        axes.set_ylim(low - rise, high + rise)
        axes.locator_params("x", nbins=6)
        ticks = {xs[0.0]: 0.0} if chart.is_log and costs[0] == 0 else {}
        for tick in _round_numbers(least / 1.2, costs[-1] * 1.2) if chart.is_log else axes.get_xticks():
            x = log10(tick) if chart.is_log else float(tick)
            ticks |= {x: float(tick)} if first - margin <= x <= right and tick >= 0 else {}
        texts = {_tick(cost, is_usd=chart.is_usd): x for x, cost in ticks.items()}  # no text twice
        axes.set_xticks([*texts.values()], [*texts])
        axes.set_xlabel(chart.x_label)
        axes.set_ylabel(chart.y_label)
        return _svg(figure, name, chart.description)


def forest(plot: Forest, name: str) -> Markup:
    """Intervals below each other, each below its name, with zero and what it has to clear; or a tornado.

    Args:
        plot: its values share a unit, which its label names.
        name: unique on the page; prefixes every id inside the SVG.
    """
    row, foot = 0.45, 0.46  # inches
    height = row * len(plot.spans) + foot
    ends = [
        v for s in plot.spans for v in (s.value, s.low, s.high, s.bound, plot.centre) if v is not None
    ] + ([] if plot.is_tornado else [0.0])
    low, high = min(ends), max(ends)
    margin = 0.05 * (high - low) or 1.0
    with _figure(height, layout=None) as figure:
        axes = figure.add_axes((0.012, foot / height, 0.976, 1 - foot / height))
        axes.set_xlim(low - margin, high + margin)
        axes.set_ylim(-len(plot.spans), 0)
        axes.set_yticks([])
        axes.grid(visible=False)
        across = axes.get_yaxis_transform()  # x in shares of the width
        for place, span in enumerate(plot.spans):
            top, middle, colour = -place - 0.14, -place - 0.72, _STAND_INS[span.tone]
            axes.text(0, top, shown(span.name), transform=across, va="top", fontsize=10, color=_INK)
            axes.text(1, top, span.said, transform=across, va="top", ha="right", fontsize=9.5, color=_INK)
            if place:
                axes.axhline(-place, color=_RULE, linewidth=0.7)
            axes.vlines(plot.centre, middle - 0.22, middle + 0.22, color=_INK, linewidth=0.9, alpha=0.6)
            _span(axes, span, plot, middle, colour)
        axes.set_xlabel(plot.x_label, fontsize=9.5)
        axes.tick_params("x", labelsize=9.5)
        axes.locator_params("x", nbins=7)
        axes.xaxis.set_major_formatter(lambda value, _: _short(value))
        return _svg(figure, name, plot.description)


def _span(axes: Axes, span: Span, plot: Forest, middle: float, colour: str) -> None:
    low, high = span.low, span.high
    if low is not None and high is not None and plot.is_tornado:
        axes.barh(middle, high - low, 0.36, left=low, color=_STAND_INS["c1"], alpha=0.6, linewidth=0)
    elif low is not None and high is not None:
        axes.hlines(middle, low, high, color=colour, linewidth=5, alpha=0.45)
    if not plot.is_tornado:
        axes.plot(span.value, middle, "o", color=colour, markersize=6.5)
    if span.bound is not None:
        ends = middle - 0.26, middle + 0.26
        axes.vlines(span.bound, *ends, color=_INK, linewidth=1.6, linestyle=(0, (2, 1.4)))


def over_time_chart(chart: OverTime, name: str) -> Markup:
    """Money over days with their band, the zero line, and the day on which they cross it."""
    with _figure(2.9) as figure:
        axes = figure.add_subplot()
        days = [day for day, *_ in chart.points]
        axes.axhline(0.0, color=_INK, linewidth=1.0, alpha=0.6)
        band = [
            (day, low, high) for day, _, low, high in chart.points if low is not None and high is not None
        ]
        colour = _STAND_INS["c1"]
        if band:
            when, low, high = zip(*band, strict=True)
            axes.fill_between(when, low, high, color=colour, alpha=0.18, linewidth=0)
        axes.plot(days, [value for _, value, *_ in chart.points], color=colour, linewidth=1.8)
        if chart.even_day is not None:
            axes.plot(
                chart.even_day, 0.0, "o", ms=8, mew=1.8, mec=colour, mfc=_STAND_INS["panel"], clip_on=False
            )
        axes.set_xlim(0.0, days[-1])
        axes.set_xlabel("days")
        axes.set_ylabel(chart.y_label)
        axes.yaxis.set_major_formatter(lambda value, _: _short(value))
        return _svg(figure, name, chart.description)


def _short(value: float) -> str:
    """A number for a tick: ``0.5``, ``1,200``, ``12k``, ``3.4M``."""
    for scale, sign in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= 10 * scale or (sign == "M" and abs(value) >= scale):
            return f"{value / scale:,.3g}{sign}".replace("-", "\N{MINUS SIGN}")
    return f"{value:,.4g}".replace("-", "\N{MINUS SIGN}")


def _round_numbers(least: float, most: float) -> list[float]:
    """At most six round numbers between two positive ones, evenly spread on a logarithmic axis."""
    powers = range(floor(log10(least)), ceil(log10(most)) + 1)
    found: list[float] = []
    for units in ((1, 2, 5), (1, 3), (1,)):
        found = [unit * 10.0**power for power in powers for unit in units]
        found = [number for number in found if least <= number <= most]
        if len(found) <= 6:
            break
    return found[:: -(-len(found) // 6) or 1]


def _tick(cost: float, *, is_usd: bool) -> str:
    if not is_usd:
        return f"{cost:,.4g}" if cost < 10_000 else f"{cost / 1000:,.0f}k"
    return f"${cost:,.10f}".rstrip("0").rstrip(".")  # as it is: $0.0325 is not $0.033


def _score_limits(curve: Curve) -> tuple[float, float]:
    """As much of 0 to 100 as is needed, but never so little that noise looks like a mountain."""
    marks = [mark for line in (*curve.lines, *curve.bands) for mark in _marks(line)]
    values = [v for mark in marks for v in (mark.mean, mark.low, mark.high) if v is not None]
    low, high = min(values, default=0.0), max(values, default=100.0)
    missing = max(0.0, _SMALLEST_SPAN - (high - low)) / 2
    margin = 0.06 * (high - low + 2 * missing)
    return max(low - missing - margin, -1.5), min(high + missing + margin, 101.5)


def _marks(line: CurveLine) -> list[CurveMark]:
    """What was measured, then the forecast."""
    return [*line.marks, *([] if line.ahead is None else [line.ahead.to])]


@contextmanager
def _figure(height_in: float, layout: Literal["constrained"] | None = "constrained") -> Iterator[Figure]:
    """A figure of its own, without pyplot and its register of open figures."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_STYLE):  # type: ignore[arg-type]  # keys are validated when set
        yield Figure(figsize=(5.2, height_in), layout=layout)


def _svg(figure: Figure, name: str, description: str) -> Markup:
    """The drawing without prolog, metadata, namespaces and fonts, in the page's colours, ids its own."""
    page = StringIO()
    kept = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with warnings.catch_warnings():  # its font lacks signs that the page's have
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(page, format="svg", transparent=True, metadata=kept)
    body = re.sub(r"<!--.*?-->\s*|<(metadata|style)\b.*?</\1>\s*", "", page.getvalue(), flags=re.DOTALL)
    body = re.sub(r">\s+<", "><", body)
    body = re.sub(r"<g id=\"(?!figure)[^\"]*\">", "<g>", body)  # nothing refers to a group
    body = re.sub(r'\b(?:xlink:)?(id="|url\(#|href="#)', rf"\g<1>{name}-", body)
    body = re.sub(r"font-family: [^;\"]+;? ?", "", body)
    body = re.sub(r"font: (?:\w+ )*([\d.]+)px [^;\"]+", r"font-size: \1px", body)
    for variable, colour in _STAND_INS.items():
        body = body.replace(colour, f"var(--{variable})")
    _, frame, inside = re.split(r'<svg[^>]*? viewBox="([^"]+)"[^>]*>', body, maxsplit=1)
    opening = Markup(
        '<svg class="chart" role="img" aria-labelledby="{}-desc" viewBox="{}"><desc id="{}-desc">{}</desc>'
    )
    return opening.format(name, frame, name, description) + Markup(inside)
