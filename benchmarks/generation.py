"""Held-out generation: ``LocalModel.answer`` against one ``generate`` call a row."""

from __future__ import annotations

import gc
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks import ceiling
from benchmarks.recipes import ROOT
from benchmarks.results import Options, Result
from harness.data.rows import read_rows
from harness.models import quiet_transformers
from harness.models.chat import load_tokenizer, render
from harness.models.device import DevicePlan, device_plan
from harness.models.fast.reading import Kept, trees
from harness.models.local import LocalModel, make_head_input_contiguous, pools_by_length
from harness.models.progress import Silent
from harness.models.protocol import Decoding, Prompt
from harness.models.source import ModelSource, resolve
from harness.records import Answer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

HELDOUT = ROOT / "suites" / "support" / "heldout.jsonl"
ADAPTERS = ROOT / ".harness" / "adapters"
SAMPLE_ROWS = 12
BASE_TOKENS, TUNED_TOKENS = 40, 96
PLAIN = "one generate call a row, greedy, default attention, frozen as it stands"


@dataclass(frozen=True, slots=True)
class Artifact:
    """What is asked: the base, or the largest adapter that was trained on it."""

    name: str
    folder: Path | None
    nf4: bool
    weights: int  # of the adapter
    max_new_tokens: int


@dataclass(frozen=True, slots=True)
class Spoken:
    """What a side generated. ``tokens`` count up to and including each end token."""

    tokens: int
    seconds: float

    @property
    def pace(self) -> float:
        """Tokens a second, prompts' time included."""
        return self.tokens / self.seconds


def measure(options: Options) -> list[Result]:
    """All held-out rows our way, in turns with a sample of the same lengths one call at a time."""
    source, plan, artifact = resolve("smollm2-135m", Silent()), device_plan(), find_artifact(ADAPTERS)
    prompts = [Prompt(row.id, row.prompt) for row in read_rows(HELDOUT)]
    prompts = prompts[:8] if options.smoke else prompts
    new_tokens = 2 if options.smoke else artifact.max_new_tokens
    sample = _spread(prompts, source, 2 if options.smoke else SAMPLE_ROWS)
    decoding = Decoding(max_new_tokens=new_tokens)
    model = LocalModel.load(source, plan, nf4=artifact.nf4, adapter=artifact.folder)
    plain, mended = _plain_model(source, artifact, plan), _plain_model(source, artifact, plan)
    make_head_input_contiguous(mended)
    _warm_up(model, plain, mended, source, plan, prompts[0])
    ours, theirs, fair = [], [], []
    answers: list[Answer] = []
    for k in range(options.rounds):
        began = time.perf_counter()
        answers = list(model.answer(prompts, decoding, frozenset()))
        ours.append(Spoken(sum(a.completion_tokens or 0 for a in answers), time.perf_counter() - began))
        theirs.append(one_call_a_row(plain, source, plan, sample, new_tokens))
        fair.append(one_call_a_row(mended, source, plan, sample, new_tokens))
        print(
            f"round {k + 1}: ours {ours[-1].pace:.0f} tokens/s, one call a row {theirs[-1].pace:.1f}, "
            f"the same with the head mended {fair[-1].pace:.1f}",
            flush=True,
        )
    del model, plain, mended
    gc.collect()
    what = f"{artifact.name}; {len(prompts)} rows, at most {new_tokens} new tokens"
    seconds_each = 0.05 if options.smoke else 1.0
    return [
        _against("generation speed", what, ours, theirs, PLAIN, (8.0, 15.0), len(sample)),
        _against(
            "generation speed, head mended",
            what,
            ours,
            fair,
            f"{PLAIN}, but a contiguous head",
            None,
            len(sample),
        ),
        _share(
            source,
            plan,
            artifact,
            _tokens(prompts, source),
            answers,
            median(spoken.seconds for spoken in ours),
            seconds_each,
        ),
    ]


def find_artifact(adapters: Path) -> Artifact:
    """The adapter trained on most rows, the latest of these; the untuned base where there is none."""
    found = []
    for record in adapters.glob("*/training.json"):
        if (record.parent / "adapter_config.json").exists():
            training = json.loads(record.read_text("utf-8"))
            found.append(
                (training["rows"], record.stat().st_mtime, record.parent, training["numeric_config"])
            )
    if not found:
        return Artifact("untuned base", None, False, 0, BASE_TOKENS)
    rows, _, folder, numeric_config = max(found)
    name = f"adapter {folder.name[:8]}, trained on {rows} rows"
    return Artifact(name, folder, numeric_config.startswith("nf4"), _weights(folder), TUNED_TOKENS)


def _weights(adapter: Path) -> int:
    from safetensors import safe_open

    with safe_open(adapter / "adapter_model.safetensors", framework="np") as file:
        shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118 - no mapping
    return sum(int(shape[0]) * int(shape[1]) for shape in shapes)


def _spread(prompts: Sequence[Prompt], source: ModelSource, n: int) -> list[Prompt]:
    """``n`` prompts spread evenly over the order of length, so that their lengths are those of all."""
    lengths = dict(zip((p.row_id for p in prompts), map(len, _tokens(prompts, source)), strict=True))
    order = sorted(prompts, key=lambda p: (lengths[p.row_id], p.row_id))
    return [order[int((k + 0.5) * len(order) / n)] for k in range(n)]


def _tokens(prompts: Sequence[Prompt], source: ModelSource) -> list[list[int]]:
    tokenizer = load_tokenizer(source)
    return [render(tokenizer, prompt.messages, reply_follows=True) for prompt in prompts]


def _plain_model(source: ModelSource, artifact: Artifact, plan: DevicePlan) -> PreTrainedModel:
    """A model as anybody loads it for inference: no kernel chosen, no hook, frozen."""
    from transformers import AutoModelForCausalLM

    with quiet_transformers():
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            str(source.folder),
            dtype=plan.torch_dtype,
            device_map=None if plan.device == "cpu" else plan.device,
        )
        if artifact.folder is not None:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, str(artifact.folder))
    model.requires_grad_(False)
    model.eval()
    return model


def one_call_a_row(
    model: PreTrainedModel, source: ModelSource, plan: DevicePlan, prompts: Sequence[Prompt], new_tokens: int
) -> Spoken:
    """Tokens and seconds of one ``generate`` call after another."""
    import torch

    tokenizer = load_tokenizer(source)
    ends = model.generation_config.eos_token_id
    stops = set(ends if isinstance(ends, list) else [ends])
    generate: Callable[..., torch.Tensor] = getattr(model, "generate")  # noqa: B009 - untyped there
    tokens, began = 0, time.perf_counter()
    for prompt in prompts:
        ids = torch.tensor([render(tokenizer, prompt.messages, reply_follows=True)], device=plan.device)
        with torch.inference_mode(), quiet_transformers():
            output = generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                pad_token_id=tokenizer.pad_token_id,
                max_new_tokens=new_tokens,
                do_sample=False,
            )
        said = output[0, ids.shape[1] :].tolist()
        tokens += next((k + 1 for k, token in enumerate(said) if token in stops), len(said))
    return Spoken(tokens, time.perf_counter() - began)


def _warm_up(
    model: LocalModel,
    plain: PreTrainedModel,
    mended: PreTrainedModel,
    source: ModelSource,
    plan: DevicePlan,
    prompt: Prompt,
) -> None:
    list(model.answer([prompt], Decoding(max_new_tokens=2), frozenset()))
    for reference in (plain, mended):
        one_call_a_row(reference, source, plan, [prompt], 2)


def _against(
    name: str,
    what: str,
    ours: Sequence[Spoken],
    theirs: Sequence[Spoken],
    reference: str,
    limits: tuple[float, float] | None,
    sample: int,
) -> Result:
    ratios = [a.pace / b.pace for a, b in zip(ours, theirs, strict=True)]
    listed = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    return Result(
        name=name,
        value=median(spoken.pace for spoken in ours),
        unit="tokens/s",
        detail=f"{what}; {ours[-1].tokens} tokens of ours, {theirs[-1].tokens} of the reference's sample of "
        f"{sample} rows, both up to the end token; median of {len(ratios)} alternations, ratios {listed}",
        reference=reference,
        reference_value=median(spoken.pace for spoken in theirs),
        ratio=median(ratios),
        bar=limits[0] if limits else None,
        target=limits[1] if limits else None,
        bar_is="ratio at least" if limits else None,
    )


def _share(
    source: ModelSource,
    plan: DevicePlan,
    artifact: Artifact,
    prompts: Sequence[list[int]],
    answers: Sequence[Answer],
    seconds: float,
    seconds_each: float,
) -> Result:
    """Prompts are multiplied a tree at a time, each further token at one row an answer.

    ``prompts`` are their tokens: those that several begin with are read once, and are work once.
    """
    lengths = sorted(map(len, prompts))
    model, products = ceiling.architecture_of(source), Counter[ceiling.Product]()
    pools = list(pools_by_length(lengths, lengths))
    rows = round(len(answers) / len(pools))
    read = [len(tree.tokens) for tree in trees([([*ids, 0], len(ids)) for ids in prompts], Kept())]
    said = sum(answer.completion_tokens or 0 for answer in answers)
    decoding_steps = round((said - len(answers)) / rows)  # the first token comes out of the prompt's pass
    for product, times in ceiling.forward_products(model, round(sum(read) / len(read))).items():
        products[product] += times * len(read)
    for product, times in ceiling.forward_products(model, rows).items():
        products[product] += times * decoding_steps
    products[ceiling.Product(rows, *model.head)] += round(said / rows)
    speeds = ceiling.measured_speeds(list(products), plan, seconds_each)
    ceiling.show_speeds(speeds, plan)
    adapters = 2.0 * artifact.weights * (sum(read) + said)
    top = ceiling.total_flop(products) / ceiling.ideal_seconds(products, speeds)
    done = ceiling.total_flop(products) + adapters
    return Result(
        name="generation, share of the matrix-product ceiling",
        value=100 * done / seconds / top,
        unit="%",
        detail=f"{done / 1e9:.0f} GFLOP in {seconds:.1f} s ({sum(lengths)} prompt tokens in {sum(read)} "
        f"nodes of trees, {said} new tokens) of {top / 1e9:.0f} GFLOP/s at the same shapes",
    )
