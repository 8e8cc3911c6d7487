"""Threads that wait for each other leave a busy machine's cores to others."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from harness.models import running_elsewhere, spin_count

LOOK = "import os, harness.models; print(os.environ.get('GOMP_SPINCOUNT'), os.environ.get('OMP_WAIT_POLICY'))"


@pytest.mark.parametrize(
    ("others", "cpus", "threads", "spins"),
    [(0, 2, 2, True), (1, 2, 2, False), (1, 2, 1, True), (10, 64, 8, True), (60, 64, 8, False)],
)
def test_threads_spin_only_where_nobody_else_wants_their_cores(
    others: int, cpus: int, threads: int, spins: bool
) -> None:
    assert (spin_count(others, cpus, threads) > 0) is spins


def test_what_others_want_is_a_count() -> None:
    assert running_elsewhere() >= 0


@pytest.mark.parametrize("name", ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"])
def test_what_the_user_has_set_stays(name: str) -> None:
    clean = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    told = subprocess.run(
        [sys.executable, "-c", LOOK], env={**clean, name: "77"}, capture_output=True, text=True, check=True
    )
    assert sorted(told.stdout.split()) == ["77", "None"]
