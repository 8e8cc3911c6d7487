"""Deprecated: candidates are in ``harness``. Ends in 0.4."""

import warnings

from harness.candidates.base import BaseCandidate, Candidate
from harness.candidates.few_shot import FewShot
from harness.candidates.lora import ALL_LINEAR, Full, LocalTuning, LoRA, QLoRA
from harness.candidates.prompted import Prompted
from harness.training.local.self_generated import SelfGenerated

__all__ = [
    "ALL_LINEAR",
    "BaseCandidate",
    "Candidate",
    "FewShot",
    "Full",
    "LoRA",
    "LocalTuning",
    "Prompted",
    "QLoRA",
    "SelfGenerated",
]

warnings.warn("harness.candidates.specs ends in 0.4: import from harness.", DeprecationWarning, stacklevel=2)
