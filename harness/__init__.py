"""Should we ship this fine-tune? The public names, nothing else.

A name's module is imported when the name is first asked for (PEP 562): a project that switches the plugin on
and compares nothing pays for none of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.candidates.base import BaseCandidate, Candidate
    from harness.candidates.chain import Chain
    from harness.candidates.few_shot import FewShot
    from harness.candidates.fireworks_tuning import FireworksTuning
    from harness.candidates.fixture import candidate
    from harness.candidates.hosted_tuning import HostedTuning, NebiusTuning, OpenAITuning, WandB
    from harness.candidates.lora import Full, LoRA, QLoRA
    from harness.candidates.prompted import Prompted
    from harness.candidates.recorded import Recorded
    from harness.candidates.retrieval import Retrieval
    from harness.candidates.routed import Routed
    from harness.candidates.router import ByConfidence, ByLikeness
    from harness.candidates.tinker_tuning import TinkerTuning
    from harness.candidates.together_tuning import TogetherTuning
    from harness.decision.claims import assert_better, assert_not_worse
    from harness.models.protocol import Decoding
    from harness.models.remote import RemoteModel
    from harness.models.server import Server
    from harness.scoring.checks import (
        Contains,
        ExactMatch,
        FieldMatch,
        MaxTokens,
        Refusal,
        Regex,
    )
    from harness.scoring.json_schema import JsonSchema
    from harness.scoring.judge import LikelihoodJudge
    from harness.scoring.measures import LatencyMs, OutputTokens
    from harness.scoring.overlap import TokenF1
    from harness.scoring.pairwise import Pairwise
    from harness.scoring.panel import Panel
    from harness.scoring.rubric import Rubric
    from harness.scoring.similarity import Similarity
    from harness.scoring.suite import Suite
    from harness.scoring.tool_calls import ToolCall
    from harness.scoring.tuned_judge import TunedJudge
    from harness.training.local.self_generated import SelfGenerated

__all__ = [
    "BaseCandidate",
    "ByConfidence",
    "ByLikeness",
    "Candidate",
    "Chain",
    "Contains",
    "Decoding",
    "ExactMatch",
    "FewShot",
    "FieldMatch",
    "FireworksTuning",
    "Full",
    "HostedTuning",
    "JsonSchema",
    "LatencyMs",
    "LikelihoodJudge",
    "LoRA",
    "MaxTokens",
    "NebiusTuning",
    "OpenAITuning",
    "OutputTokens",
    "Pairwise",
    "Panel",
    "Prompted",
    "QLoRA",
    "Recorded",
    "Refusal",
    "Regex",
    "RemoteModel",
    "Retrieval",
    "Routed",
    "Rubric",
    "SelfGenerated",
    "Server",
    "Similarity",
    "Suite",
    "TinkerTuning",
    "TogetherTuning",
    "TokenF1",
    "ToolCall",
    "TunedJudge",
    "WandB",
    "assert_better",
    "assert_not_worse",
    "candidate",
]

_HOMES = {
    "BaseCandidate": "candidates.base",
    "ByConfidence": "candidates.router",
    "ByLikeness": "candidates.router",
    "Candidate": "candidates.base",
    "Chain": "candidates.chain",
    "Contains": "scoring.checks",
    "Decoding": "models.protocol",
    "ExactMatch": "scoring.checks",
    "FewShot": "candidates.few_shot",
    "FieldMatch": "scoring.checks",
    "FireworksTuning": "candidates.fireworks_tuning",
    "Full": "candidates.lora",
    "HostedTuning": "candidates.hosted_tuning",
    "JsonSchema": "scoring.json_schema",
    "LatencyMs": "scoring.measures",
    "LikelihoodJudge": "scoring.judge",
    "LoRA": "candidates.lora",
    "MaxTokens": "scoring.checks",
    "NebiusTuning": "candidates.hosted_tuning",
    "OpenAITuning": "candidates.hosted_tuning",
    "OutputTokens": "scoring.measures",
    "Pairwise": "scoring.pairwise",
    "Panel": "scoring.panel",
    "Prompted": "candidates.prompted",
    "QLoRA": "candidates.lora",
    "Recorded": "candidates.recorded",
    "Refusal": "scoring.checks",
    "Regex": "scoring.checks",
    "RemoteModel": "models.remote",
    "Retrieval": "candidates.retrieval",
    "Routed": "candidates.routed",
    "Rubric": "scoring.rubric",
    "SelfGenerated": "training.local.self_generated",
    "Server": "models.server",
    "Similarity": "scoring.similarity",
    "Suite": "scoring.suite",
    "TinkerTuning": "candidates.tinker_tuning",
    "TogetherTuning": "candidates.together_tuning",
    "TokenF1": "scoring.overlap",
    "ToolCall": "scoring.tool_calls",
    "TunedJudge": "scoring.tuned_judge",
    "WandB": "candidates.hosted_tuning",
    "assert_better": "decision.claims",
    "assert_not_worse": "decision.claims",
    "candidate": "candidates.fixture",
}


def __getattr__(name: str) -> object:
    if name == "Generated":  # until 0.4
        import warnings

        warnings.warn(
            "harness.Generated is called harness.SelfGenerated now.", DeprecationWarning, stacklevel=2
        )
        return __getattr__("SelfGenerated")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = found  # the next time without this function
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
