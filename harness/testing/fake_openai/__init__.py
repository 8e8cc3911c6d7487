"""The local twin: the hosted service's API on loopback, with real training of the built-in model behind it.

For rehearsing hosted fine-tuning without a key, and for tests of what speaks to such a service:

    with running_twin(backend=ScriptedBackend()) as base_url:
        client = OpenAI(base_url=base_url, api_key="any")

Needs the extra ``twin``: ``pip install 'finetune-harness[twin]'``.
"""

from harness.testing.fake_openai.backend import Backend, Order, Question, Reply, Step, Token, Trained
from harness.testing.fake_openai.catalogue import (
    ALIAS,
    CHAT,
    CLOSED_TO_TUNING,
    CLOSING,
    COMPLETIONS,
    RETIRED,
    TwinModel,
)
from harness.testing.fake_openai.faults import Faults
from harness.testing.fake_openai.scripted import ScriptedBackend
from harness.testing.fake_openai.serving import running_twin, set_twin_faults, stand_in, twin_stats

__all__ = [
    "ALIAS",
    "CHAT",
    "CLOSED_TO_TUNING",
    "CLOSING",
    "COMPLETIONS",
    "RETIRED",
    "Backend",
    "Faults",
    "Order",
    "Question",
    "Reply",
    "ScriptedBackend",
    "Step",
    "Token",
    "Trained",
    "TwinModel",
    "running_twin",
    "set_twin_faults",
    "stand_in",
    "twin_stats",
]
