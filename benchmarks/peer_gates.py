"""Other tools' decision rules beside this project's gate: how often each lets a candidate pass.

    python -m benchmarks.peer_gates                                # the kept figures as tables
    python -m benchmarks.peer_gates --measure --python python3.13  # installs each package, measures, keeps

Measuring makes an environment for each package (none shares this package's own), with ``--python``, since
nemo-evaluator's gate is in releases that need Python 3.12. There the package's own functions judge what is
drawn here: paired right and wrong answers, the same draws for every rule. What cannot be installed is said
to be so, and no rule is written anew but the plain difference of means. ``--only NAME`` measures the rules of
one package (or ``ours``). Not part of ``python -m benchmarks``, because it fetches some hundred MB and takes
half an hour.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import sqrt
from pathlib import Path

import numpy as np

from benchmarks.peer_gate_rules import COMMON, RULES, SIZES, TOLD, Rule
from benchmarks.results import RESULTS, Result, keep, this_setting
from harness.decision.paired import compare
from harness.records import Json, Kind, Outcome, ScoreVector

PREFIX = "peer gates: "  # by which the results are found again
BASELINE, DISCORDANT, GAIN = 0.80, 0.20, 0.10


@dataclass(frozen=True, slots=True)
class Truth:
    """Shares of rows that only the candidate has right, and only the baseline; the baseline has 80%."""

    gained: float
    lost: float

    def tables(self, n: int, count: int) -> list[list[int]]:
        """The first ``count`` samples of n rows, the same for everyone who asks.

        Each is how many rows both have right, only the baseline, only the candidate, and neither.
        """
        shares = [BASELINE - self.lost, self.lost, self.gained, 1 - BASELINE - self.gained]
        drawn: list[list[int]] = self._generator(n, 1).multinomial(n, shares, 2000)[:count].tolist()
        return drawn

    def repeated(self, n: int, trials: int, count: int) -> list[list[list[int]]]:
        """Samples of n rows that are tried several times: of each row, both sides' numbers of passes.

        A row's chances are from Beta(4/3, 1/3), so single trials of an unchanged model are right on 80% and
        differ on 20%. What is lost, or gained, is spread over the rows in proportion to what each of them
        can lose, or gain.
        """
        rng, change = self._generator(n, trials), self.gained - self.lost
        drawn: list[list[list[int]]] = []
        for _ in range(count):
            chances = rng.beta(4 / 3, 1 / 3, n)
            room = (1 - chances) / (1 - BASELINE) if change > 0 else chances / BASELINE
            passes = rng.binomial(trials, np.clip([chances, chances + change * room], 0, 1))
            drawn.append(passes.T.tolist())
        return drawn

    def _generator(self, *more: int) -> np.random.Generator:
        return np.random.default_rng([round(1e4 * self.gained), round(1e4 * self.lost), *more])


def truths(rule: Rule) -> dict[str, Truth]:
    """What is measured of a rule: a column of its table, and the truth that is drawn from there."""
    if rule.claim == "better":
        return {"false GO": _truth(0.0), "GO": _truth(GAIN)}
    found = {
        "false GO": _truth(rule.bound),
        "false GO, no row gained": Truth(0.0, -rule.bound),
        "GO": _truth(0.0),
    }
    if rule.trials > 1:  # of rows that come out otherwise at each trial some are always gained
        del found["false GO, no row gained"]
    return found


def _truth(difference: float) -> Truth:
    return Truth((DISCORDANT + difference) / 2, (DISCORDANT - difference) / 2)


def passes_here(rule: Rule, lost: int, gained: int, n: int) -> bool:
    """This project's gate, and the plain difference of means: what runs without any package."""
    if rule.alpha is not None:
        return shown(rule.bound, rule.alpha, lost, gained, n)
    difference = (gained - lost) / n
    return difference > 0 if rule.claim == "better" else difference >= rule.bound


@cache
def shown(bound: float, alpha: float, lost: int, gained: int, n: int) -> bool:
    """Whether this project's comparison shows "candidate - baseline > ``bound``"."""
    same = [1] * (n - gained - lost)
    candidate = _vector("candidate", [1] * gained + [0] * lost + same)
    baseline = _vector("baseline", [0] * gained + [1] * lost + same)
    return compare(candidate, baseline, bound=bound, alpha=alpha).outcome is Outcome.SHOWN


def _vector(subject: str, right: Sequence[int]) -> ScoreVector:
    n = len(right)
    values = tuple(map(float, right))
    return ScoreVector(subject, "right", Kind.BINARY, tuple(map(str, range(n))), values, (None,) * n)


def judged(rule: Rule, truth: Truth, n: int, python: str | None) -> list[bool]:
    """Whether the rule lets each draw pass; by a package where ``python`` has one.

    Raises:
        RuntimeError: the package's code failed.
    """
    if python is None:
        tables = truth.tables(n, rule.draws[n])
        return [passes_here(rule, lost, gained, n) for _, lost, gained, _ in tables]
    job: dict[str, object] = {"claim": rule.claim, "margin": rule.margin, "trials": rule.trials}
    several = rule.trials > 1
    job["draws"] = (
        truth.repeated(n, rule.trials, rule.draws[n]) if several else truth.tables(n, rule.draws[n])
    )
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [python, "-c", COMMON + rule.script + TOLD],
            input=json.dumps(job),
            capture_output=True,
            text=True,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": "", "TMPDIR": folder},
        )
    line = next((line for line in done.stdout.splitlines() if line.startswith("JUDGED")), None)
    if line is None:
        raise RuntimeError(f"{rule.name}: {done.stderr.strip()[-600:]}")
    found: list[bool] = json.loads(line.removeprefix("JUDGED"))
    return found


def measure(rule: Rule, python: str | None) -> list[Result]:
    """One result for each column, with its rates at all sizes in the detail.

    The value is the largest of them; of a GO that is right, the rate at the most rows.
    """
    results = []
    for column, truth in truths(rule).items():
        rates = {n: float(np.mean(judged(rule, truth, n, python))) for n in rule.draws}
        errors = [sqrt(rate * (1 - rate) / rule.draws[n]) for n, rate in rates.items()]
        difference = 100 * (truth.gained - truth.lost)
        detail = (
            f"GO at n={_joined(rates)}: {_joined(f'{100 * rate:.1f}' for rate in rates.values())}%; "
            f"draws {_joined(rule.draws.values())}; s.e. at most {100 * max(errors):.1f} points; nominal "
            f"{rule.level}; truth: candidate {difference:+.1f} points, {100 * truth.gained:.4g}% of rows "
            f"gained, {100 * truth.lost:.4g}% lost, baseline right on {BASELINE:.0%}; trials: {rule.trials}"
        )
        value = rates[max(rates)] if column == "GO" else max(rates.values())
        results.append(Result(_name(rule, column), value, "share", detail))
        print(f"{results[-1].name}: {detail}", flush=True)
    return results


def missing(rule: Rule, reason: str) -> list[Result]:
    """What is kept of a rule whose package could not be had or run."""
    print(f"{rule.name}: {reason}", flush=True)
    return [Result(_name(rule, column), None, "share", reason) for column in truths(rule)]


def _joined(numbers: Iterable[object]) -> str:
    return "/".join(map(str, numbers))


def _name(rule: Rule, column: str) -> str:
    by = f" by {-100 * rule.bound:g} points" if rule.bound else ""
    return f"{PREFIX}{rule.claim}{by}, {rule.name}: {column}"


#: title, claim, and whether for a bound that is the tool's own default
TABLES = (
    ("Not worse by more than 5 points", "not worse", False),
    ("Not worse by more than the tool's own default", "not worse", True),
    ("Better", "better", False),
)


def table(kept: Sequence[Mapping[str, Json]]) -> str:
    """The kept results as Markdown, one table for each claim, and what was measured when."""
    found = {str(entry["name"]): entry for entry in kept if str(entry["name"]).startswith(PREFIX)}
    lines = [f"Share of draws that pass, in %, at n = {' / '.join(map(str, SIZES))}.", ""]
    for title, claim, own in TABLES:
        rules = [rule for rule in RULES if rule.claim == claim and (rule.bound not in (0.0, -0.05)) == own]
        columns = list(truths(rules[0]))
        lines += [f"| {title} | nominal | {' | '.join(columns)} | draws | s.e. ≤ |"]
        lines += ["| --- | --: |" + " --: |" * (len(columns) + 2)]
        lines += [f"| {rule.name} | {rule.level} | {_cells(rule, columns, found)} |" for rule in rules]
        lines += [""]
    dates = sorted({str(entry["date"])[:10] for entry in found.values()})
    return "\n".join([*lines, f"Measured {', '.join(dates)} with {', '.join(_versions(found.values()))}."])


DETAIL = re.compile(r"GO at n=[\d/]+: ([\d./]+)%; draws ([\d/]+); s\.e\. at most ([\d.]+) points")


def _cells(rule: Rule, columns: Sequence[str], found: Mapping[str, Mapping[str, Json]]) -> str:
    cells: list[str] = []
    draws: set[int] = set()
    errors: list[float] = []
    for column in columns:
        entry = found.get(_name(rule, column))
        told = DETAIL.match(str(entry["detail"])) if entry else None
        if told is None:
            cells.append("not to be had" if entry else "–")
            continue
        cells.append(" / ".join([*told[1].split("/"), *["–"] * len(SIZES)][: len(SIZES)]))
        draws |= set(map(int, told[2].split("/")))
        errors.append(float(told[3]))
    cells += [
        f"{draw:,}" if len(draws) == 1 else f"{draw:,} to {min(draws):,}" for draw in sorted(draws)[-1:]
    ]
    return " | ".join([*cells, f"{max(errors):.1f}"] if errors else [*cells, "", ""])


def _versions(entries: Iterable[Mapping[str, Json]]) -> list[str]:
    packages = {_project(rule) for rule in RULES if rule.package}
    found = set()
    for entry in entries:
        versions = entry["versions"]
        assert isinstance(versions, dict)
        found |= {f"{package} {versions[package]}" for package in packages & versions.keys()}
    return sorted(found)


def _project(rule: Rule) -> str:
    return re.split(r"[\[<>=]", rule.package or "ours")[0]


def installed(rule: Rule, folder: Path, base: str) -> tuple[str, str]:
    """The Python of an environment that holds the rule's package, and the package's version.

    Raises:
        RuntimeError: it cannot be had from the package index.
    """
    home = folder / _project(rule)
    python = str(home / ("Scripts" if sys.platform == "win32" else "bin") / "python")
    if not Path(python).exists():
        subprocess.run([base, "-m", "venv", str(home)], check=True)
    pip = [python, "-m", "pip", "install", "--quiet", "--no-warn-script-location", str(rule.package)]
    done = subprocess.run(pip, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{rule.package} could not be installed: {done.stderr.strip().splitlines()[-1]}")
    asked = f"from importlib.metadata import version; print(version({_project(rule)!r}))"
    return python, subprocess.run(
        [python, "-c", asked], capture_output=True, text=True, check=True
    ).stdout.strip()


def main() -> None:
    """Measure where asked to, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peer_gates", description=__doc__)
    parser.add_argument(
        "--measure", action="store_true", help="install, measure and keep; else print what was kept"
    )
    parser.add_argument("--python", default=sys.executable, help="what the environments are made with")
    parser.add_argument("--env", type=Path, help="folder of the environments, kept for the next time")
    parser.add_argument("--only", choices=sorted({_project(rule) for rule in RULES}), action="append")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for rule in RULES if given.measure else ():
            if given.only and _project(rule) not in given.only:
                continue
            setting = this_setting()
            try:
                if rule.package is None:
                    results = measure(rule, None)
                else:
                    python, version = installed(rule, given.env or Path(folder), given.python)
                    results = measure(rule, python)
                    setting = replace(setting, versions={**setting.versions, _project(rule): version})
            except RuntimeError as failed:
                results = missing(rule, str(failed))
            keep(results, setting)
    print(table(json.loads(RESULTS.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
