"""What the trainings of a plan take in memory, against what this machine has."""

from __future__ import annotations

from collections.abc import Iterator

from harness.errors import HarnessError
from harness.models.configs import config_of
from harness.run.session import Session
from harness.training.hardware import USABLE, best_need, device_memory, needs, of_own_trainer, shape_of

_METHODS = {"lora": "LoRA", "qlora": "QLoRA", "full": "all weights"}


def planned_memory(run: Session) -> Iterator[str]:
    """A line for each candidate that is trained here; `harness doctor --model` has the whole table."""
    for name in run.selection.chosen():
        arm = run.selection.sized(name)[-1]
        spec = arm.candidate.described()
        method, base, tokens = (spec.get(each) for each in ("kind", "base", "max_tokens"))
        if method not in _METHODS or not isinstance(base, str) or not isinstance(tokens, int):
            continue
        rank = spec.get("r")
        try:
            shape = shape_of(config_of(run.lab_of(arm).path_or_name(base)))
        except (HarnessError, ValueError) as error:
            yield f"{name}: the memory of its training is not known: {str(error).splitlines()[0]}"
            continue
        found = of_own_trainer(needs(shape, tokens=tokens, r=rank if isinstance(rank, int) else 16))
        need = next(one for one in found if one.method == _METHODS[str(method)])
        room_gb, where = device_memory()
        said = f"{name}: {need.name} of {base} takes {need.gigabytes:.1f} GB for a row of {tokens:,} tokens"
        if need.gigabytes <= USABLE * room_gb:
            yield f"{said}; {where} has room."
            continue
        best = best_need(found, room_gb)
        instead = f"{best.name} would fit ({best.gigabytes:.1f} GB)" if best else "nothing would fit"
        yield f"{said}, and {where} has too little: {instead}. See `harness doctor --model {base}`."
