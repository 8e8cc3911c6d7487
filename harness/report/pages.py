"""What every page is made with: templates, our own style sheets and scripts, files that appear whole."""

from __future__ import annotations

from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from harness.atomic import write_atomically
from harness.report import charts

if TYPE_CHECKING:
    from jinja2 import Environment

#: what templates draw with
CHARTS = (
    charts.learning_curve,
    charts.training_curve,
    charts.rung_chart,
    charts.forest,
    charts.over_time_chart,
)
_TEMPLATES = files("harness.report") / "templates"


@cache  # it holds the compiled templates
def environment() -> Environment:
    """Jinja's, which escapes everything that is not our own markup."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    made = Environment(
        loader=FunctionLoader(lambda name: (_TEMPLATES / name).read_text("utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {function.__name__: function for function in CHARTS}
    return made


def ours(name: str) -> Markup:
    """A file of ours that enters a page unescaped."""
    return Markup((_TEMPLATES / name).read_text("utf-8"))


def digest_of(text: str) -> str:
    """The SHA-256 by which a page's content security policy admits its script or style sheet."""
    return b64encode(sha256(text.encode("utf-8")).digest()).decode("ascii")


def replace_file(path: Path, text: str) -> Path:
    """Replace the file in one step. Lone surrogates, which UTF-8 cannot hold, become ``?``."""
    write_atomically(path, text.encode("utf-8", "replace"))
    return path
