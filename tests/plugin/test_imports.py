"""What is loaded when: nothing heavy before a model is needed, and nothing at all in another project."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

from small_project import SmallProject

HEAVY = ("torch", "transformers", "trl", "datasets", "openai", "pandas", "matplotlib", "peft", "bitsandbytes")
SAY = f"import json; print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"


def heavy_after(code: str, folder: Path) -> list[str]:
    """Heavy packages that ``code`` leaves loaded, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\n{SAY}"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def pytest_of(*arguments: str) -> str:
    plain = ["-p", "no:hypothesispytest", "-p", "no:randomly", "-p", "no:cacheprovider"]
    return f"import pytest; assert pytest.main({[*plain, *arguments]!r}) == 0"


def test_importing_the_harness_loads_nothing_heavy(tmp_path: Path) -> None:
    assert (
        heavy_after("from harness import *\nimport harness.testing, harness.plugin, harness.cli", tmp_path)
        == []
    )


def test_collecting_with_a_candidate_loads_nothing_heavy(project: SmallProject) -> None:
    project.conftest(
        """

@harness.candidate
def qlora():
    return harness.QLoRA(base="smollm2-135m", train="train.jsonl")
"""
    )
    project.suite()
    assert heavy_after(pytest_of("--co", "-q", "--candidate=qlora", "--sizes=10,20"), project.path) == []


def test_a_run_without_a_model_loads_nothing_heavy_but_the_charts(project: SmallProject) -> None:
    project.suite()
    run = pytest_of("--candidate=good", "--baseline=old")
    assert set(heavy_after(run, project.path)) <= {"matplotlib"}


def test_a_project_without_the_plugin_is_left_alone(tmp_path: Path) -> None:
    """Nothing registers itself by being installed: no option, no fixture, no module."""
    (tmp_path / "test_their_own.py").write_text(
        "import sys\n\n\n"
        "def test_alone(request):\n"
        "    assert not [name for name in sys.modules if name.split('.')[0] == 'harness']\n"
        "    assert not request.config.getoption('harness_candidate', None)\n",
        encoding="utf-8",
    )
    assert heavy_after(pytest_of("-q"), tmp_path) == []
    refused = subprocess.run(
        [sys.executable, "-m", "pytest", "--candidate=good"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 4
    assert "unrecognized arguments: --candidate=good" in refused.stderr


UNRELATED = f"""
import sys

import pytest


def test_one():
    with pytest.raises(AssertionError):
        assert [1] == [2]


def test_nothing_heavy():
    heavy = {{*{HEAVY!r}, "jinja2", "numpy", "pydantic", "rich", "scipy"}}
    assert not heavy & set(sys.modules)
"""


def test_the_plugin_costs_a_project_without_candidates_less_than_100_ms(tmp_path: Path) -> None:
    """CPU time of whole runs, the best of some: what else the machine does lengthens single ones."""
    for name, conftest in {"without": "", "with": 'pytest_plugins = ["harness.plugin"]\n'}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "conftest.py").write_text(conftest, encoding="utf-8")
        (tmp_path / name / "test_unrelated.py").write_text(UNRELATED, encoding="utf-8")
    least = {"without": float("inf"), "with": float("inf")}
    for _ in range(6):
        for name, before in least.items():
            least[name] = min(before, cpu_s_of_tests(tmp_path / name))
        if least["with"] - least["without"] < 0.1:
            break
    assert least["with"] - least["without"] < 0.1


def cpu_s_of_tests(folder: Path) -> float:
    """CPU seconds of pytest in a process of its own, whose modules are compiled once."""
    environment = {
        k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "PYTEST_ADDOPTS")
    }
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    subprocess.run(run, cwd=folder, env=environment, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
