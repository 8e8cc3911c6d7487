"""Training: tokens a second and time to equal loss against the tutorial recipe, and share of the ceiling.

Both sides train on the same rows of the worked example in the same process, in turns. General rows that the
demo's recipe mixes in are left out, because the tutorial knows none.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from benchmarks import ceiling
from benchmarks.recipes import ROOT, TUTORIAL, Meter, demo_recipe, for_steps, train_ours, train_tutorial
from benchmarks.results import Options, Result
from harness.candidates.lora import QLoRA
from harness.data.rows import read_rows
from harness.data.subsets import nested_subsets
from harness.models.chat import load_tokenizer
from harness.models.chat_format import load_chat
from harness.models.device import DevicePlan, device_plan
from harness.models.progress import Silent
from harness.models.source import ModelSource, resolve
from harness.records import Row, TrainingPoint
from harness.training.local.losses import Loss, measure_loss
from harness.training.local.tokens import Example, encode_rows
from harness.training.local.trainer import TrainingCurve

SUPPORT = ROOT / "suites" / "support"
OUR_STEPS, OUR_WARM_UP = 40, 3
TUTORIAL_STEPS, TUTORIAL_WARM_UP = 6, 1
TUTORIAL_EPOCHS = 3
RACE_ROWS, DEV_EVALUATIONS = 100, 12
SMOKE_ROWS = 32


@dataclass(frozen=True)
class Bench:
    """What every measure here needs."""

    spec: QLoRA
    source: ModelSource
    plan: DevicePlan
    rows: tuple[Row, ...]
    examples: tuple[Example, ...]

    @classmethod
    def set_up(cls, spec: QLoRA, smoke: bool) -> Bench:
        """The demo's recipe on the worked example's training rows; for smoke, on the 32 shortest."""
        source, plan = resolve(spec.base, Silent()), device_plan()
        rows = read_rows(SUPPORT / "train.jsonl")
        if smoke:
            rows = tuple(sorted(rows, key=lambda row: len(row.question))[:SMOKE_ROWS])
        examples = encode_rows(load_chat(source), rows, spec.max_tokens)
        return cls(spec, source, plan, rows, tuple(examples))


def measure(options: Options) -> list[Result]:
    """Speed, share of the ceiling, and the race to the tutorial's development loss."""
    bench = Bench.set_up(demo_recipe(), options.smoke)
    return [*_speed(bench, options), *_race(bench, options)]


# ------------------------------------------------------------------------------------------- speed
def _speed(bench: Bench, options: Options) -> list[Result]:
    ours, theirs = [], []
    seconds_each = 0.05 if options.smoke else 1.0
    tried = _our_pace(bench, smoke=True)
    step = mean_step(bench, tried.positions / tried.tokens)
    before = ceiling.measured_speeds(list(step), bench.plan, seconds_each)
    for k in range(options.rounds):
        mine, tutorial = _our_pace(bench, options.smoke), _tutorial_pace(bench, options.smoke)
        ours.append(mine.tokens_per_second(1 if options.smoke else OUR_WARM_UP))
        theirs.append(tutorial.tokens_per_second(TUTORIAL_WARM_UP))
        read = mine.positions / mine.tokens
        print(f"round {k + 1}: ours {ours[-1]:.0f} tokens/s, the tutorial {theirs[-1]:.0f}", flush=True)
    after = ceiling.measured_speeds(list(step), bench.plan, seconds_each)
    speeds = ceiling.faster_of(before, after)
    ceiling.show_speeds(speeds, bench.plan)
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    spec = bench.spec
    pace = Result(
        name="training speed",
        value=median(ours),
        unit="tokens/s",
        detail=f"{spec.kind} r={spec.r}, alpha {spec.alpha:g}, batches of {spec.batch_rows}, "
        f"{spec.top_layers or 'all'} layers, {len(bench.rows)} rows; {OUR_STEPS} steps against "
        f"{TUTORIAL_STEPS}, warm-up left out; median of {len(ratios)} alternations, "
        f"ratios {_listed(ratios)}; "
        f"{read:.2f} positions went through our model a token",
        reference=TUTORIAL,
        reference_value=median(theirs),
        ratio=median(ratios),
        bar=3.0,
        target=4.0,
        bar_is="ratio at least",
    )
    return [pace, _share(bench, read * median(ours), step, speeds)]


def _our_pace(bench: Bench, smoke: bool) -> Meter:
    meter = Meter()
    steps = 3 if smoke else OUR_WARM_UP + OUR_STEPS
    spec = for_steps(bench.spec, steps, len(bench.examples))
    train_ours(spec, bench.source, bench.examples, (), bench.plan, meter)
    gc.collect()
    return meter


def _tutorial_pace(bench: Bench, smoke: bool) -> Meter:
    meter = Meter()
    steps = TUTORIAL_WARM_UP + (1 if smoke else TUTORIAL_STEPS)
    train_tutorial(bench.source, bench.rows, bench.plan, meter, epochs=TUTORIAL_EPOCHS, max_steps=steps)
    gc.collect()
    return meter


def mean_step(bench: Bench, read: float) -> dict[ceiling.Product, int]:
    """The products of a step with the mean number of tokens, of which ``read`` positions go through the model
    each, and of labelled positions.
    """
    share = bench.spec.batch_rows / len(bench.examples)
    tokens = round(read * share * sum(len(e.input_ids) for e in bench.examples))
    labelled = round(share * sum(e.supervised for e in bench.examples))
    model = ceiling.architecture_of(bench.source)
    return ceiling.training_products(model, bench.spec, tokens, labelled)


def _share(
    bench: Bench,
    positions_per_second: float,
    step: dict[ceiling.Product, int],
    speeds: dict[ceiling.Product, float],
) -> Result:
    tokens = max(product.rows for product in step)
    adapters = ceiling.adapter_flop(ceiling.architecture_of(bench.source), bench.spec)
    products = ceiling.total_flop(step) / tokens
    head = sum(p.flop * n for p, n in step.items() if p.rows != tokens) / tokens
    top = ceiling.total_flop(step) / ceiling.ideal_seconds(step, speeds)
    share = (products + adapters) * positions_per_second / top
    headless = (products - head + adapters) * positions_per_second / top
    return Result(
        name="training, share of the matrix-product ceiling",
        value=100 * share,
        unit="%",
        detail=f"{(products + adapters) / 1e6:.0f} MFLOP a position (blocks {(products - head) / 1e6:.0f}, "
        f"adapters {adapters / 1e6:.0f}, head {head / 1e6:.0f} at the labelled positions) times "
        f"{positions_per_second:.0f} positions/s, of {top / 1e9:.0f} GFLOP/s in {bench.plan.dtype} products "
        f"of {tokens} rows; without the head's work {100 * headless:.1f}%",
        bar=40.0,
        target=50.0,
        bar_is="value at least",
    )


def _listed(numbers: Sequence[float]) -> str:
    return ", ".join(f"{number:.2f}" for number in numbers)


# ------------------------------------------------------------------------------------------- loss
@dataclass(frozen=True, slots=True)
class _Ours:
    """Our run of the race: its curve, and at which second of training each point was reached."""

    curve: TrainingCurve
    seconds: tuple[float, ...]

    def first_at(self, loss: float) -> tuple[TrainingPoint, float] | None:
        """The first measured point at or below ``loss``."""
        for point, second in zip(self.curve.points, self.seconds, strict=True):
            if point.dev_loss is not None and point.dev_loss <= loss:
                return point, second
        return None


def _race(bench: Bench, options: Options) -> list[Result]:
    """The tutorial to its end, then ours, on the same rows: loss on the answers of the development rows."""
    size = len(bench.rows) if options.to_loss else min(RACE_ROWS, len(bench.rows))
    rows = nested_subsets(bench.rows, [size], 0, bench.spec.stratify)[size]
    dev = encode_rows(load_chat(bench.source), read_rows(SUPPORT / "dev.jsonl"), bench.spec.max_tokens)
    dev = dev[:4] if options.smoke else dev
    meter = Meter()
    model, tutorial_seconds = train_tutorial(
        bench.source, rows, bench.plan, meter, epochs=1 if options.smoke else TUTORIAL_EPOCHS
    )
    # in its own precision, as ours is in ours
    own = replace(bench.plan, dtype="float32")
    theirs = measure_loss(model, dev, own, _pad_token(bench.source))
    del model
    gc.collect()
    print(
        f"race on {size} rows: the tutorial's loss {theirs.mean:.3f} after {tutorial_seconds:.0f} s",
        flush=True,
    )
    return _raced(bench, size, _our_run(bench, rows, dev, options.smoke), theirs, tutorial_seconds)


def _pad_token(source: ModelSource) -> int:
    pad = load_tokenizer(source).pad_token_id
    assert isinstance(pad, int)
    return pad


def _our_run(bench: Bench, rows: Sequence[Row], dev: Sequence[Example], smoke: bool) -> _Ours:
    spec = replace(
        bench.spec, epochs=1 if smoke else bench.spec.epochs, dev_evaluations=2 if smoke else DEV_EVALUATIONS
    )
    meter = Meter()
    examples = encode_rows(load_chat(bench.source), rows, spec.max_tokens)
    curve = train_ours(spec, bench.source, examples, dev, bench.plan, meter)
    began = time.perf_counter() - curve.seconds - curve.evaluation_seconds
    each = curve.evaluation_seconds / len(curve.points)
    return _Ours(
        curve,
        tuple(meter.stamps[p.step - 1].seconds - began - k * each for k, p in enumerate(curve.points)),
    )


def _raced(bench: Bench, size: int, ours: _Ours, theirs: Loss, tutorial_seconds: float) -> list[Result]:
    reached = ours.first_at(theirs.mean)
    last = ours.curve.points[-1]
    assert last.dev_loss is not None
    where = "never" if reached is None else f"at step {reached[0].step} ({reached[0].dev_loss:.3f})"
    curve = ", ".join(
        f"{p.dev_loss:.3f} after {s:.0f} s" for p, s in zip(ours.curve.points, ours.seconds, strict=True)
    )
    reference = f"{TUTORIAL}, {TUTORIAL_EPOCHS} epochs"
    rows = f"{size} training rows, {theirs.rows} development rows, answer tokens only"
    return [
        Result(
            name=f"time to the tutorial's development loss, {size} rows",
            value=None if reached is None else reached[1],
            unit="s",
            detail=f"{rows}; its final loss {_loss(theirs.mean, theirs.standard_error)} was reached "
            f"{where}; ours in all: {curve}; evaluations left out of the time",
            reference=reference,
            reference_value=tutorial_seconds,
            ratio=None if reached is None else tutorial_seconds / reached[1],
            bar=3.0,
            target=4.0,
            bar_is="ratio at least",
        ),
        Result(
            name=f"final development loss, {size} rows",
            value=last.dev_loss,
            unit="nats a token",
            detail=f"{rows}; {_loss(last.dev_loss, last.dev_loss_se)} and "
            f"{_loss(theirs.mean, theirs.standard_error)}; ours after "
            f"{bench.spec.epochs:g} epochs and {ours.curve.seconds:.0f} s, "
            f"the tutorial after {TUTORIAL_EPOCHS} and {tutorial_seconds:.0f} s",
            reference=reference,
            reference_value=theirs.mean,
            ratio=last.dev_loss / theirs.mean,
            bar=1.0,
            bar_is="ratio at most",
        ),
    ]


def _loss(mean: float, standard_error: float | None) -> str:
    return f"{mean:.3f}" if standard_error is None else f"{mean:.3f} (standard error {standard_error:.3f})"
