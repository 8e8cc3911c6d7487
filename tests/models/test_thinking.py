"""What services are told of thinking, and the room that limits and bounds leave for it."""

from __future__ import annotations

import pytest

from harness.candidates.base import Variant
from harness.candidates.lab import Lab
from harness.candidates.prompted import Prompted
from harness.decision.prices import price_of
from harness.errors import UsageError
from harness.models.ledger import Ledger, Spending
from harness.models.progress import Silent
from harness.models.protocol import Decoding, Prompt
from harness.models.remote import RemoteModel
from harness.models.remote_wire import ModelWire
from harness.models.thinking import most_tokens
from harness.records import Message
from harness.store.adapters import AdapterStore

ASKED = Prompt("r0", (Message("user", "Which team?"),))
VLLM = "http://127.0.0.1:8000/v1"


def sent(model: str, thinking: bool | None, url: str | None = VLLM) -> dict[str, object]:
    """What a request has beside the model and the messages."""
    spec = RemoteModel(model, base_url=url, api_key_env="SOME_KEY")
    decoding = Decoding(max_new_tokens=50, thinking=thinking, max_thinking_tokens=300)
    fields = ModelWire(spec).request(ASKED, decoding).body
    return {key: value for key, value in fields.items() if key not in ("model", "messages", "temperature")}


@pytest.mark.parametrize(
    ("model", "url", "thinking", "fields"),
    [
        ("qwen3-4b", VLLM, None, {"max_tokens": 50}),
        (
            "qwen3-4b",
            VLLM,
            True,
            {"max_tokens": 350, "chat_template_kwargs": {"enable_thinking": True, "thinking": True}},
        ),
        (
            "qwen3-4b",
            VLLM,
            False,
            {"max_tokens": 50, "chat_template_kwargs": {"enable_thinking": False, "thinking": False}},
        ),
        ("gpt-5-mini", None, None, {"max_completion_tokens": 350}),
        ("gpt-5-mini", None, False, {"max_completion_tokens": 350, "reasoning_effort": "minimal"}),
        ("gpt-5.1", None, False, {"max_completion_tokens": 50, "reasoning_effort": "none"}),
        (
            "ft:o4-mini-2025-04-16:me::x",
            None,
            True,
            {"max_completion_tokens": 350, "reasoning_effort": "medium"},
        ),
        ("gpt-4o-mini", None, False, {"max_tokens": 50}),
        ("gpt-5-chat-latest", None, None, {"max_completion_tokens": 50}),
        ("openai/gpt-oss-20b", VLLM, None, {"max_tokens": 350}),
        ("qwen3-4b-thinking-2507", VLLM, None, {"max_tokens": 350}),
        ("grok-4-fast-non-reasoning", "https://api.x.ai/v1", None, {"max_tokens": 50}),
        (
            "qwen/qwen3-32b",
            "https://openrouter.ai/api/v1",
            True,
            {"max_tokens": 350, "reasoning": {"enabled": True}},
        ),
        (
            "deepseek-chat",
            "https://api.deepseek.com",
            True,
            {"max_tokens": 350, "thinking": {"type": "enabled"}},
        ),
        (
            "qwen/qwen3-32b",
            "https://api.groq.com/openai/v1",
            False,
            {"max_tokens": 50, "reasoning_effort": "none"},
        ),
    ],
)
def test_each_service_is_told_in_its_own_words(
    model: str, url: str | None, thinking: bool | None, fields: dict[str, object]
) -> None:
    assert sent(model, thinking, url) == fields


@pytest.mark.parametrize(("model", "thinking"), [("gpt-4o-mini", True), ("o3", False), ("gpt-5-pro", False)])
def test_what_a_model_cannot_do_is_said_before_anything_is_sent(
    model: str, thinking: bool, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    candidate = Prompted(model=RemoteModel(model), thinking=thinking)
    lab = Lab(tmp_path, AdapterStore(tmp_path), Silent())  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=rf"thinking={thinking}: {model}(.|\n)*hint: "):
        candidate.preflight(lab, Variant("c", candidate))


def test_the_bound_of_a_call_holds_the_thought() -> None:
    decoding = Decoding(max_new_tokens=50, thinking=True, max_thinking_tokens=300)
    spending = Spending("gpt-4o", price_of("gpt-4o", False), Ledger())
    spec = RemoteModel("gpt-4o", base_url=VLLM)
    most_usd = [
        ModelWire(spec, spending).request(ASKED, one).most_usd
        for one in (decoding, Decoding(max_new_tokens=350))
    ]
    assert most_usd[0] == most_usd[1]
    assert most_tokens("gpt-5", Decoding(max_new_tokens=50)) == 50 + Decoding().max_thinking_tokens
    assert most_tokens("", Decoding(max_new_tokens=50)) == 50
