"""Every block of the documentation is run, read by what reads such files, or says why it is not.

Python is executed page by page, with candidates made, fixtures called and tests run on drawn scores; TOML
and JSON go through the readers that users' files go through; `test_commands.py` has the commands. A block
below a comment ``<!-- tested: NAME -->`` is run by another test, which looks for that comment; one below
``<!-- not run: REASON -->`` is compiled, and its imports are looked up.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TypeAlias

import numpy as np
import pytest
from pages import PAGES, ROOT, Block, blocks

import harness
from harness.data.chat_rows import row_of
from harness.data.recorded import parse_recorded
from harness.data.rows import parse_object
from harness.decision.claims import Scores
from harness.decision.economics_file import parse_economics
from harness.records import ScoreVector
from harness.scoring.checks import Check
from harness.scoring.labels import parse_labels
from harness.scoring.pair_labels import parse_pair_labels
from harness.scoring.run_labels import parse_run_labels

Function: TypeAlias = Callable[..., object]

READ = {"python", "toml", "json", "yaml", "sh", "console", "text"}
TESTS = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py"))


def test_every_block_says_what_it_is() -> None:
    """A fence with a language that something here reads; ``text`` is what nobody types."""
    assert [str(block) for block in blocks() if block.language not in READ] == []


def test_a_block_that_another_test_runs_is_named_there() -> None:
    for block in blocks():
        if block.mark.startswith("tested: "):
            assert re.search(rf"""["']{block.mark.removeprefix("tested: ")}["']""", TESTS), block


# Python ------------------------------------------------------------------------------------------------


class Drawn:
    """A side of a comparison: 200 drawn answers, of which the candidate's are right more often."""

    def __init__(self, name: str, share: float) -> None:
        self.name, self.share = name, share

    def scores(self, score: Check, **where: str) -> Scores:
        values = np.random.default_rng(0).random(200) < self.share
        rows = tuple(map(str, range(200)))
        return Scores(
            ScoreVector(self.name, score.name, score.kind, rows, tuple(map(float, values)), (None,) * 200)
        )

    preferred = scores

    @property
    def economics(self) -> argparse.Namespace:
        """Figures that compare as floats do."""
        return argparse.Namespace(break_even_days=40.0, saving_usd_per_day=12.0)


SIDES = {"candidate": Drawn("tuned", 0.95), "baseline": Drawn("base", 0.5)}
#: what a page's excerpts take as known: the names of its own prose
KNOWN = """
import json, harness, pytest
from harness import *
TRAIN, DEV = "train.jsonl", "dev.jsonl"
valid = JsonSchema({"type": "object"})
intent, urgency, team = FieldMatch("intent"), FieldMatch("urgency"), FieldMatch("team")
"""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_python_runs(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the top of the page to its end, in one namespace, as a reader would type it."""
    made: list[object] = []

    def call(
        function: Function | None = None, /, params: Mapping[str, object] | None = None, **_: object
    ) -> Function | Callable[[Function], Function]:
        """In place of ``harness.candidate`` and ``pytest.fixture``: what they decorate is called at once."""

        def decorate(function: Function) -> Function:
            for param in (params or {"": None}).values():
                made.append(function(argparse.Namespace(param=param)) if params else function())
            return function

        return decorate if function is None else decorate(function)

    monkeypatch.setattr(harness, "candidate", call)
    monkeypatch.setattr(pytest, "fixture", call)
    module = ModuleType(f"page_{page.stem}")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # dataclasses look there
    names = vars(module)
    exec(KNOWN, names)
    for block in blocks("python"):
        if block.page != page or block.mark.startswith("tested: "):
            continue
        code = compile(block.text, str(block), "exec")
        if block.mark.startswith("not run: "):
            require_imports(ast.parse(block.text))
            continue
        known = names.keys() - {None}
        try:
            exec(code, names)
        except Exception as error:
            raise AssertionError(f"{block}: {type(error).__name__}: {error}") from error
        for name in names.keys() - known:
            if name.startswith("test_"):
                taken = names[name].__code__.co_varnames[: names[name].__code__.co_argcount]
                names[name](**{one: SIDES[one] for one in taken})
    assert None not in made


def require_imports(tree: ast.Module) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("harness"):
            module: ModuleType = importlib.import_module(node.module or "")
            assert [one.name for one in node.names if not hasattr(module, one.name)] == []


# files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_toml_is_read(block: Block) -> None:
    """A table alone is an excerpt: a whole file says how many requests there are, too."""
    excerpt = block.text.startswith("[")
    parse_economics("requests_per_day = 1\n" * excerpt + block.text, str(block))


@pytest.mark.parametrize("block", blocks("json"), ids=str)
def test_json_lines_are_read(block: Block) -> None:
    keys = set(parse_object(block.text.splitlines()[0]))
    if {"run", "side"} <= keys:
        parse_run_labels(block.text, str(block))
    elif {"first", "second"} <= keys:
        parse_pair_labels(block.text, str(block))
    elif "label" in keys:
        parse_labels(block.text, str(block), "summary")
    elif keys & {"messages", "prompt"}:
        for line in block.text.splitlines():
            row_of(parse_object(line), str(block), "row-1")
    else:
        parse_recorded(block.text.encode(), str(block))
