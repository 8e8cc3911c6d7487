"""The report as one HTML file that opens from disk, and the folder it is written to.

Jinja escapes everything by default. Only three things enter a page as markup: our own style sheet,
our own script (whose hash is the only one the page's content security policy admits), and our own
charts.
"""

from __future__ import annotations

from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from harness.atomic import write_atomically
from harness.errors import StoreError
from harness.records import RunRecord
from harness.report import charts
from harness.report.index import IndexEntry, index_view, read_entry
from harness.report.markdown import markdown_of
from harness.report.runjson import dump_run
from harness.report.view import build_view
from harness.report.view_models import ReportView

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jinja2 import Environment

_TEMPLATES = files("harness.report") / "templates"


def render_html(record: RunRecord) -> str:
    """The whole report as one page without any address that a browser would load."""
    return _page(build_view(record))


def write_report(record: RunRecord, folder: Path) -> Path:
    """Write ``run.json``, ``report.md`` and ``report.html`` into ``folder``; the path of the page.

    Each file is replaced in one step, so that no reader sees half of one. ``run.json`` comes first, since the
    other two can be made from it.

    Raises:
        StoreError: the record holds a number that cannot be written.
    """
    text = dump_run(record)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "run.json", text)
    return write_pages(record, folder)


def write_pages(record: RunRecord, folder: Path) -> Path:
    """Write ``report.md`` and ``report.html`` into ``folder``; the path of the page."""
    view = build_view(record)
    _write(folder / "report.md", markdown_of(view))
    page = folder / "report.html"
    _write(page, _page(view))
    return page


def render_index(entries: Iterable[IndexEntry]) -> str:
    """A page that lists runs, newest first, and those that could not be read."""
    template = _environment().get_template("index.html.j2")
    return template.render(index=index_view(entries), style=_markup("report.css"))


def write_index(report_dir: Path) -> Path:
    """Write ``index.html`` over every ``*/run.json`` below ``report_dir``; the path of the page."""
    entries = []
    for path in sorted(report_dir.glob("*/run.json")):
        folder = path.parent.relative_to(report_dir).as_posix()
        try:
            entries.append(read_entry(path.read_text("utf-8"), str(path), folder))
        except (OSError, UnicodeDecodeError, StoreError) as error:
            entries.append(IndexEntry(folder, None, str(error)))  # listed with its problem, not hidden
    report_dir.mkdir(parents=True, exist_ok=True)
    page = report_dir / "index.html"
    _write(page, render_index(entries))
    return page


def _page(view: ReportView) -> str:
    script = _markup("report.js")
    digest = b64encode(sha256(script.encode("utf-8")).digest()).decode("ascii")
    template = _environment().get_template("report.html.j2")
    return template.render(view=view, style=_markup("report.css"), script=script, script_sha256=digest)


@cache  # it holds the compiled templates
def _environment() -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(lambda name: (_TEMPLATES / name).read_text("utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (
        charts.learning_curve,
        charts.training_loss,
        charts.training_accuracy,
        charts.colour_of,
        charts.scale_of,
    ):
        environment.globals[function.__name__] = function
    return environment


def _markup(name: str) -> Markup:
    """A file of ours that enters the page unescaped."""
    return Markup((_TEMPLATES / name).read_text("utf-8"))


def _write(path: Path, text: str) -> None:
    """Replace the file in one step. Lone surrogates, which UTF-8 cannot hold, become ``?``."""
    write_atomically(path, text.encode("utf-8", "replace"))
