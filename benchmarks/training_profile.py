"""Where the seconds of a training step go, with the matrix-product ceiling beside them.

One thread, so that no operation waits for another core: shares of processor time, of the worked example's
recipe on its own rows. Matrix products are given apart from what moves memory around them.
"""

from __future__ import annotations

import time
from collections import Counter

from benchmarks import ceiling
from benchmarks.recipes import demo_recipe
from benchmarks.results import Options, Result
from benchmarks.training import Bench, mean_step

# the beginnings of ATen's names; the first that fits counts
CLASSES = {
    "matrix products of linear layers": ("mm", "addmm"),
    "attention": ("bmm", "baddbmm", "_softmax"),
    "loss over the vocabulary": (
        "_log_softmax",
        "nll_loss",
        "exp_",
        "amax",
        "gather",
        "scatter_add_",
        "argmax",
    ),
    "norms": ("pow", "mean", "rsqrt"),
    "activation": ("silu",),
    "copies and casts": ("copy_", "_to_copy", "cat", "clone", "index", "fill_", "zero_"),
    "optimizer": ("Optimizer", "_foreach", "addcdiv", "addcmul", "lerp", "sqrt", "linalg_vector_norm"),
    "additions and multiplications": ("add", "mul", "sub", "div", "sum", "neg"),
}
REST = "bookkeeping of PyTorch and Python"
STEPS, WARM_UP = 4, 1


def measure(options: Options) -> list[Result]:
    """Shares of a step's processor time by kind of operation."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _measured(Bench.set_up(demo_recipe(), options.smoke), 2 if options.smoke else STEPS, options)
    finally:
        torch.set_num_threads(threads)


def _measured(bench: Bench, steps: int, options: Options) -> list[Result]:
    import torch
    from torch.profiler import ProfilerActivity, profile

    from harness.training.local.batches import LengthSampler, parts
    from harness.training.local.losses import autocast, padded, token_losses
    from harness.training.local.packing import can_pack
    from harness.training.local.recipe import trainable_model

    model = trainable_model(bench.spec.recipe(), bench.source, bench.plan, seed=0)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=bench.spec.learning_rate)
    with autocast(bench.plan):
        packs = can_pack(model)
    model.train()
    size = bench.spec.batch_rows
    order = list(LengthSampler([len(e.input_ids) for e in bench.examples], size, 0))[
        : size * (WARM_UP + steps)
    ]
    batches = [[bench.examples[k] for k in order[at : at + size]] for at in range(0, len(order), size)]

    def step(number: int) -> None:
        batch = padded(batches[number], 0, torch.device(bench.plan.device))
        items = int((batch["labels"] >= 0).sum())
        for part in parts(batch, 1_024):
            with autocast(bench.plan):
                losses = token_losses(model, part, packs=packs)[0].sum() / items
            losses.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    for number in range(WARM_UP):
        step(number)
    began = time.process_time()
    for number in range(WARM_UP, len(batches)):
        step(number)
    counted = len(batches) - WARM_UP
    seconds = (time.process_time() - began) / counted
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for number in range(WARM_UP, len(batches)):
            step(number)
    spent: Counter[str] = Counter()
    for event in profiled.key_averages():
        spent[_class_of(event.key)] += event.self_cpu_time_total
    tokens = sum(len(e.input_ids) for batch in batches[WARM_UP:] for e in batch)
    products = mean_step(bench, 1.0)
    speeds = ceiling.measured_speeds(list(products), bench.plan, 0.05 if options.smoke else 1.0)
    ideal = ceiling.ideal_seconds(products, speeds)
    return [
        Result(
            name=f"training step, {kind}",
            value=100 * spent[kind] / sum(spent.values()),
            unit="%",
            detail=f"of the processor time of {counted} steps on one thread, {seconds:.2f} s a"
            f" step and {tokens / counted:.0f} tokens; the products of a step that reads every"
            f" token, at their measured speed: {ideal:.2f} s",
        )
        for kind in (*CLASSES, REST)
    ]


def _class_of(name: str) -> str:
    plain = name.removeprefix("aten::")
    if plain == name and not name.startswith("Optimizer"):
        return REST
    return next((kind for kind, begins in CLASSES.items() if plain.startswith(begins)), REST)
