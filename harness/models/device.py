"""Which device and which precision, chosen from the machine and remembered.

The choice is part of every cache key, because greedy answers in bfloat16 depend on it. Asking torch
costs seconds, so the answer is kept per installation and hardware: a run in which everything is
cached never imports torch.
"""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from harness.atomic import write_atomically
from harness.models.cache import cache_folder

if TYPE_CHECKING:
    import torch


RULES = "2"  # raised when ask_torch chooses otherwise for the same machine


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """Device, working precision and attention kernels. ``dtype`` is a torch dtype's name."""

    device: str  # "cpu" or "cuda"
    dtype: str  # "bfloat16", "float16" or "float32"
    training_attention: str
    inference_attention: str

    @property
    def numeric_config(self) -> str:
        """The part of a cache key that says how numbers were computed."""
        return f"{self.dtype} on {self.device}, {self.inference_attention} attention"

    @property
    def torch_dtype(self) -> torch.dtype:
        """The precision as torch knows it."""
        import torch

        dtypes = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
        return dtypes[self.dtype]


def ask_torch() -> DevicePlan:
    """The plan for this machine, from torch itself.

    bfloat16 where the hardware multiplies it; never float16 on a CPU (about twenty times slower).
    On a CPU eager attention trains faster than SDPA at these lengths, and grouped eager attention decodes
    faster than both.
    """
    import torch

    if torch.cuda.is_available():
        dtype = "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
        return DevicePlan("cuda", dtype, "sdpa", "sdpa")
    has_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return DevicePlan("cpu", "bfloat16" if has_bf16 else "float32", "eager", "grouped_eager")


def _machine() -> dict[str, str]:
    """What the plan depends on, read without importing torch."""
    gpus = sorted(str(p) for p in Path("/dev").glob("nvidia[0-9]*"))
    return {
        "rules": RULES,
        "torch": version("torch"),
        "machine": platform.machine(),
        "processor": cpu_name(),
        "gpus": ",".join(gpus),
        "visible": os.environ.get("CUDA_VISIBLE_DEVICES", "all"),
    }


def cpu_name() -> str:
    """The processor's model name, as the system gives it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def device_plan() -> DevicePlan:
    """The plan for this machine: remembered, or asked of torch and remembered."""
    machine = _machine()
    memory = cache_folder() / "device.json"
    plan = _remembered(memory, machine)
    if plan:
        return plan
    plan = ask_torch()
    write_atomically(memory, json.dumps({"machine": machine, "plan": asdict(plan)}, indent=1))
    return plan


def _remembered(memory: Path, machine: dict[str, str]) -> DevicePlan | None:
    try:
        kept = json.loads(memory.read_text(encoding="utf-8"))
        return DevicePlan(**kept["plan"]) if kept["machine"] == machine else None
    except (OSError, ValueError, KeyError, TypeError):  # absent, damaged or of another version: asked again
        return None
