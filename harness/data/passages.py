"""A folder of documents as passages: Markdown, text, HTML and PDF, cut at headings and at some 200 words.

A passage never spans a heading; a longer part is cut between paragraphs where it can be, else between words.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

from harness.data.files import read_text
from harness.data.plain_text import CJK
from harness.errors import DataError
from harness.extras import require_extra

ENDINGS = (".md", ".markdown", ".txt", ".html", ".htm", ".pdf")
PASSAGE_WORDS = 200
MOST_FILES = 10_000
MOST_FILE_BYTES = 20_000_000
NAMES_SHOWN = 5
# what has no spaces (Thai, an encoded picture) is cut as well, or it would be one passage whatever its length
_WORD = re.compile(rf"[{CJK}]|[^\s{CJK}]{{1,20}}")
_HEADING = re.compile(r"#{1,6}\s+(.*?)\s*#*$")
_BLOCKS = frozenset(
    (
        "p",
        "div",
        "li",
        "tr",
        "td",
        "th",
        "br",
        "section",
        "article",
        "table",
        "ul",
        "ol",
        "dl",
        "dt",
        "dd",
        "pre",
    )
)
_UNSEEN = frozenset(("script", "style", "template", "noscript"))


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a document, as a prompt shows it."""

    place: str  # file and number of the passage in it, as people see it: ``handbook/refunds.md#2``
    heading: str
    text: str


def read_passages(folder: Path, shown: str) -> tuple[Passage, ...]:
    """The passages of all documents in and below ``folder``, in the order of their names.

    Hidden files and other kinds of files are passed over.

    Raises:
        DataError: there is no such folder, nothing to read in it, too many files, a file that cannot be read,
            or a link that leads out of it.
        UsageError: a PDF needs the extra ``pdf``.
    """
    if not folder.is_dir():
        hint = f"name a folder that holds {', '.join(ENDINGS)} files, or a .jsonl file of rows"
        raise DataError(shown, "is no folder", hint)
    root, found = os.path.realpath(folder), sorted(_documents(folder))
    if len(found) > MOST_FILES:
        raise DataError(shown, f"has more than {MOST_FILES:,} documents", "name a folder of fewer")
    passages: list[Passage] = []
    for path in found:
        name = f"{shown.rstrip('/')}/{path.relative_to(folder).as_posix()}"
        if not Path(os.path.realpath(path)).is_relative_to(root):
            raise DataError(name, "is a link that leads out of the folder", "copy the file into the folder")
        parts = _parts(path, name)
        texts = [(heading, text) for heading, part in parts for text in _cut(part)]
        passages += [Passage(f"{name}#{k}", heading, text) for k, (heading, text) in enumerate(texts, 1)]
    if not passages:
        there = f"holds no text in {len(found)} documents" if found else "holds no document"
        raise DataError(shown, there, f"put {', '.join(ENDINGS)} files there")
    return tuple(passages)


def passages_digest(passages: Sequence[Passage]) -> str:
    """SHA-256 of what they say, in their order, whatever their files are called."""
    told = hashlib.sha256()
    for passage in passages:
        told.update(f"{passage.heading}\0{passage.text}\0".encode("utf-8", "replace"))
    return told.hexdigest()


def _documents(folder: Path) -> Iterator[Path]:
    """Their paths. Linked folders are not entered: they may lead in a circle."""
    count = 0
    for at, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if not name.startswith(".") and name.lower().endswith(ENDINGS):
                yield Path(at) / name
                count += 1
                if count > MOST_FILES:
                    return


def _parts(path: Path, name: str) -> list[tuple[str, str]]:
    """The text below each heading."""
    if path.suffix.lower() == ".pdf":
        return [("", _pdf(path, name))]
    try:
        text = read_text(path, ".md", most_bytes=MOST_FILE_BYTES)
    except DataError as error:
        raise DataError(name, error.problem, error.hint) from error
    if path.suffix.lower() in (".html", ".htm"):
        page = _Page()
        page.feed(text)
        page.close()
        return page.parts()
    if path.suffix.lower() == ".txt":
        return [("", text)]
    return _markdown(text)


def _markdown(text: str) -> list[tuple[str, str]]:
    parts: list[tuple[str, list[str]]] = [("", [])]
    fenced = False
    for line in text.splitlines():
        fenced ^= line.lstrip().startswith(("```", "~~~"))
        heading = None if fenced else _HEADING.match(line)
        if heading:
            parts.append((heading[1], []))
        else:
            parts[-1][1].append(line)
    return [(heading, "\n".join(lines)) for heading, lines in parts]


class _Page(HTMLParser):
    """The text of a page that a reader sees, by heading."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._parts: list[tuple[list[str], list[str]]] = [([], [])]
        self._unseen, self._in_heading = 0, False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _UNSEEN:
            self._unseen += 1
        elif re.fullmatch("h[1-6]", tag):
            self._parts.append(([], []))
            self._in_heading = True
        elif tag in _BLOCKS:
            self._parts[-1][1].append("\n\n" if tag == "p" else "\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in _UNSEEN:
            self._unseen = max(0, self._unseen - 1)
        elif re.fullmatch("h[1-6]", tag):
            self._in_heading = False

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self._parts[-1][0 if self._in_heading else 1].append(data)

    def parts(self) -> list[tuple[str, str]]:
        return [(" ".join("".join(heading).split()), "".join(body)) for heading, body in self._parts]


def _pdf(path: Path, name: str) -> str:
    require_extra("pdf", f"the PDF {name}")
    import pypdf

    try:
        return "\n\n".join(page.extract_text() for page in pypdf.PdfReader(path).pages)
    except Exception as error:  # the library raises whatever the content brings about
        said = str(error).strip().partition("\n")[0][:200]
        problem = f"cannot be read as a PDF: {type(error).__name__}: {said}"
        raise DataError(name, problem, "save it again, or as text") from error


def _cut(text: str) -> Iterator[str]:
    """Pieces of at most ``PASSAGE_WORDS`` words; a character is one in Chinese and Japanese."""
    piece: list[str] = []
    words = 0
    for paragraph in re.split(r"\n\s*\n", text):
        whole = paragraph.strip()
        at = [word.span() for word in _WORD.finditer(whole)]
        count = len(at)
        if words and words + count > PASSAGE_WORDS:
            yield "\n\n".join(piece)
            piece, words = [], 0
        if count > PASSAGE_WORDS:
            cuts = [at[k : k + PASSAGE_WORDS] for k in range(0, count, PASSAGE_WORDS)]
            yield from (whole[cut[0][0] : cut[-1][1]] for cut in cuts)
        elif count:
            piece.append(whole)
            words += count
    if piece:
        yield "\n\n".join(piece)
