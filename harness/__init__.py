"""Should we ship this fine-tune? The public names, nothing else."""

from harness.candidates.fixture import candidate
from harness.candidates.hosted_tuning import HostedTuning, OpenAITuning, WandB
from harness.candidates.specs import Candidate, FewShot, Full, LoRA, Prompted, QLoRA, SelfGenerated
from harness.decision.claims import assert_better, assert_not_worse
from harness.models.protocol import Decoding
from harness.models.remote import RemoteModel
from harness.scoring.checks import (
    Contains,
    ExactMatch,
    FieldMatch,
    JsonSchema,
    MaxTokens,
    Refusal,
    Regex,
)
from harness.scoring.judge import LikelihoodJudge
from harness.scoring.measures import LatencyMs, OutputTokens
from harness.scoring.rubric import Rubric
from harness.scoring.suite import Suite

__all__ = [
    "Candidate",
    "Contains",
    "Decoding",
    "ExactMatch",
    "FewShot",
    "FieldMatch",
    "Full",
    "HostedTuning",
    "JsonSchema",
    "LatencyMs",
    "LikelihoodJudge",
    "LoRA",
    "MaxTokens",
    "OpenAITuning",
    "OutputTokens",
    "Prompted",
    "QLoRA",
    "Refusal",
    "Regex",
    "RemoteModel",
    "Rubric",
    "SelfGenerated",
    "Suite",
    "WandB",
    "assert_better",
    "assert_not_worse",
    "candidate",
]
