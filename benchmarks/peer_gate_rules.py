"""The rules that ``peer_gates`` measures: scripts that call other tools' own code, and what each is asked.

A script runs in an environment that holds its package. It reads a job on standard input: the claim ("better"
or "not worse"), the margin (null: the package's default), and the draws. A draw is how many rows both sides
have right, only the baseline, only the candidate, and neither; with several trials, a pair of passes a row.
It prints for each draw whether the rule would let the candidate pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Claim: TypeAlias = Literal["not worse", "better"]

SIZES = (20, 50, 100, 200, 400)
# draws at each size; fewer where a verdict takes seconds
PLAIN = dict.fromkeys(SIZES, 2000)
SHUFFLED = {20: 1000, 50: 500, 100: 300, 200: 100, 400: 50}
REPEATED = {20: 200, 50: 200, 100: 100}

COMMON = """
import json, sys
from functools import cache
job = json.load(sys.stdin)
claim, margin, draws = job["claim"], job["margin"], job["draws"]
def sides(both, lost, gained, neither):
    baseline = [1] * (both + lost) + [0] * (gained + neither)
    return baseline, [1] * both + [0] * lost + [1] * gained + [0] * neither
"""

# without categories and without a relative drop the gate sees the paired differences only, so each table of
# gains and losses is judged once
NEMO_EVALUATOR = """
import logging, tempfile
from pathlib import Path
from nemo_evaluator.config.gate_policy import GatePolicy
from nemo_evaluator.engine.gate import gate_runs
logging.disable()
entry = {"metric": "mean_reward"} if margin is None else {"metric": "mean_reward", "max_drop": margin}
policy = GatePolicy.model_validate({"benchmarks": {"suite": entry}})
folder = Path(tempfile.mkdtemp())
def written(name, rewards):
    here = folder / name
    here.mkdir(exist_ok=True)
    scores = {"mean_reward": {"value": sum(rewards) / len(rewards)}}
    (here / "eval-suite.json").write_text(json.dumps({"benchmark": {"name": "suite", "scores": scores}}))
    rows = [{"problem_idx": at, "repeat": 0, "reward": float(one)} for at, one in enumerate(rewards)]
    (here / "results.jsonl").write_text("\\n".join(map(json.dumps, rows)))
    return here
@cache
def judged(lost, gained, n):
    baseline, candidate = sides(n - lost - gained, lost, gained, 0)
    return gate_runs(written("baseline", baseline), written("candidate", candidate), policy).verdict == "GO"
def passes(both, lost, gained, neither): return judged(lost, gained, both + lost + gained + neither)
"""

# ``check`` also computes intervals of each side, which its verdict does not use and which take most of its
# time; one draw of each job goes through it whole
ILLATE_PARITY = """
import inspect
import numpy as np
from illate_parity.bootstrap import fast_paired_accuracy
from illate_parity.parity import check, verdict
if margin is None:
    margin = inspect.signature(check).parameters["margin"].default
@cache
def judged(lost, gained, n):
    baseline, candidate = map(np.array, sides(n - lost - gained, lost, gained, 0))
    found = fast_paired_accuracy(np.ones(n, int), baseline, candidate, seed=2)
    return verdict(found["low"], found["high"], margin) == "PASS"
def passes(both, lost, gained, neither): return judged(lost, gained, both + lost + gained + neither)
def labelled(right):
    return [{"id": str(at), "label": "right" if one else "wrong"} for at, one in enumerate(right)]
both, lost, gained, neither = draws[0]
n = sum(draws[0])
baseline, candidate = map(labelled, sides(n - lost - gained, lost, gained, 0))
whole = check(labelled([1] * n), baseline, candidate, margin=margin, labels=["right", "wrong"])
assert (whole["verdict"] == "PASS") == passes(*draws[0])
"""

# "better" is the task's metric with an untouched regression suite; "not worse" is one category of that suite
# beside a task that has clearly improved
TRAINJUDGE = """
from trainjudge.regression_check import CATEGORIES
from trainjudge.verdict import IMPROVED, decide
def evaluation(right):
    examples = [{"prompt": str(at), "outcome": "correct" if one else "wrong"} for at, one in enumerate(right)]
    return {"accuracy": sum(right) / len(right), "scored": len(right), "examples": examples}
def suite(right):
    first = {"rate": sum(right) / len(right), "total": len(right)}
    kept = {"rate": 1.0, "total": 18}
    return {"summary": {one: first if one == CATEGORIES[0] else kept for one in CATEGORIES}}
option = {"better": "min_improvement", "not worse": "regression_tolerance"}[claim]
given = {} if margin is None else {option: 100 * margin}
def passes(*cells):
    baseline, candidate = sides(*cells)
    if claim == "better":
        found = decide(evaluation(baseline), evaluation(candidate), suite([1] * 18), suite([1] * 18), **given)
    else:
        found = decide(evaluation([0] * 20), evaluation([1] * 20), suite(baseline), suite(candidate), **given)
    return found.outcome == IMPROVED
"""

# 1,000 shuffles instead of 10,000, which would take seconds a verdict; and the fewest it takes where the mean
# difference alone decides, because a verdict then does not read them
REGRESSGATE = """
from regressgate.gate import GateConfig, compare_reports
from regressgate.run_report import CaseResult, RunReport, Trial
outcomes = {passed: Trial(passed=passed, latency_s=0.0) for passed in (True, False)}
trials = job["trials"]
given = {} if margin is None else {"margin": margin}
def report(counts):
    cases = [CaseResult(id=str(at), trials=[outcomes[k < one] for k in range(trials)])
             for at, one in enumerate(counts)]
    return RunReport(regressgate_version="0", created_at="", target="", repeats=trials, cases=cases)
def judged(baseline, candidate):
    change = (sum(candidate) - sum(baseline)) / trials / len(baseline)
    least = GateConfig(**given).margin
    open_ = change > least - 1e-9 if claim == "better" else change < -least + 1e-9
    config = GateConfig(permutations=1000 if open_ else 100, **given)
    found = compare_reports(report(baseline), report(candidate), config)
    return found.verdict == "improvement" if claim == "better" else not found.failed
@cache
def single(lost, gained, n): return judged(*sides(n - lost - gained, lost, gained, 0))
def passes(*drawn):
    if trials > 1:
        return judged(*zip(*drawn))
    both, lost, gained, neither = drawn
    return single(lost, gained, sum(drawn))
"""

TOLD = """
print("JUDGED", json.dumps([bool(passes(*one)) for one in draws]))
"""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule with one setting.

    Args:
        name: as the table has it.
        claim: what its passing would say.
        level: how often it should pass at its bound at most, as its authors say; in words.
        bound: of the claim "candidate - baseline > bound", for whose truth it is measured.
        margin: what the rule is given; None: its own default.
        package: what pip installs, or None for a rule that runs here.
        script: what judges the draws there.
        alpha: of this project's gate; None for the plain difference of means.
        trials: of each row, on both sides.
        draws: at each size that is measured.
    """

    name: str
    claim: Claim
    level: str
    bound: float
    margin: float | None = None
    package: str | None = None
    script: str = ""
    alpha: float | None = None
    trials: int = 1
    draws: Mapping[int, int] = field(default_factory=lambda: PLAIN)


NEMO = ("nemo-evaluator[stats]>=0.3", NEMO_EVALUATOR)
ILLATE = ("illate-parity", ILLATE_PARITY)
TRAIN = ("trainjudge", TRAINJUDGE)
REGRESS = ("regressgate", REGRESSGATE)

RULES = (
    Rule("this project's gate", "not worse", "5%", -0.05, alpha=0.05),
    Rule("this project's gate, `alpha=0.025`", "not worse", "2.5%", -0.05, alpha=0.025),
    Rule("nemo-evaluator, `max_drop: 0.05`", "not worse", "2.5%", -0.05, 0.05, *NEMO),
    Rule("illate-parity, `--margin 0.05`", "not worse", "2.5%", -0.05, 0.05, *ILLATE),
    Rule(
        "trainjudge, a category of its regression check (tolerance 5 points)",
        "not worse",
        "none",
        -0.05,
        None,
        *TRAIN,
    ),
    Rule("regressgate, 1 trial", "not worse", "none", -0.05, None, *REGRESS, draws=SHUFFLED),
    Rule("regressgate, `margin: 0.05`, 1 trial", "not worse", "none", -0.05, 0.05, *REGRESS, draws=SHUFFLED),
    Rule("regressgate, 3 trials", "not worse", "none", -0.05, None, *REGRESS, trials=3, draws=REPEATED),
    Rule(
        "regressgate, `margin: 0.05`, 3 trials",
        "not worse",
        "none",
        -0.05,
        0.05,
        *REGRESS,
        trials=3,
        draws=REPEATED,
    ),
    Rule("difference of means ≥ −5 points", "not worse", "none", -0.05),
    Rule("nemo-evaluator, its default of 1.5 points", "not worse", "2.5%", -0.015, None, *NEMO),
    Rule("this project's gate, 1.5 points", "not worse", "5%", -0.015, alpha=0.05),
    Rule("illate-parity, its default of 3 points", "not worse", "2.5%", -0.03, None, *ILLATE),
    Rule("this project's gate, 3 points", "not worse", "5%", -0.03, alpha=0.05),
    Rule("this project's gate", "better", "5%", 0.0, alpha=0.05),
    Rule("this project's gate, `alpha=0.025`", "better", "2.5%", 0.0, alpha=0.025),
    Rule("trainjudge (3 points at least)", "better", "2.5%", 0.0, None, *TRAIN),
    Rule("trainjudge, `--min-improvement 0`", "better", "2.5%", 0.0, 0.0, *TRAIN),
    Rule('regressgate, "improvement", 1 trial', "better", "2.5%", 0.0, None, *REGRESS, draws=SHUFFLED),
    Rule(
        'regressgate, "improvement", 3 trials',
        "better",
        "2.5%",
        0.0,
        None,
        *REGRESS,
        trials=3,
        draws=REPEATED,
    ),
    Rule("nemo-evaluator, `max_drop: 0`", "better", "2.5%", 0.0, 0.0, *NEMO),
    Rule("illate-parity, `--margin 0`", "better", "2.5%", 0.0, 0.0, *ILLATE),
    Rule("difference of means > 0", "better", "none", 0.0),
)
