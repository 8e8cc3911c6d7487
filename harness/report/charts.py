"""Charts as SVG for a page that follows the reader's light or dark theme.

Matplotlib draws in stand-in colours; each is then replaced by a CSS custom property of the page
(``--ink``, ``--faint``, ``--c0`` ...). Text stays text, in the page's own font. Nothing that came
from a run is drawn into a chart as text: titles and legends are HTML, so an odd name can do no harm.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from typing import TYPE_CHECKING, TypeAlias

from markupsafe import Markup, escape

from harness.report.view_models import Band, Curve, CurveLine, CurveMark, LossLine, TrainingCurves

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Series: TypeAlias = tuple[tuple[float, float], ...]  # (epoch, value)

_SMALLEST_SPAN = 10.0  # points
INK = "#010101"
FAINT = "#020202"
PALETTE: tuple[str, ...] = tuple(f"#0300{place:02x}" for place in range(8))  # --c0 is the baseline's
SCALE: tuple[str, ...] = tuple(
    f"#0400{place:02x}" for place in range(6)
)  # --s0 ... --s5: training sizes, in order
_VARIABLES = {
    INK: "var(--ink)",
    FAINT: "var(--rule)",
    **{colour: f"var(--c{place})" for place, colour in enumerate(PALETTE)},
    **{colour: f"var(--s{place})" for place, colour in enumerate(SCALE)},
}
_STYLE: dict[str, object] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "text.parse_math": False,
    "font.size": 11,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
}


def learning_curve(curve: Curve, name: str) -> Markup:
    """Means over training size with their intervals, on a logarithmic axis of rows.

    Args:
        curve: its means and limits are in points.
        name: unique on the page; prefixes every id inside the SVG.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    with _figure(5.2, 3.0) as figure:
        axes = figure.add_subplot()
        for band in curve.bands:
            colour, style = _palette(band.colour), "-" if band.is_baseline else (0, (4, 3))
            axes.axhline(band.mean, color=colour, linewidth=1.6, linestyle=style)
            if band.is_baseline and band.low is not None and band.high is not None:
                axes.axhspan(band.low, band.high, color=colour, alpha=0.16, linewidth=0)
        for place, line in enumerate(curve.lines):
            _draw_line(axes, line, place)
        sizes = sorted({mark.size for line in curve.lines for mark in line.marks})
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator([float(size) for size in sizes]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size:,.0f}"))
        axes.xaxis.set_minor_locator(NullLocator())
        if sizes and sizes[0] > 0:
            axes.set_xlim(sizes[0] / 1.35, sizes[-1] * 1.35)
        axes.set_ylim(*_score_limits(curve))
        axes.set_xlabel("rows trained on")
        axes.set_ylabel(curve.y_label)
        return _svg(figure, name, curve.description)


def training_loss(curves: TrainingCurves, name: str) -> Markup:
    """Loss over epochs: development solid, training dashed. ``name`` is unique on the page."""
    series = [(line, line.train_loss, line.dev_loss) for line in curves.lines]
    return _over_epochs(series, "loss (nats a token)", name, curves.description)


def training_accuracy(curves: TrainingCurves, name: str) -> Markup:
    """Token accuracy over epochs: development solid, training dashed. ``name`` is unique on the page."""
    series = [(line, line.train_accuracy, line.dev_accuracy) for line in curves.lines]
    return _over_epochs(series, "token accuracy (%)", name, curves.description)


def colour_of(line: CurveLine | Band) -> str:
    """The CSS colour that the chart draws this line in, for a legend."""
    return _VARIABLES[_palette(line.colour)]


def scale_of(line: LossLine) -> str:
    """The CSS colour that the chart draws this training in, for a legend."""
    return _VARIABLES[_scale(line)]


def _scale(line: LossLine) -> str:
    return SCALE[min(line.colour, len(SCALE) - 1)]


def _palette(place: int) -> str:
    return PALETTE[place if place < len(PALETTE) else 1 + (place - 1) % (len(PALETTE) - 1)]


def _draw_line(axes: Axes, line: CurveLine, place: int) -> None:
    colour, shift = _palette(line.colour), 1 + 0.03 * place  # lines of one size stand side by side
    by_size: dict[int, list[float]] = {}
    for mark in line.marks:
        by_size.setdefault(mark.size, []).append(mark.mean)
        if mark.low is not None and mark.high is not None:
            axes.vlines(mark.size * shift, mark.low, mark.high, color=colour, linewidth=1.8, alpha=0.75)
        axes.plot(mark.size * shift, mark.mean, "o", color=colour, markersize=5.5)
    means = [sum(values) / len(values) for values in by_size.values()]
    axes.plot([size * shift for size in by_size], means, color=colour, linewidth=1.8)


def _score_limits(curve: Curve) -> tuple[float, float]:
    """As much of 0 to 100 as is needed, but never so little that noise looks like a mountain."""
    marks: list[CurveMark | Band] = [mark for line in curve.lines for mark in line.marks]
    marks += curve.bands
    values = [v for mark in marks for v in (mark.mean, mark.low, mark.high) if v is not None]
    low, high = min(values, default=0.0), max(values, default=100.0)
    missing = max(0.0, _SMALLEST_SPAN - (high - low)) / 2
    margin = 0.06 * (high - low + 2 * missing)
    return max(low - missing - margin, -1.5), min(high + missing + margin, 101.5)


def _over_epochs(
    series: list[tuple[LossLine, Series, Series]], y_label: str, name: str, description: str
) -> Markup:
    dashes: tuple[float, tuple[float, ...]] = (0, (3, 2))
    with _figure(5.2, 2.9) as figure:
        axes = figure.add_subplot()
        for line, train, dev in series:
            colour = _scale(line)
            if train:
                epochs, values = zip(*train, strict=True)
                axes.plot(epochs, values, color=colour, linewidth=1.2, linestyle=dashes, alpha=0.85)
            if dev:
                epochs, values = zip(*dev, strict=True)
                axes.plot(epochs, values, "o-", color=colour, linewidth=1.8, markersize=3.5)
        axes.set_xlabel("epoch")
        axes.set_ylabel(y_label)
        return _svg(figure, name, f"{y_label}. {description}")


@contextmanager
def _figure(width_in: float, height_in: float) -> Iterator[Figure]:
    """A figure of its own, without pyplot and its register of open figures."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context():
        from matplotlib import rcParams

        rcParams.update(_STYLE)  # type: ignore[arg-type]  # keys are validated when set
        yield Figure(figsize=(width_in, height_in), layout="constrained")


_METADATA = ("Creator", "Date", "Format", "Type")
_FONT = re.compile(r"font: (?:\w+ )*([\d.]+)px [^;\"]+")
_ID: tuple[tuple[re.Pattern[str], Callable[[str], str]], ...] = (
    (re.compile(r'\bid="'), lambda name: f'id="{name}-'),
    (re.compile(r"url\(#"), lambda name: f"url(#{name}-"),
    (re.compile(r'\b(?:xlink:)?href="#'), lambda name: f'href="#{name}-'),
)


def _svg(figure: Figure, name: str, description: str) -> Markup:
    """The drawing without prolog, metadata, namespaces and fonts, in the page's colours, ids its own."""
    page = StringIO()
    figure.savefig(page, format="svg", transparent=True, metadata=dict.fromkeys(_METADATA))
    body = page.getvalue()
    body = body[body.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", body, flags=re.DOTALL)
    body = re.sub(r"<style[^>]*>.*?</style>\s*", "", body, flags=re.DOTALL)
    for pattern, with_name in _ID:
        body = pattern.sub(with_name(name), body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, variable)
    body = _FONT.sub(r"font-size: \1px", body)
    box = re.search(r'viewBox="([^"]+)"', body)
    frame = escape(box.group(1)) if box else Markup("0 0 100 100")
    inside = Markup(body[body.index(">") + 1 :])
    label = escape(description)
    return Markup('<svg class="chart" role="img" aria-label="{}" viewBox="{}">').format(label, frame) + inside
