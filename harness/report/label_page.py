"""The page on which people label a run's answers: one file that opens from disk and asks no network.

Answers are hostile text. They enter the page as JSON in which no character can end a script element, and the
page's own script, whose hash is the only one that its content security policy admits, shows them as text.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from harness.report.pages import digest_of, environment, ours, replace_file
from harness.scoring.text import in_unicode

if TYPE_CHECKING:
    from harness.records import Json
    from harness.report.labelling import Sheet

# "<" ends and begins elements and comments; U+2028 and U+2029 end lines of scripts in old readers
_ESCAPED = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\N{LINE SEPARATOR}\N{PARAGRAPH SEPARATOR}"}


def render_label_page(sheet: Sheet, run: str = "RUN") -> str:
    """The whole page, without any address that a browser would load."""
    script = ours("label.js")
    return (
        environment()
        .get_template("label.html.j2")
        .render(
            sheet=sheet,
            data=Markup(as_script_json({**_data(sheet), "decide": run})),
            style=ours("report.css") + ours("label.css"),
            script=script,
            script_sha256=digest_of(script),
        )
    )


def write_label_page(sheet: Sheet, path: Path, run: str = "RUN") -> Path:
    """Write the page in one step; its path. ``run`` is how `harness decide` is told the run."""
    return replace_file(path, render_label_page(sheet, run))


def as_script_json(value: Json) -> str:
    """JSON that may stand in a script element: it holds no ``<``, ``>``, ``&`` and no line end of scripts."""
    return in_unicode(json.dumps(value, ensure_ascii=False, separators=(",", ":"))).translate(_ESCAPED)


def _data(sheet: Sheet) -> dict[str, Json]:
    """What the script reads. Which side a card shows stands in ``lines`` alone, which it never shows."""
    return {
        "run": sheet.run,
        "suite": sheet.suite,
        "score": sheet.score,
        "mode": sheet.mode,
        "scale": sheet.scale,
        "field": sheet.field,
        "rows": [{"id": row.id, "question": row.question, "reference": row.reference} for row in sheet.rows],
        "cards": [
            {"key": card.key, "row": card.row, "texts": card.texts, "wholes": card.wholes}
            for card in sheet.cards
        ],
        "lines": {card.key: card.lines for card in sheet.cards},
    }
