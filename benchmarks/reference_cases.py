"""The worked example held to its own reference run by the commands of docs/ci.md, with real training.

It is cut to what a laptop does in minutes: 200 training rows instead of four sizes up to 400. A run is
blessed; then three pull requests are pushed: training rows with swapped labels, twice as many rows, and no
change. What comes of each is printed, with the comment, and kept in a folder among the system's temporary
ones, in which a run that was ended goes on.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import cast

from benchmarks.results import Options, Result
from benchmarks.stub_forge import running_forge
from benchmarks.workflow_steps import ROOT, Machine, Node, parsed, pushed

FOLDER = Path(tempfile.gettempdir()) / "finetune-reference-cases"
FEW, ALL = 200, 400
CANDIDATE, REFERENCE = "qlora-r16", "suites/reference.json"
INI = "[pytest]\nharness_sizes = {size}\n"
TRAIN = Path("suites/support/train.jsonl")
BLESS = (f"--candidate={CANDIDATE}", "--bless", "--bless-why=first release", "--report-dir=out", "suites/")


def swapped(project: Path) -> None:
    """Every training row gets the label of another kind of ticket: its intents are moved on by one."""
    rows = [json.loads(line) for line in (project / TRAIN).read_text("utf-8").splitlines()]
    intents = sorted({row["intent"] for row in rows})
    for row in rows:
        row["intent"] = intents[(intents.index(row["intent"]) + 1) % len(intents)]
        ticket = json.loads(row["messages"][-1]["content"]) | {"intent": row["intent"]}
        row["messages"][-1]["content"] = json.dumps(ticket, ensure_ascii=False)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (project / TRAIN).write_text(text, "utf-8")


def more_rows(project: Path) -> None:
    """All training rows instead of the half."""
    (project / "pytest.ini").write_text(INI.format(size=ALL), "utf-8")


def no_change(project: Path) -> None:
    """The pull request changes a page of the documentation."""


#: each with what its job has to end with, and how its comment has to begin
CASES: dict[str, tuple[Callable[[Path], None], bool, tuple[str, ...]]] = {
    "swapped": (swapped, False, ("**Blocks this change**", "NO-GO")),
    "more": (more_rows, True, ("**Does not block this change**", "GO")),
    "same": (no_change, True, ("**Does not block this change**", "GO", "nothing changed")),
}
PARTS: Mapping[str, object] = {"bless": None, **CASES}


def measure(options: Options) -> list[Result]:
    """Bless the run of the example's ``main``, then push each pull request."""
    if options.smoke:  # every step of it trains
        return []
    chosen = options.only or tuple(PARTS)
    FOLDER.mkdir(exist_ok=True)
    found = [_blessed()] if "bless" in chosen else []
    found += [_case(name, *CASES[name]) for name in CASES if name in chosen]
    print(f"kept in {FOLDER}")
    return found


def checked_out(name: str) -> Path:
    """The cut example as CI has it: a fresh copy, with what earlier runs paid for."""
    project = FOLDER / name
    shutil.rmtree(project, ignore_errors=True)
    shutil.copytree(ROOT / "suites", project / "suites")
    shutil.copy(ROOT / "conftest.py", project)
    (project / "pytest.ini").write_text(INI.format(size=FEW), "utf-8")
    (FOLDER / "store").mkdir(exist_ok=True)
    (project / ".harness").symlink_to(FOLDER / "store")
    return project


def run_pytest(arguments: Sequence[str], project: Path | None = None) -> tuple[int, str]:
    """A process of its own; its exit status, and what it printed."""
    command = [sys.executable, "-m", "pytest", "-p", "no:hypothesispytest", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=project)
    return done.returncode, done.stdout + done.stderr


def _blessed() -> Result:
    project, began = checked_out("bless"), time.perf_counter()
    status, said = run_pytest(BLESS, project)
    (project / "log.txt").write_text(said, "utf-8")
    is_there = (project / REFERENCE).is_file()
    if is_there:
        shutil.copy(project / REFERENCE, FOLDER)
    print("\n".join(said.splitlines()[-40:]))
    last = next((line for line in said.splitlines() if line.startswith("blessed:")), "nothing was blessed")
    detail = f"exit status {status}, {time.perf_counter() - began:.0f} s; {last}"
    return Result("bless", float(is_there), "met", detail, bar=1.0, bar_is="value at least")


def _case(name: str, change: Callable[[Path], None], may_go_in: bool, said: Sequence[str]) -> Result:
    project, began = checked_out(name), time.perf_counter()
    blessed = project / REFERENCE
    if not (FOLDER / blessed.name).exists():
        return Result(name, None, "met", "no run was blessed", bar=1.0, bar_is="value at least")
    shutil.copy(FOLDER / blessed.name, blessed)
    before = blessed.read_bytes()
    change(project)
    own = project.with_name(f"{name}-runner")
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir()
    variables = {key: os.environ[key] for key in ("HOME", "OMP_NUM_THREADS") if key in os.environ}
    variables |= {"PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"}
    machine = Machine(own, project, partial(run_pytest), variables)
    with running_forge("github") as forge:
        passed = pushed(machine, forge.url, _workflow())
        comment = str(forge.comments[0]["body"]) if forge.comments else "no comment"
    (own / "comment.md").write_text(comment, "utf-8")
    (own / "log.txt").write_text(machine.log, "utf-8")
    print(f"\n---- {name}: {change.__doc__}\n{comment}")
    missing = [text for text in said if text not in comment]
    is_met = passed is may_go_in and not missing and blessed.read_bytes() == before
    detail = f"the job {'passes' if passed else 'fails'}, {time.perf_counter() - began:.0f} s; comment: "
    detail += comment.split("\n\n")[1].replace("**", "") if "\n\n" in comment else comment
    detail += f"; missing: {', '.join(missing)}" if missing else ""
    return Result(name, float(is_met), "met", detail, bar=1.0, bar_is="value at least")


def _workflow() -> Node:
    """The page's first example, held to the reference."""
    page = (ROOT / "docs" / "ci.md").read_text("utf-8")
    example = page.partition("<!-- tested: github -->\n```yaml\n")[2].partition("```")[0]
    found = parsed(example)
    (job,) = cast("dict[str, Node]", found["jobs"]).values()
    step = next(one for one in cast("list[Node]", job["steps"]) if "finetune-harness" in str(one.get("uses")))
    cast("dict[str, str]", step["with"])["args"] = f"suites/ --against={REFERENCE}"
    return found
