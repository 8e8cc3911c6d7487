"""The example tuned at every service: its plan with the price, and its rehearsal at the scripted stand-in.

The example's suites are copied as they stand, but for the judge that this machine would train; its
``conftest.py`` gets a candidate of each service. ``--only openai,azure`` rehearses some.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from benchmarks.results import Options, Result
from harness.report.runjson import load_run

ROOT = Path(__file__).parents[1]
SIZE, GIVES_UP_S = 50, 120
_LLAMA = '"meta-llama/Meta-Llama-3.1-8B-Instruct-Reference"'
#: a candidate of each service, and of adapters that answer here, but for what all share
SERVICES: Mapping[str, str] = MappingProxyType(
    {
        "openai": 'OpenAITuning(base="gpt-4o-mini-2024-07-18"',
        "azure": 'OpenAITuning(base="gpt-4o-mini-2024-07-18", base_url="https://acme.openai.azure.com",'
        ' deployment="support-{size}", base_deployment="mini"',
        "nebius": 'NebiusTuning(base="meta-llama/Llama-3.1-8B-Instruct"',
        "together": f'TogetherTuning(base={_LLAMA}, deployment="support-{{size}}", base_deployment="base"',
        "fireworks": 'FireworksTuning(base="llama-v3p1-8b-instruct", deployment="support", account="acme"',
        "tinker": 'TinkerTuning(base="Qwen/Qwen3-8B", tokenizer="smollm2-135m"',  # the base's own is fetched
        "together-here": f"TogetherTuning(base={_LLAMA}, local_base=MODEL",
        "fireworks-here": 'FireworksTuning(base="llama-v3p1-8b-instruct", local_base=MODEL, account="acme"',
    }
)
_CONFTEST = """

from harness import FireworksTuning, OpenAITuning, TinkerTuning, TogetherTuning
"""
_CANDIDATE = """

@harness.candidate
def at_{name}():
    return {code}, train=TRAIN, dev=DEV, stratify="intent", schema=TICKET)
"""
_JUDGE = re.compile(r"^summary = .*$", re.MULTILINE)


def measure(options: Options) -> list[Result]:
    """Rehearse every service, or those that were named."""
    results = []
    with tempfile.TemporaryDirectory() as place:
        project = Path(place)
        write_project(project)
        for name in options.only or SERVICES:
            plan = asked(project, name, "--plan")
            rehearsal = asked(project, name, "--rehearse")
            verdict, usd = decided(project, name)
            price = priced(plan.stdout)
            is_well = plan.returncode == 0 and rehearsal.returncode in (0, 1) and bool(price and verdict)
            if not is_well:
                print(plan.stdout, plan.stderr, rehearsal.stdout, rehearsal.stderr, sep="\n")
            print(
                f"{name:<15} {verdict or 'no decision':<12} {usd} dollars\n{price or 'no price'}", flush=True
            )
            told = f"{verdict} at the stand-in, {usd} dollars; {' '.join(price.split())}"
            missed = float(not is_well)
            results.append(Result(f"rehearsal: {name}", missed, "", told, bar=0, bar_is="value at most"))
    return results


def write_project(project: Path) -> None:
    """The example with a candidate of each service."""
    shutil.copytree(ROOT / "suites", project / "suites")
    own = "".join(
        _CANDIDATE.format(name=name.replace("-", "_"), code=code) for name, code in SERVICES.items()
    )
    conftest = (ROOT / "conftest.py").read_text(encoding="utf-8")
    (project / "conftest.py").write_text(conftest + _CONFTEST + own, encoding="utf-8")
    suite = project / "suites" / "support" / "test_support.py"
    judged = suite.read_text(encoding="utf-8")
    suite.write_text(_JUDGE.sub('summary = FieldMatch("summary")', judged), encoding="utf-8")


def asked(project: Path, name: str, mode: str) -> subprocess.CompletedProcess[str]:
    """A run of pytest on the project, without any service's key."""
    own = {key: value for key, value in os.environ.items() if not key.endswith("_API_KEY")}
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "suites", "-q", f"--candidate=at-{name}", mode),
            *(f"--sizes={SIZE}", f"--harness-store=.{name}", "-p", "no:cacheprovider", "-p", "no:randomly"),
        ],
        cwd=project,
        env={**own, "PYTHONPATH": str(ROOT), "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=GIVES_UP_S,
        check=False,
    )


def priced(plan: str) -> str:
    """The rows of a plan's table of prices: dollars, date, where they were read."""
    table = re.search(r"^dollars a million tokens.*\n((?:.+\n)+)", plan, re.MULTILINE)
    return table[1].rstrip() if table else ""


def decided(project: Path, name: str) -> tuple[str, str]:
    """The verdict of its newest rehearsal, and what would have been paid; empty: there is none."""
    files = sorted((project / "reports").glob(f"*-at-{name}/run.json"))
    if not files:
        return "", ""
    record = load_run(files[-1].read_text(encoding="utf-8"), str(files[-1]))
    verdict = record.decisions[0].verdict if record.rehearsal and record.decisions else ""
    return str(verdict), f"{sum(line.usd for line in record.spending):.4f}"
