"""How fast this machine computes: remembered from earlier runs, or told by a second of matrix products."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from harness.atomic import write_atomically
from harness.models.cache import cache_folder
from harness.models.device import device_plan, this_machine

if TYPE_CHECKING:
    from harness.decision.plan import Purpose

# of the speed of plain matrix products, where no run has told: on two cores with AVX-512-BF16
SHARES: dict[Purpose, float] = {"training": 0.5, "answers": 0.21, "judging": 0.45}
PROBE_S = 1.0
LEAST_S = 5.0  # of work that tells a speed: less is mostly beginnings


class Pace:
    """Floating-point operations a second, for each purpose, of a model of so many bytes."""

    def __init__(self) -> None:
        self._file = cache_folder() / "pace.json"
        threads = os.environ.get("OMP_NUM_THREADS") or str(os.cpu_count() or 1)
        self._machine = {**this_machine(), "threads": threads}
        self._known: dict[str, dict[str, float]] = {}
        self._used: dict[Purpose, dict[str, float]] = {}
        self._ceiling: float | None = None
        try:
            kept = json.loads(self._file.read_text(encoding="utf-8"))
            if kept["machine"] == self._machine:
                speeds = kept["speeds"].items()
                self._known = {model: {p: float(s) for p, s in each.items()} for model, each in speeds}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass  # absent, damaged or of another version: measured again

    @property
    def is_remembered(self) -> bool:
        """Whether nothing that was asked for had to be guessed."""
        return self._ceiling is None

    def flop_per_second(self, model_bytes: int, purpose: Purpose) -> float:
        """The speed of one purpose."""
        found = self._known.get(str(model_bytes), {}).get(purpose)
        if found is None:
            if self._ceiling is None:
                self._ceiling = _products_per_second()
            found = self._ceiling * SHARES[purpose]
        self._used.setdefault(purpose, {})[str(model_bytes)] = found
        return found

    def correct(self, purpose: Purpose, predicted_s: float, actual_s: float) -> None:
        """Remember what work took that was predicted at the speeds of ``flop_per_second``."""
        if min(predicted_s, actual_s) < LEAST_S:
            return
        for model, speed in self._used.get(purpose, {}).items():
            self._known.setdefault(model, {})[purpose] = speed * predicted_s / actual_s
        told = json.dumps({"machine": self._machine, "speeds": self._known}, indent=1)
        with suppress(OSError):  # a full disk ends no run for this: the next one measures again
            write_atomically(self._file, told)


def _products_per_second() -> float:
    """Floating-point operations a second of plain matrix products, in this machine's working precision."""
    import torch

    plan = device_plan()
    rows, inputs, outputs = 512, 1024, 2048
    a = torch.randn(rows, inputs, device=plan.device, dtype=plan.torch_dtype)
    weight = torch.randn(outputs, inputs, device=plan.device, dtype=plan.torch_dtype)
    times, began, warm = 0, time.perf_counter(), None
    with torch.inference_mode():
        while True:
            torch.nn.functional.linear(a, weight)
            if plan.device == "cuda":
                torch.cuda.synchronize()
            now = time.perf_counter()
            if warm is None and now - began > PROBE_S / 4:
                warm, times = now, -1
            times += 1
            if warm is not None and now - warm > PROBE_S and times:
                return 2.0 * rows * inputs * outputs * times / (now - warm)
