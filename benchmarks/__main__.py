"""Run the benchmarks: ``python -m benchmarks [names] [--smoke] [--to-loss] [--rounds N] [--only PARTS]``.

Results are printed and kept in ``benchmarks/results.json`` as soon as each benchmark ends. Exit status 1
when a bar is missed.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

from benchmarks import (
    adoption,
    api_calls,
    conformance,
    constrained,
    decide_report,
    decision_quality,
    doors,
    faults,
    generation,
    judging,
    kills,
    ladder,
    large_run,
    leakage,
    machines,
    preflight,
    profile,
    ray_scale,
    reference_cases,
    rehearsals,
    tinker_curve,
    training,
    training_curve,
    training_profile,
    validation,
    xdist_once,
)
from benchmarks.results import Options, Result, keep, show, this_setting

# the quick ones first
BENCHMARKS: dict[str, Callable[[Options], list[Result]]] = {
    "doors": doors.measure,
    "leakage": leakage.measure,
    "preflight": preflight.measure,
    "validation": validation.measure,
    "decide_report": decide_report.measure,
    "large_run": large_run.measure,
    "ladder": ladder.measure,
    "ladder_local": ladder.measure_local,
    "api_calls": api_calls.measure,
    "decision_quality": decision_quality.measure,
    "judging": judging.measure,
    "conformance": conformance.measure,
    "rehearsals": rehearsals.measure,
    "kills": kills.measure,
    "faults": faults.measure,
    "xdist_once": xdist_once.measure,
    "constrained": constrained.measure,
    "ray": ray_scale.measure,
    "profile": profile.measure,
    "generation": generation.measure,
    "training": training.measure,
    "training_curve": training_curve.measure,
    "reference_cases": reference_cases.measure,
    "adoption": adoption.measure,
    "training_profile": training_profile.measure,
    "tinker_curve": tinker_curve.measure,
    "machines": machines.measure,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks named on the command line, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(BENCHMARKS)}; default: all")
    parser.add_argument("--smoke", action="store_true", help="two steps of everything; nothing is kept")
    parser.add_argument("--to-loss", action="store_true", help="race to equal loss on all training rows")
    parser.add_argument("--rounds", type=int, default=3, help="alternations of a comparison (default 3)")
    parser.add_argument(
        "--only",
        default="",
        help=f"parts of decision_quality ({', '.join(decision_quality.PARTS)}), doors, conformance,"
        " rehearsals, or reference_cases",
    )
    given = parser.parse_args(arguments)
    unknown = sorted(set(given.names) - BENCHMARKS.keys())
    if unknown:
        parser.error(f"unknown benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    if given.rounds < 1:
        parser.error("--rounds: at least 1")
    only = tuple(filter(None, given.only.split(",")))
    parts = {
        "decision_quality": decision_quality.PARTS,
        "doors": doors.TRIES,
        "conformance": conformance.SERVICES,
        "rehearsals": rehearsals.SERVICES,
        "reference_cases": reference_cases.PARTS,
    }
    known = parts.get(given.names[0], {}) if len(given.names) == 1 else {}
    if set(only) - known.keys():
        parser.error(f"--only is for one of {', '.join(parts)}; its parts are {', '.join(known) or 'none'}")
    # transformers 5.23 calls its own deprecated names
    warnings.filterwarnings("ignore", r"`(is_)?gradient_checkpointing` is deprecated", FutureWarning)
    options = Options(given.smoke, given.to_loss, 1 if given.smoke else given.rounds, only)
    met = [_run(name, options) for name in BENCHMARKS if name in (given.names or BENCHMARKS)]
    return 0 if all(met) or options.smoke else 1


def _run(name: str, options: Options) -> bool:
    """Whether every bar of the benchmark is met."""
    setting, began = this_setting(), time.perf_counter()
    print(f"\n== {name}", flush=True)
    results = BENCHMARKS[name](options)
    if options.smoke:
        results = [replace(result, bar=None, target=None) for result in results]
    show(results, setting)
    if options.smoke:
        print("smoke run: the figures mean nothing and are not kept")
    else:
        keep(results, setting)
    print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)
    return all(result.passed is not False for result in results)


if __name__ == "__main__":
    sys.exit(main())
