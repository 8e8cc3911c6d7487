"""Every command that the documentation shows is one: parsed by the parser that parses it when it is typed."""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest
import yaml
from pages import FOREIGN, PAGES, ROOT, Block, blocks, commands, spans

from benchmarks.__main__ import BENCHMARKS
from benchmarks.decision_quality import PARTS
from harness.cli import main
from harness.cli.main import _parser

OPEN = re.compile(r"…|\.\.\.")  # stands for what the reader puts there


SHOWN = [block for block in blocks("sh", "console", "yaml") if not block.mark.startswith("tested: ")]


@pytest.mark.parametrize("block", [one for one in SHOWN if one.language != "yaml"], ids=str)
def test_commands_of_a_block_exist(block: Block, pytestconfig: pytest.Config) -> None:
    for words in commands(block.text):
        require_command(words, pytestconfig)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_within_sentences_exist(page: Path, pytestconfig: pytest.Config) -> None:
    for line, code in spans(page):
        if re.match(r"(\.venv/bin/)?(python -m (benchmarks|pytest)|(harness|pytest|make) )", code):
            try:
                require_command(shlex.split(code, comments=True), pytestconfig, is_whole=False)
            except (AssertionError, ValueError) as error:
                raise AssertionError(f"{page.name}:{line}: {code}: {error}") from error
        elif re.fullmatch(r"--[a-z][a-z-]+(=.*)?", code):
            assert option_exists(code.partition("=")[0], pytestconfig), f"{page.name}:{line}: {code}"


@pytest.mark.parametrize("block", [one for one in SHOWN if one.language == "yaml"], ids=str)
def test_yaml_is_read_and_its_commands_exist(block: Block, pytestconfig: pytest.Config) -> None:
    for document in yaml.safe_load_all(block.text):
        for command in run_by(document):
            for words in commands(command):
                require_command(words, pytestconfig)


def run_by(value: object) -> Iterator[str]:
    """Texts under ``run``, ``script``, ``setup`` or ``entrypoint``, however deep."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        if key in ("run", "script", "setup", "entrypoint"):
            yield from [inner] if isinstance(inner, str) else map(str, inner)
        else:
            yield from run_by(inner)


def require_command(words: Sequence[str], config: pytest.Config, *, is_whole: bool = True) -> None:
    """Raises AssertionError where the program, a target, a benchmark or an option is not there.

    Args:
        is_whole: it could be typed as it stands; otherwise only its beginning and its options are looked at.
    """
    while words and re.match(r"[A-Z_]+=", words[0]):  # a variable for this command
        words = words[1:]
    program, *given = [word for word in words if not OPEN.fullmatch(word)]
    program = program.removeprefix(".venv/bin/")
    if program == "python" and given[:1] == ["-m"]:
        program, given = given[1], given[2:]
    if program == "python" and given[:1] == ["-c"]:
        compile(given[1], "-c", "exec")
    elif program == "python" and given == ["-"]:
        pass  # what it reads is compiled by ``commands``
    elif program == "pytest":
        _, unknown = config._parser.parse_known_and_unknown_args(given, argparse.Namespace())
        assert unknown == []
    elif program == "harness":
        require_parsed(given, is_whole=is_whole and not any(OPEN.search(word) for word in given))
    elif program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert {one for one in given if "=" not in one} <= set(targets), given
    elif program == "benchmarks":
        names = BENCHMARKS.keys() | PARTS.keys() | {"NAME"}
        assert {one for one in given if not one.startswith("-")} <= names, given
    elif program.startswith("benchmarks."):
        assert (ROOT / program.replace(".", "/")).with_suffix(".py").is_file(), program
    elif program == "pip":
        extras = {
            one for found in re.findall(r"\[([a-z0-9,]+)\]", " ".join(given)) for one in found.split(",")
        }
        text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        assert all(re.search(rf"^{one} = \[", text, re.MULTILINE) for one in extras), given
    else:
        assert program in FOREIGN, program


@cache
def parsers() -> dict[str, argparse.ArgumentParser]:
    """Of each command of ``harness``."""
    (commands_,) = (one for one in _parser()._actions if isinstance(one, argparse._SubParsersAction))
    return dict(commands_.choices)


def require_parsed(given: Sequence[str], *, is_whole: bool) -> None:
    if not given or given[0] == "--help":
        return
    assert given[0] in parsers()
    if not is_whole:
        names = {word.partition("=")[0] for word in given[1:] if word.startswith("-")}
        assert names <= parsers()[given[0]]._option_string_actions.keys()
        return
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "error", lambda self, message: said.append(message))
        _parser().parse_args(list(given))
    assert said == []


def option_exists(name: str, config: pytest.Config) -> bool:
    """Of pytest, of a command of ours, or of a benchmark."""
    ours = {name for one in parsers().values() for name in one._option_string_actions}
    return name in ours | config._parser.optparser._option_string_actions.keys() or any(
        f'"{name}"' in file.read_text(encoding="utf-8") for file in (ROOT / "benchmarks").glob("*.py")
    )


def test_what_is_printed_is_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each console block, typed in the order of the pages: every line shown is printed."""
    shutil.copytree(ROOT / "reports" / "example", tmp_path / "reports" / "example")
    (tmp_path / "suites").symlink_to(ROOT / "suites")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for block in blocks("console"):
        for words in commands(block.text):
            assert words[0] == "harness", block
            assert main(words[1:]) == int(words[1] == "decide"), block  # not GO
        said = capsys.readouterr().out
        for line in block.text.splitlines():
            assert line.startswith("$ ") or line in said, f"{block}: {line}"
