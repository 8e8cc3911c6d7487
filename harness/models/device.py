"""Device, precision and faster ways, chosen from the machine and remembered: asking torch takes seconds.

The choice is part of every cache key, because greedy answers in bfloat16 depend on it.
"""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.atomic import write_atomically
from harness.models import fast, quiet_transformers
from harness.models.cache import cache_folder
from harness.models.fast import ALL_OFF, ALL_ON, FastPaths, warn_of

if TYPE_CHECKING:
    import torch


DECISIVE = frozenset(("avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16", "asimd", "bf16", "sve"))
HELD_BACK_BY = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
RULES = "5"  # raised when ask_torch chooses otherwise for the same machine


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """Device, working precision, attention kernels and the faster ways that are taken."""

    device: str  # "cpu" or "cuda"
    dtype: str  # "bfloat16", "float16" or "float32"
    training_attention: str
    inference_attention: str
    fast: FastPaths = ALL_ON

    @property
    def numeric_config(self) -> str:
        """The part of a cache key that says how numbers were computed."""
        return f"{self.dtype} on {self.device}, {self.inference_attention} attention"

    @property
    def torch_dtype(self) -> torch.dtype:
        """The precision as torch knows it."""
        import torch

        dtype: torch.dtype = getattr(torch, self.dtype)
        return dtype


def ask_torch() -> DevicePlan:
    """The plan for this machine, from torch itself.

    bfloat16 where the hardware multiplies it; never float16 on a CPU (about twenty times slower).
    On a CPU eager attention trains faster than SDPA at these lengths, and grouped eager attention decodes
    faster than both.
    """
    with quiet_transformers():
        paths = fast.examine()
    import torch

    if torch.cuda.is_available():
        # cards before Ampere would emulate it
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        dtype = "bfloat16" if has_bf16 else "float16"
        return DevicePlan("cuda", dtype, "sdpa", "sdpa", paths)
    # names that torch does not document; where they are gone, float32 is slower and never wrong
    asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    has_bf16 = may_use_bf16(os.environ) and any(getattr(torch.cpu, name, bool)() for name in asked)
    attention = "grouped_eager" if paths.attention else "eager"
    return DevicePlan("cpu", "bfloat16" if has_bf16 else "float32", "eager", attention, paths)


def cpu_name() -> str:
    """The processor's model name, as the system gives it."""
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8", errors="replace") if info.exists() else ""
    found = re.search(r"^model name\s*:(.*)", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def instruction_sets() -> str:
    """Those that decide how fast and in which precision this processor computes.

    A model name does not tell them: virtual machines of one processor are given more or fewer.
    """
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8", errors="replace") if info.exists() else ""
    found = re.search(r"^(?:flags|Features)\s*:(.*)", text, re.MULTILINE)
    sets = set(found[1].split()) if found else set()
    held_back = (f"{name}={os.environ[name]}" for name in HELD_BACK_BY if name in os.environ)
    return ",".join([*sorted(sets & DECISIVE), *held_back])


def may_use_bf16(environment: Mapping[str, str]) -> bool:
    """Whether oneDNN is left the instructions that multiply bfloat16 (``ONEDNN_MAX_CPU_ISA``)."""
    named = (environment.get(name, "").upper() for name in HELD_BACK_BY)
    least = ("AVX512_CORE_BF16", "AVX512_CORE_FP16", "AVX512_CORE_AMX", "AVX10_", "ALL", "DEFAULT")
    return all(not name or name.startswith(least) for name in named)


def gpu_names() -> list[str]:
    """NVIDIA's cards by their model names, as the driver gives them; by their devices where it does not."""
    told = Path("/proc/driver/nvidia/gpus").glob("*/information")
    names = (re.search(r"^Model:\s*(.*)", p.read_text(errors="replace"), re.MULTILINE) for p in told)
    return sorted(name[1] for name in names if name) or sorted(map(str, Path("/dev").glob("nvidia[0-9]*")))


def this_machine() -> dict[str, str]:
    """Everything that the plan depends on, read without importing torch."""
    return {
        "rules": RULES,
        "machine": platform.machine(),
        "processor": cpu_name(),
        "instructions": instruction_sets(),
        "gpus": ",".join(gpu_names()),
        "visible": os.environ.get("CUDA_VISIBLE_DEVICES", "all"),
        **fast.installed(),
    }


def device_plan() -> DevicePlan:
    """The plan for this machine: remembered, or asked of torch and remembered.

    Warns, once a process, where the installed libraries rule out a faster way.
    """
    machine = this_machine()
    memory = cache_folder() / "device.json"
    plan: DevicePlan | None = None
    try:
        kept = json.loads(memory.read_text(encoding="utf-8"))
        if kept["machine"] == machine:
            paths = kept["plan"].pop("fast")
            plan = DevicePlan(**kept["plan"], fast=FastPaths(**{**paths, "reasons": tuple(paths["reasons"])}))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # absent, damaged or of another version: asked again
    if plan is None:
        plan = ask_torch()
        write_atomically(memory, json.dumps({"machine": machine, "plan": asdict(plan)}, indent=1))
    if os.environ.get("HARNESS_FAST") == "0":
        attention = "eager" if plan.device == "cpu" else plan.inference_attention
        return replace(plan, inference_attention=attention, fast=ALL_OFF)
    warn_of(plan.fast)
    return plan
