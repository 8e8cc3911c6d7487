"""A local stand-in for OpenAI's API on loopback: files, tuning jobs, batches, completions, and faults.

For rehearsing hosted fine-tuning without a key, and for tests of clients of such a service:

    with running_fake_openai() as base_url:
        client = OpenAI(base_url=base_url, api_key="any")

Needs the extra ``twin``: ``pip install 'finetune-harness[twin]'``.
"""

from harness.testing.fake_openai.backend import Backend, FakeReply, Question, Step, Token, TuningTask
from harness.testing.fake_openai.completions import (
    ALIAS,
    CHAT,
    CLOSED_TO_TUNING,
    CLOSING,
    COMPLETIONS,
    RETIRED,
)
from harness.testing.fake_openai.faults import Faults, parse_faults
from harness.testing.fake_openai.scripted_backend import ScriptedBackend
from harness.testing.fake_openai.serving import (
    add_aliases,
    running_fake_openai,
    set_twin_faults,
    twin_stats,
)

__all__ = [
    "ALIAS",
    "CHAT",
    "CLOSED_TO_TUNING",
    "CLOSING",
    "COMPLETIONS",
    "RETIRED",
    "Backend",
    "FakeReply",
    "Faults",
    "Question",
    "ScriptedBackend",
    "Step",
    "Token",
    "TuningTask",
    "add_aliases",
    "parse_faults",
    "running_fake_openai",
    "set_twin_faults",
    "twin_stats",
]
