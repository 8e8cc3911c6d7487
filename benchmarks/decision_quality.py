"""How often a decision is wrong: error rates and power, by simulation and enumeration.

    python -m benchmarks decision_quality   # measures, prints, keeps the results (some minutes)
    python -m benchmarks decision_quality --only=gates,looks   # some parts of it
    python -m benchmarks.decision_quality   # prints what was kept as the table of docs/evidence.md

The generators are in ``benchmarks/quality/``; their parameters, seeds and Monte Carlo errors stand in each
result's detail.
"""

from __future__ import annotations

import json
from dataclasses import replace

from benchmarks.quality import (
    admission,
    candidates,
    curve,
    gates,
    groups,
    growing,
    judged,
    looks,
    money,
    rare_losses,
    regression,
    seeds,
    whole_decisions,
)
from benchmarks.results import RESULTS, Options, Result

PARTS = {
    "gates": gates.measure,
    "rare_losses": rare_losses.measure,
    "groups": groups.measure,
    "candidates": candidates.measure,
    "seeds": seeds.measure,
    "looks": looks.measure,
    "money": money.measure,
    "growing": growing.measure,
    "regression": regression.measure,
    "judged": judged.measure,
    "curve": curve.measure,
    "admission": admission.measure,
    "whole_decisions": whole_decisions.measure,
}
PREFIX = "decision: "  # by which the results are found again


def measure(options: Options) -> list[Result]:
    """The parts that are asked for, or all."""
    asked = options.only or PARTS
    found = [result for name, part in PARTS.items() if name in asked for result in part(options)]
    return [replace(result, name=PREFIX + result.name) for result in found]


def table() -> str:
    """The kept results as Markdown."""
    kept = json.loads(RESULTS.read_text(encoding="utf-8"))
    mine = [entry for entry in kept if str(entry["name"]).startswith(PREFIX)]
    lines = ["| what | bar | measured | |", "| --- | --: | --: | --- |"]
    for entry in mine:
        value = "–" if entry["value"] is None else f"{entry['value']:.4g}"
        least = "≥" if str(entry["bar_is"]).endswith("least") else "≤"
        bar = "–" if entry["bar"] is None else f"{least} {entry['bar']:g}"
        met = {True: "met", False: "**missed**", None: ""}[entry["passed"]]
        name = str(entry["name"]).removeprefix(PREFIX)
        lines.append(f"| {name} | {bar} | {value} {entry['unit']} | {met} |")
    dates = sorted({str(entry["date"])[:10] for entry in mine})
    return "\n".join([*lines, "", f"Measured {', '.join(dates)}."])


if __name__ == "__main__":
    print(table())
