"""The first part of docs/judges.md, typed as it stands: its commands print what the page says."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from harness.cli import main

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "judges.md").read_text(encoding="utf-8")
WALK = PAGE.split("## Ten minutes")[1].split("\n## ")[0]


def test_the_commands_of_the_walk_print_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(ROOT / "reports" / "example", tmp_path / "reports" / "example")
    (tmp_path / "suites").symlink_to(ROOT / "suites")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    commands = re.findall(r"```console\n\$ harness (.*)\n((?:.*\n)*?)```", WALK)
    assert [command.split()[0] for command, _ in commands] == ["label", "decide", "label"]
    for command, shown in commands:
        assert main(shlex.split(command)) == int(command.startswith("decide")), command  # not GO
        said = capsys.readouterr().out
        for line in shown.splitlines():
            assert line in said, line


def test_every_picture_is_there_and_small() -> None:
    for name in re.findall(r"\]\((\S+\.png)\)", PAGE):
        assert (ROOT / "docs" / name).stat().st_size < 150_000, name
