"""The measure of the code's shape, on a package whose counts are known by eye."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.house import ambiguous, figures, main, measure

SOURCE = '''"""A docstring.

Of three lines."""
import os  # a comment


class Job:
    def run(self):
        """Documented."""
        return _once() + _twice() + _twice()


def _once():
    return os.sep


def _twice():
    return 1


@property
def _decorated(self):
    return 0


_decorated
Reply = dict[str, int]
LIMIT = 3
'''


@pytest.fixture
def package(tmp_path: Path) -> Path:
    for name, text in {
        "a/wire.py": SOURCE,
        "b/wire.py": "class Job: ...\nclass Reply: ...\nLIMIT = 4\n",
        "__init__.py": "",
        "b/__init__.py": "",
        "tests/wire.py": "class Job: ...\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_lines_are_told_apart(package: Path) -> None:
    shape = measure(package)
    assert len(shape.lines) == 4
    assert sum(shape.lines) == 31
    # the first file: the import, 3 of the class, 2 + 2 + 3 of the functions, 3 names; the other: 3
    assert shape.code_lines == 17
    assert shape.docstring_lines == 4
    assert shape.comment_lines == 1
    assert sorted(shape.function_lines) == [2, 2, 2, 3]


def test_a_private_function_with_one_use_is_counted(package: Path) -> None:
    assert measure(package).once_used == ["a/wire.py:13 _once"]


def test_names_of_two_meanings_are_counted(package: Path) -> None:
    shape = measure(package)
    assert ambiguous(shape.classes) == {
        "Job": ["a/wire.py:7", "b/wire.py:1"],
        "Reply": ["a/wire.py:27", "b/wire.py:2"],
    }
    assert ambiguous(shape.modules) == {"wire": ["a/wire.py", "b/wire.py"]}
    assert figures(shape)["class names of two or more meanings (definitions)"] == "2 (4)"
    assert figures(shape)["function lines, median / p90 / max"] == "2 / 2.7 / 3"


def test_the_table_has_a_column_for_each_package(
    package: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.house.HARNESS", package)
    assert main([f"other={package}", "--names"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "| | harness | other |"
    assert printed[2].endswith("| 4 |")
    assert "private functions used once" in printed


def test_a_folder_without_code_is_refused(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.house.HARNESS", package)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit):
        main([f"empty={tmp_path / 'empty'}"])
    assert "no Python file" in capsys.readouterr().err
