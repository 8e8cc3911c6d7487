"""The project of README and first steps, and the scripted one of writing suites, run as they are written."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from small_project import SmallProject, jsonl, row

DOCS = Path(__file__).parents[2] / "docs"
TEAMS = ("sales", "legal", "support", "billing")


def block(page: Path, begins: str, language: str = "python") -> str:
    """The block of the page that begins so, below the language."""
    text = page.read_text(encoding="utf-8")
    (found,) = re.findall(rf"```{language}\n({re.escape(begins)}.*?)```", text, re.DOTALL)
    return str(found)


@pytest.fixture
def mail(project: SmallProject) -> SmallProject:
    """The suite of the two pages, with short rows of the form that they show."""
    readme, steps = DOCS.parent / "README.md", DOCS / "first-steps.md"
    suite = block(steps, "import pytest\n\nfrom harness import FieldMatch")
    assert suite == block(readme, "import pytest\n\nfrom harness import FieldMatch")
    assert block(readme, "import harness\nfrom harness import FewShot") == block(
        steps, "import harness\nfrom"
    )
    for name in ("train", "heldout"):
        rows = []
        for number in range(60 if name == "train" else 200):
            team = TEAMS[number % 4]
            rows.append(
                row(f"{name}-{number}", f"{name} {number} {team}", json.dumps({"team": team}), team=team)
            )
        project.write(f"suites/mail/{name}.jsonl", jsonl(rows))
    project.write("suites/mail/prompt.md", "Which team?")
    project.write("suites/mail/test_mail.py", suite)
    return project


def test_the_first_project_is_one(mail: SmallProject) -> None:
    mail.write("conftest.py", block(DOCS / "first-steps.md", "import harness\nfrom harness import FewShot"))
    said = mail.run("suites/", "--co", "--candidate=qlora-r16", baseline="")
    assert said.status == 0, said.said
    assert "test_format[qlora-r16" in said.out


def test_a_suite_without_a_model_ends_as_the_page_says(mail: SmallProject) -> None:
    page = DOCS / "writing-suites.md"
    mail.write("conftest.py", block(page, "import json\n\nimport harness\nfrom harness.testing"))
    lines = re.findall(
        r"^pytest (.*?) +# ([A-Z-]+)", block(page, "pytest suites/ --candidate=right", "sh"), re.MULTILINE
    )
    assert [verdict for _, verdict in lines] == ["GO", "NO-GO", "INCONCLUSIVE", "INCONCLUSIVE"]
    for arguments, verdict in (lines[0], lines[-1]):  # the others cost a second each
        said = mail.run(*arguments.split(), baseline="")
        assert mail.record.decisions[0].verdict.upper() == verdict, said.said
