"""The pages of the documentation, cut into blocks by a CommonMark parser."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
PAGES += [*ROOT.glob("AGENTS.md"), *sorted((ROOT / "docs").rglob("*.md"))]
#: what a line of a shell may begin with that is none of ours: it is shown, not run
FOREIGN = {"az", "cat", "cd", "cp", "echo", "export", "firectl", "gh", "git", "hf", "mkdir", "ray", "sky"}
FOREIGN |= {"transformers", "vllm", "wc"}


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the comment that stands right before it."""

    page: Path
    line: int
    language: str
    text: str
    mark: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@cache
def tokens(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))


def blocks(*languages: str) -> list[Block]:
    """The blocks in these languages, page by page; all of them without arguments."""
    found = []
    for page in PAGES:
        mark = ""
        for token in tokens(page):
            if token.type in ("fence", "code_block"):
                line = token.map[0] + 1 if token.map else 0
                found.append(Block(page, line, token.info.strip(), token.content, mark))
            comment = token.type == "html_block" and re.fullmatch(r"<!-- (.*) -->\n?", token.content)
            mark = comment[1] if comment else ""
    return [one for one in found if not languages or one.language in languages]


def spans(page: Path) -> Iterator[tuple[int, str]]:
    """Code within sentences, with its line."""
    for token in tokens(page):
        for child in token.children or ():
            if child.type == "code_inline":
                yield (token.map[0] + 1 if token.map else 0), child.content


def commands(text: str) -> Iterator[list[str]]:
    """The words of each command of a shell's block; of a console's, of the lines after a dollar sign."""
    if text.startswith("$ "):
        text = "\n".join(line[2:] for line in text.splitlines() if line.startswith("$ "))
    for read in (documents := re.compile(r" <<'EOF'\n(.*?)\nEOF$", re.DOTALL | re.MULTILINE)).findall(text):
        compile(read, "<<EOF", "exec")
    for line in documents.sub("", text).replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield words


def links(page: Path) -> Iterator[tuple[int, str]]:
    """Where the page's links and pictures lead, with the line."""
    for token in tokens(page):
        for child in token.children or ():
            to = child.attrGet("href") or child.attrGet("src")
            if isinstance(to, str):
                yield (token.map[0] + 1 if token.map else 0), to


def anchors(page: Path) -> set[str]:
    """The headings' anchors, as GitHub and the site make them."""
    found: set[str] = set()
    before = None
    for token in tokens(page):
        if before is not None and before.type == "heading_open":
            text = "".join(child.content for child in token.children or () if child.type != "softbreak")
            found.add(re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-"))
        before = token
    return found
