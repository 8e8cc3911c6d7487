"""The table beside other tools' rules: its draws, its columns, and whose code judges what."""

from __future__ import annotations

import ast
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import peer_gate_rules, peer_gates
from benchmarks.peer_gate_rules import COMMON, RULES, SIZES, TOLD
from benchmarks.peer_gates import judged, measure, missing, passes_here, table, truths
from benchmarks.results import Result
from harness.decision.paired import compare
from harness.records import Json, Kind, Outcome, ScoreVector

OURS = next(rule for rule in RULES if rule.alpha == 0.05 and rule.bound == -0.05)
FEW = dict.fromkeys(SIZES, 3)


def entry(result: Result, versions: dict[str, Json]) -> dict[str, Json]:
    return {**asdict(result), "date": "2026-01-02T03:04:05+00:00", "versions": versions}


def test_the_table_has_a_line_for_each_rule_with_its_rates_draws_and_error() -> None:
    kept = [entry(one, {}) for one in measure(replace(OURS, draws=FEW), None)]
    lines = table(kept).splitlines()
    for rule in RULES:
        assert any(line.startswith(f"| {rule.name} | {rule.level} |") for line in lines)
    (line,) = [one for one in lines if one.endswith("| 3 | 28.9 |") or one.endswith("| 3 | 27.2 |")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:2] == [OURS.name, "5%"]
    for cell in cells[2:5]:
        rates = [float(rate) for rate in cell.split(" / ")]
        assert len(rates) == len(SIZES)
        assert set(rates) <= {0.0, 33.3, 66.7, 100.0}
    assert "2026-01-02" in lines[-1]


def test_the_table_names_the_versions_and_what_could_not_be_had() -> None:
    peers = [rule for rule in RULES if rule.package]
    gone = [entry(one, {}) for one in missing(peers[0], "no such package")]
    detail = "GO at n=20/50: 50.0/1.0%; draws 400/100; s.e. at most 1.2 points; nominal 5%"
    had = Result(str(gone[0]["name"]), 0.5, "share", detail)
    found = table([entry(had, {"nemo-evaluator": "9.9"}), *gone[1:]])
    assert "| 50.0 / 1.0 / – / – / – | not to be had | not to be had | 400 to 100 | 1.2 |" in found
    assert "nemo-evaluator 9.9" in found


@pytest.mark.parametrize(
    ("lost", "gained", "n"), [(0, 0, 20), (0, 0, 100), (8, 15, 100), (2, 10, 50), (9, 4, 200)]
)
def test_our_column_is_what_compare_says(lost: int, gained: int, n: int) -> None:
    ids, groups = tuple(map(str, range(n))), (None,) * n
    ours = tuple([1.0] * gained + [0.0] * lost + [1.0] * (n - gained - lost))
    base = tuple([0.0] * gained + [1.0] * lost + [1.0] * (n - gained - lost))
    sides = [ScoreVector("x", "right", Kind.BINARY, ids, values, groups) for values in (ours, base)]
    for rule in RULES:
        if rule.alpha is not None:
            found = compare(sides[0], sides[1], bound=rule.bound, alpha=rule.alpha)
            assert passes_here(rule, lost, gained, n) == (found.outcome is Outcome.SHOWN)


def test_draws_have_the_truth_that_is_said_of_them() -> None:
    for truth in truths(OURS).values():
        both, lost, gained, neither = np.mean(truth.tables(400, 2000), axis=0) / 400
        assert (lost, gained) == pytest.approx((truth.lost, truth.gained), abs=0.003)
        assert both + lost == pytest.approx(0.8, abs=0.003)
        assert both + lost + gained + neither == pytest.approx(1)
        assert truth.tables(400, 7) == truth.tables(400, 2000)[:7]
    for difference in (-0.05, 0.0, 0.1):
        pairs = np.concatenate(peer_gates._truth(difference).repeated(400, 1, 100))
        assert pairs.mean(axis=0) == pytest.approx((0.8, 0.8 + difference), abs=0.01)
        assert 0.18 < (pairs[:, 0] != pairs[:, 1]).mean() < 0.25


def test_a_package_judges_the_same_draws_in_its_own_process() -> None:
    asked = replace(
        OURS, package="some", script="def passes(both, lost, gained, neither): return gained >= lost"
    )
    truth = truths(asked)["GO"]
    expected = [gained >= lost for _, lost, gained, _ in truth.tables(20, 2000)]
    assert judged(asked, truth, 20, sys.executable) == expected
    with pytest.raises(RuntimeError, match="some tool broke"):
        judged(replace(asked, script="raise ValueError('some tool broke')"), truth, 20, sys.executable)


def test_each_script_calls_its_own_package() -> None:
    for rule in RULES:
        if rule.package is None:
            continue
        module = rule.package.split("[")[0].replace("-", "_")
        tree = ast.parse(COMMON + rule.script + TOLD)
        assert module in {
            str(node.module).split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
        }


def test_nothing_of_the_peers_is_imported_here() -> None:
    for module in (peer_gates, peer_gate_rules):
        tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
        names = {
            alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
        }
        names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names | {
            "numpy",
            "benchmarks",
            "harness",
        }
