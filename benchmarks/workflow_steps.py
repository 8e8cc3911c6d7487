"""Runs the steps of a workflow, of the action and of a GitLab job: their lines by bash, as they stand.

What a line calls as ``python`` or ``harness`` is a program that has it done in this process, which has
imported everything already. A runner of GitHub is the model: expressions, ``if``, outputs, files of a step.
"""

from __future__ import annotations

import io
import json
import os
import re
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast
from unittest import mock

import yaml

from harness.cli.main import main

ROOT = Path(__file__).parents[1]
RUNS_ELSEWHERE = """#!{python} -ISs
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as wire:
    wire.connect({socket!r})
    wire.sendall(json.dumps([[*{first!r}, *sys.argv[1:]], dict(os.environ), os.getcwd()]).encode() + b"\\n")
    status, out = json.loads(wire.makefile().readline())
sys.stdout.write(out)
sys.exit(status)
"""
Node = Mapping[str, object]
Pytest = Callable[[Sequence[str]], tuple[int, str]]


def parsed(text: str) -> Node:
    """A YAML document; ``on`` is a text, which YAML 1.1 takes for true."""
    found: Node = yaml.safe_load(re.sub(r"^on:", "'on':", text, flags=re.MULTILINE))
    return found


@dataclass
class Machine:
    """Where steps run.

    Args:
        folder: for its own files.
        project: the repository that was checked out.
        pytest: runs pytest in this process; its exit status, and what it printed.
    """

    folder: Path
    project: Path
    pytest: Pytest
    variables: dict[str, str]
    log: str = ""
    used: list[tuple[str, Node]] = field(default_factory=list)  # other people's actions, with their inputs

    def __post_init__(self) -> None:
        self.programs = self.folder / "bin"
        self.programs.mkdir()
        for name, first in (("python", []), ("harness", ["-m", "harness.cli"])):
            program = self.programs / name
            here = {"python": sys.executable, "socket": str(self.folder / "wire"), "first": first}
            program.write_text(RUNS_ELSEWHERE.format(**here))
            program.chmod(0o755)

    def bash(
        self, script: str, variables: Mapping[str, str], folder: Path, options: str = "-eo pipefail"
    ) -> int:
        """Run it as a runner does; its exit status."""
        file = self.folder / "step.sh"
        file.write_text(script)
        given = {"PATH": f"{self.programs}:/usr/bin:/bin", "HOME": str(self.folder)} | self.variables
        (self.folder / "wire").unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as wire, (self.folder / "log").open("w+") as log:
            wire.bind(str(self.folder / "wire"))
            wire.listen()
            command = ["bash", "--noprofile", "--norc", *options.split(), str(file)]
            child = subprocess.Popen(
                command, env={**given, **variables}, cwd=folder, stdout=log, stderr=subprocess.STDOUT
            )
            while child.poll() is None:
                if select.select([wire], [], [], 0.005)[0]:
                    with wire.accept()[0] as caller:
                        self._serve(caller)
            log.seek(0)
            self.log += log.read()
        return child.returncode

    def _serve(self, caller: socket.socket) -> None:
        with caller.makefile() as lines:
            arguments, variables, folder = json.loads(lines.readline())
        with mock.patch.dict(os.environ, variables, clear=True), chdir(folder):
            status, out = self._done(arguments)
        caller.sendall(json.dumps([status, out]).encode() + b"\n")

    def _done(self, arguments: Sequence[str]) -> tuple[int, str]:
        if arguments[:2] == ["-m", "pytest"]:
            return self.pytest(arguments[2:])
        said = io.StringIO()
        with redirect_stdout(said), redirect_stderr(said):
            if arguments[:2] == ["-m", "harness.cli"]:
                return main(arguments[2:]), said.getvalue()
            if arguments[0] == "-c":
                exec(arguments[1], {})
                return 0, said.getvalue()
        assert arguments[:3] == ["-m", "pip", "install"], arguments
        return 0, ""

    # ------------------------------------------------------------------ GitHub
    def github_job(self, job: Node, context: dict[str, object]) -> bool:
        """Run a job's steps; whether it succeeded."""
        return self._steps(cast("list[Node]", job["steps"]), context, "-e")[0]

    def _steps(
        self, steps: Sequence[Node], context: Mapping[str, object], options: str
    ) -> tuple[bool, dict[str, object]]:
        ok, outputs = True, dict[str, object]()
        for step in steps:
            scope = {**context, "steps": outputs}
            if not _is_true(str(step.get("if", "success()")), scope, ok):
                continue
            given = _filled(cast("Node", step.get("with", {})), scope)
            variables = {
                **cast("dict[str, str]", context["variables"]),
                **_filled(cast("Node", step.get("env", {})), scope),
            }
            scope = {**scope, "variables": variables}
            if "run" in step:
                made = self._run(step, scope, options)
            elif "finetune-harness" in str(step["uses"]):
                made = self._action(given, scope)
            else:
                made = self._other(str(step["uses"]), given)
            ok = ok and made[0]
            if "id" in step:
                outputs[str(step["id"])] = {"outputs": made[1]}
        return ok, outputs

    def _run(self, step: Node, scope: Mapping[str, object], options: str) -> tuple[bool, Node]:
        output = self.folder / "output"
        output.write_text("")
        variables = {
            **cast("dict[str, str]", scope["variables"]),
            "GITHUB_OUTPUT": str(output),
            "GITHUB_STEP_SUMMARY": str(self.folder / "summary.md"),
            "GITHUB_ACTION_PATH": str(ROOT),
        }
        folder = self.project / _text(str(step.get("working-directory", ".")), scope)
        options = "-eo pipefail" if step.get("shell") == "bash" else options
        status = self.bash(_text(str(step["run"]), scope), variables, folder, options)
        return status == 0, dict(line.split("=", 1) for line in output.read_text().splitlines())

    def _action(self, given: Node, scope: Mapping[str, object]) -> tuple[bool, Node]:
        action = parsed((ROOT / "action.yml").read_text(encoding="utf-8"))
        known = cast("Mapping[str, Node]", action["inputs"])
        assert set(given) <= set(known), "an input that the action does not have"
        inputs = {
            name: given.get(name, _text(str(one.get("default", "")), scope)) for name, one in known.items()
        }
        steps = cast("list[Node]", cast("Node", action["runs"])["steps"])
        assert all(step.get("shell") == "bash" for step in steps if "run" in step)
        assert not any("${{" in str(step["run"]) for step in steps if "run" in step), (
            "text that bash would act on"
        )
        ok, outputs = self._steps(steps, {**scope, "inputs": inputs}, "-eo pipefail")
        ends = {**scope, "inputs": inputs, "steps": outputs}
        named = cast("Mapping[str, Node]", action["outputs"])
        return ok, {name: _text(str(one["value"]), ends) for name, one in named.items()}

    def _other(self, uses: str, given: Node) -> tuple[bool, Node]:
        assert re.fullmatch(r"actions/[\w/-]+@v\d+", uses), uses
        self.used.append((uses.partition("@")[0], given))
        is_upload = uses.startswith("actions/upload-artifact@")
        return True, {"artifact-url": "https://github.com/o/r/artifacts/1"} if is_upload else {}

    # ------------------------------------------------------------------ GitLab
    def gitlab_job(self, job: Node) -> bool:
        """Run a job's script, then what comes after it whatever came of it; whether it succeeded."""
        variables: dict[str, str] = {}
        for name, value in cast("dict[str, str]", job["variables"]).items():
            variables[name] = re.sub(r"\$(\w+)", lambda found: self.variables.get(found[1], ""), value)
        script, after = (cast("list[str]", job[part]) for part in ("script", "after_script"))
        status = self.bash("\n".join(script), variables, self.project)
        self.bash("\n".join(after), variables, self.project)
        return status == 0


def pushed(machine: Machine, forge_url: str, workflow: Node) -> bool:
    """Run a GitHub workflow of one job as for a push to pull request 5; whether the job succeeded."""
    event = machine.folder / "event.json"
    event.write_text(json.dumps({"pull_request": {"number": 5, "head": {"sha": "a" * 40}}}))
    variables = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_API_URL": forge_url,
        "GITHUB_REPOSITORY": "o/r",
        "GITHUB_EVENT_PATH": str(event),
        "GITHUB_RUN_ID": "77",
        "GITHUB_WORKFLOW": "fine-tune",
        "GITHUB_JOB": "decide",
        "GITHUB_WORKSPACE": str(machine.project),
    }
    github = {"token": "ghs", "workflow": "fine-tune", "job": "decide", "run_id": "77", "run_attempt": "1"}
    context: dict[str, object] = {
        "github": github,
        "runner": {"os": "Linux"},
        "strategy": {"job-index": "0"},
        "secrets": {},
        "variables": variables,
    }
    assert cast("Node", workflow["permissions"])["pull-requests"] == "write"
    (job,) = cast("dict[str, Node]", workflow["jobs"]).values()
    return machine.github_job(job, context)


def _filled(given: Node, scope: Mapping[str, object]) -> dict[str, str]:
    return {name: _text(str(value), scope) for name, value in given.items()}


def _text(text: str, scope: Mapping[str, object]) -> str:
    def value(found: re.Match[str]) -> str:
        result = _value(found[1], scope)
        return "" if result is None else str(result)

    return re.sub(r"\$\{\{\s*(.*?)\s*\}\}", value, text)


def _value(path: str, scope: Mapping[str, object]) -> object:
    """What ``a.b.c`` names; empty, as on GitHub, where it names nothing."""
    found: object = scope
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _is_true(condition: str, scope: Mapping[str, object], ok: bool) -> bool:
    """Conditions joined by ``&&``: ``always()``, ``success()``, and texts that are compared."""
    for part in map(str.strip, condition.split("&&")):
        if compared := re.fullmatch(r"([\w.-]+) == '(\w*)'", part):
            if str(_value(compared[1], scope)) != compared[2]:
                return False
        elif part == "success()":
            if not ok:
                return False
        else:
            assert part == "always()", part
    return "always()" in condition or ok
