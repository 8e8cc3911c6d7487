"""Without the extra ``local`` hosted models work, and local ones give one error that names it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hosted_project import CHOSEN, KEY, says, tuned_at
from small_project import SUITE, UNDRAWN, Row, SmallProject, jsonl, row

from harness.errors import UsageError
from harness.extras import EXTRAS, installed_version, require_extra
from harness.testing.fake_openai import ScriptedBackend, running_fake_openai

WITHOUT = str(Path(__file__).parent / "without_local.py")
PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
HINT = "hint: pip install 'finetune-harness[local]'"
LOCAL = """
@harness.candidate
def local():
    return harness.QLoRA(base="smollm2-135m", train="train.jsonl")
"""
JUDGED = SUITE.replace("(right,)", "(right, LikelihoodJudge(labels='labels.jsonl', name='meant'))", 1)


def without_local(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, WITHOUT, *command], cwd=folder, capture_output=True, text=True, check=False
    )


def test_rows_for_a_hosted_model_are_validated(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(jsonl([row(f"r{k}", f"question {k}") for k in range(12)]))
    done = without_local(tmp_path, "harness.cli", "validate", "train.jsonl", "--model", "gpt-4o-mini")
    assert done.returncode == 0, done.stderr
    assert "12 usable" in done.stdout
    assert "Training gpt-4o-mini: about" in done.stdout


def test_a_local_model_s_rows_are_not(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(jsonl([row("r1", "question")]))
    done = without_local(tmp_path, "harness.cli", "validate", "train.jsonl", "--model", "smollm2-135m")
    assert done.returncode == 2
    assert HINT in done.stderr
    assert "Traceback" not in done.stderr


def test_a_hosted_candidate_is_planned_tuned_and_decided(
    project: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_TEST_KEY", KEY)
    with running_fake_openai(backend=ScriptedBackend(says)) as url:
        tuned_at(project, url).write("suites/conftest.py", UNDRAWN)
        planned = without_local(project.path, "pytest", "suites", *CHOSEN, "--plan")
        assert planned.returncode == 0, planned.stdout
        assert "nothing was trained, asked, sent or paid" in planned.stdout
        done = without_local(project.path, "pytest", "suites", *CHOSEN, "--gate=regression")
    assert done.returncode == 0, done.stdout + done.stderr
    (recorded,) = project.path.glob("reports/*/run.json")
    environment = json.loads(recorded.read_text(encoding="utf-8"))["environment"]
    assert "pytest" in environment
    assert "torch" not in environment


def test_a_local_candidate_names_the_extra(project: SmallProject) -> None:
    project.conftest(LOCAL)
    project.suite()
    done = without_local(project.path, "pytest", "suites", "--candidate=local", "-p", "no:randomly")
    assert done.returncode not in (0, 1)
    assert f"  {HINT}" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_judge_that_reads_with_the_built_in_model_is_refused_before_anything_is_asked(
    project: SmallProject,
) -> None:
    project.suite(head=JUDGED)
    labels: list[Row] = [
        {"message": f"m {k}", "reference": "a", "reply": f"{good} {k}", "label": good}
        for k in range(20)
        for good in ("good", "bad")
    ]
    project.write("suites/support/labels.jsonl", jsonl(labels))
    done = without_local(project.path, "pytest", "suites", "--candidate=good", "--baseline=old")
    assert done.returncode not in (0, 1)
    assert "the judge 'meant' reads with the built-in model" in done.stdout + done.stderr
    assert f"  {HINT}" in done.stdout + done.stderr
    assert project.asked == []


@pytest.mark.parametrize(
    "command", [("twin", "--port=0"), ("convert", "owner/name", "--to", "out.jsonl")], ids=["twin", "convert"]
)
def test_commands_that_need_the_extra_name_it(tmp_path: Path, command: tuple[str, ...]) -> None:
    done = without_local(tmp_path, "harness.cli", *command)
    assert done.returncode == 2
    assert HINT in done.stderr
    assert "Traceback" not in done.stderr


def test_the_doctor_takes_a_machine_for_hosted_models_as_sound(tmp_path: Path) -> None:
    done = without_local(tmp_path, "harness.cli", "doctor")
    assert done.returncode == 0, done.stdout
    assert "note  extra local: hosted models only" in done.stdout


def test_an_extra_lists_the_packages_that_pyproject_gives_it() -> None:
    declared = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for extra, packages in EXTRAS.items():
        names = {requirement.partition(">")[0].replace("-", "_") for requirement in declared[extra]}
        names -= {"protobuf"}  # imported as google.protobuf, which cannot be looked for without google
        assert {name.removesuffix("_ai") for name in names} == set(packages)  # fireworks-ai is fireworks
        for package in packages:
            assert importlib.util.find_spec(package) is not None


def test_the_error_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trl", None)  # cannot be imported
    with pytest.raises(
        UsageError, match=r"training needs packages that are not installed: trl\.\n  hint: pip"
    ):
        require_extra("local", "training")


def test_the_version_of_what_is_not_installed_is_none() -> None:
    assert installed_version("pytest") == pytest.__version__
    assert installed_version("no-such-package") is None
