"""Training behind Tinker's wire, against the same steps in plain torch; and the built-in model's answers."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import pytest
from tiny_llama import EXACT, build_granite, build_source, build_tokenizer, save

from harness.records import Message
from harness.testing.fake_openai import Question
from harness.testing.fake_tinker.backend import AdamStep, Sampling, TrainedTokens, UserError
from harness.testing.fake_tinker.real import ALPHA, RealTinker
from harness.testing.fake_tinker.records import Lora

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.usefixtures("forgets_connections"),
]

DATA = [
    TrainedTokens(list(range(10, 30)), list(range(11, 31)), [0.0] * 8 + [1.0] * 12),
    TrainedTokens([5, 6, 7, 8, 9, 40], [6, 7, 8, 9, 40, 41], [0.0, 0.0, 0.5, 2.0, 1.0, 0.0]),
    TrainedTokens([3] * 40, [4] * 40, [0.0] * 40),
]
STEPS = [AdamStep(1e-2, (0.9, 0.95), 1e-8, 0.1, 0.5), AdamStep(5e-3, (0.8, 0.9), 1e-6, 0.0, 0.0)]


def plain_steps(
    base: Path, adapter: Path, data: Sequence[TrainedTokens]
) -> tuple[list[float], list[float], dict[str, object]]:
    """Losses and norms of gradients at each of ``STEPS``, and the weights after them; row by row, by hand."""
    import torch
    from peft import PeftModel, get_peft_model_state_dict
    from transformers import AutoModelForCausalLM

    with warnings.catch_warnings(action="ignore"):  # of tied heads that have adapters
        model = PeftModel.from_pretrained(
            AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), str(adapter), is_trainable=True
        )
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    moments = [(torch.zeros_like(weight), torch.zeros_like(weight)) for weight in weights]
    losses, norms = [], []
    for number, step in enumerate(STEPS, start=1):
        total = torch.zeros(())
        for datum in data:
            logits = model(input_ids=torch.tensor([datum.tokens])).logits[0].float()
            chosen = logits.log_softmax(-1)[range(len(datum.targets)), datum.targets]
            total = total - (chosen * torch.tensor(datum.weights)).sum()
        slopes = torch.autograd.grad(total, weights)
        norm = torch.stack([(slope**2).sum() for slope in slopes]).sum().sqrt()
        losses.append(float(total.detach()))
        norms.append(float(norm))
        scale = min(1.0, step.clip / (float(norm) + 1e-6)) if step.clip else 1.0
        first, second = (1 - beta**number for beta in step.betas)
        for weight, slope, (mean, square) in zip(weights, slopes, moments, strict=True):
            mean.mul_(step.betas[0]).add_(slope * scale, alpha=1 - step.betas[0])
            square.mul_(step.betas[1]).add_((slope * scale) ** 2, alpha=1 - step.betas[1])
            change = mean / first / ((square / second).sqrt() + step.eps)
            weight.data.mul_(1 - step.learning_rate * step.weight_decay).sub_(step.learning_rate * change)
    return losses, norms, get_peft_model_state_dict(model, save_embedding_layers=False)


@pytest.mark.parametrize("architecture", ["llama", "granite"])  # the latter scales its logits after the head
def test_two_steps_are_those_of_plain_torch_and_a_resumed_run_takes_the_same(
    tmp_path: Path, architecture: str
) -> None:
    import torch
    from safetensors.torch import load_file

    base = tmp_path / "base"
    if architecture == "llama":
        build_source(base)
    else:
        tokenizer = build_tokenizer()
        save(build_granite(tokenizer), tokenizer, base)
    folders = [tmp_path / name for name in ("begin", "middle", "end", "resumed", "other")]
    for folder in folders:
        folder.mkdir()
    begin, middle, end, resumed, other = folders
    models = RealTinker(plan=EXACT)
    models.create("run", str(base), Lora(rank=4, seed=3))
    models.create("other", str(base), Lora(rank=2, seed=4, train_unembed=False, train_attn=False))
    models.save("run", begin, optimizer=True)
    models.save("other", other, optimizer=False)
    shape = json.loads((begin / "adapter_config.json").read_text())
    assert (shape["r"], shape["lora_alpha"]) == (4, ALPHA)
    assert set(shape["target_modules"]) == {
        *("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head")
    }
    said = json.loads((other / "adapter_config.json").read_text())["target_modules"]
    assert set(said) == {"gate_proj", "up_proj", "down_proj"}

    def loss(run: str, *, backward: bool) -> float:
        # in two requests, whose gradients add up
        rows = [*models.forward(run, DATA[:1], backward=backward)]
        rows += models.forward(run, DATA[1:], backward=backward)
        assert [len(row) for row in rows] == [len(datum.tokens) for datum in DATA]
        return -sum(
            w * p for d, row in zip(DATA, rows, strict=True) for w, p in zip(d.weights, row, strict=True)
        )

    losses, norms = [], []
    for number, step in enumerate(STEPS):
        losses.append(loss("run", backward=True))
        assert loss("run", backward=False) == pytest.approx(losses[-1], rel=1e-6)
        models.forward("other", DATA, backward=True)  # of its own adapters
        norms.append(models.step("run", step)["unclipped_grad_l2_norm"])
        models.save("run", (middle, end)[number], optimizer=True)
    expected_losses, expected_norms, expected = plain_steps(base, begin, DATA)
    assert losses == pytest.approx(expected_losses, rel=1e-5)
    assert norms == pytest.approx(expected_norms, rel=1e-4)
    found = load_file(end / "adapter_model.safetensors")
    assert found.keys() == expected.keys()
    for name, weight in found.items():
        torch.testing.assert_close(weight, expected[name], atol=2e-5, rtol=1e-4)

    models.create("again", str(base), Lora(rank=4))
    models.load("again", middle, optimizer=True)
    loss("again", backward=True)
    models.step("again", STEPS[1])
    models.save("again", resumed, optimizer=False)
    for name, weight in load_file(resumed / "adapter_model.safetensors").items():
        torch.testing.assert_close(weight, found[name], atol=0, rtol=0)

    prompt = DATA[0].tokens
    (drawn,) = models.sample(str(base), end, prompt, Sampling(4, temperature=0.0, stops=()), 1)
    scored = models.logprobs(str(base), end, [*prompt, *drawn.tokens])
    assert scored[len(prompt) - 1 :] == pytest.approx(drawn.logprobs, abs=1e-4)
    assert models.logprobs(str(base), end, prompt) != models.logprobs(str(base), None, prompt)
    with pytest.raises(UserError, match="vocabulary"):
        models.forward("run", [TrainedTokens([99_999], [1], [1.0])], backward=False)
    asked = Question(str(base), end, (Message("user", "Where is my order?"),), 5, temperature=0.0)
    assert models.reply(asked).completion_tokens > 0


def test_the_built_in_model_learns_a_row_through_the_sdk_and_says_it() -> None:
    """Rank, seed and layers as asked; a run of the twin of OpenAI's API waits meanwhile."""
    import tinker
    from openai import OpenAI
    from tinker import types

    from harness.models.chat_format import load_chat
    from harness.models.progress import Silent
    from harness.models.source import BUILTIN, resolve
    from harness.records import Row
    from harness.testing.fake_openai import running_fake_openai
    from harness.training.local.tokens import encode_rows

    chat = load_chat(resolve(BUILTIN, Silent()), None)
    row = Row("row", (Message("user", "Which colour is box 3?"), Message("assistant", "Box 3 is purple.")))
    (example,) = encode_rows(chat, [row], 512)
    weights = [float(label >= 0) for label in example.labels[1:]]
    datum = types.Datum(
        model_input=types.ModelInput.from_ints(example.input_ids[:-1]),
        loss_fn_inputs={
            "target_tokens": types.TensorData(example.input_ids[1:], "int64"),
            "weights": types.TensorData(weights, "float32"),
        },
    )
    with (
        running_fake_openai(train=True) as url,
        tinker.ServiceClient(base_url=url, api_key="tml-of-tests") as client,
    ):
        run = client.create_lora_training_client(BUILTIN, rank=8, seed=1, train_unembed=False).result()
        losses = []
        for _ in range(8):
            passed = run.forward_backward([datum], "cross_entropy")
            run.optim_step(types.AdamParams(learning_rate=1e-3)).result()
            losses.append(passed.result().metrics["loss:sum"] / sum(weights))
        assert losses[-1] < 0.2 < 1 < losses[0]
        tuned = run.save_weights_for_sampler("a").result().path
        openai = OpenAI(base_url=f"{url}/oai/api/v1", api_key="tml-of-tests", max_retries=0)
        said = [
            openai.chat.completions.create(
                model=model,
                messages=[{"role": "user", "content": "Which colour is box 3?"}],
                temperature=0,
                max_tokens=12,
            )
            for model in (tuned, BUILTIN)
        ]
        assert [one.choices[0].message.content == "Box 3 is purple." for one in said] == [True, False]
        prompt = types.ModelInput.from_ints(example.input_ids[: weights.index(1.0) + 1])
        drawn = client.create_sampling_client(model_path=tuned).result()
        params = types.SamplingParams(max_tokens=12, temperature=0.0)
        (found,) = drawn.sample(prompt, 1, params).result().sequences
        assert found.stop_reason == "stop"
        assert found.tokens == [t for t, w in zip(example.input_ids[1:], weights, strict=True) if w]
