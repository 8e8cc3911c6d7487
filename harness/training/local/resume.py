"""How far a training is, on disk, so that one that was killed goes on from there. Imports torch.

A training that goes on makes the artifact that it would have made, byte for byte where its steps are
deterministic (on a CPU they are). It walks through the steps that are done without computing them, so that
the sampler and the schedule come to where they were; then it takes over weights, moments and random state.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from harness.atomic import flush

if TYPE_CHECKING:
    from harness.training.local.sft import Observer, ThinTrainer

MOST_OF_THE_TIME = 0.02  # what writing may take of a training's time


class Resume:
    """The file ``path``, written every ``every_s`` seconds, or less often where writing takes long.

    A file that is damaged, or of another training, is as none. One that cannot be written ends no training.
    """

    def __init__(self, path: Path, every_s: float) -> None:
        self._path, self._every_s = path, every_s
        self._read: tuple[Mapping[str, torch.Tensor], dict[str, object]] | None = None
        self._last_s = time.monotonic()
        self.step = 0  # the last that was done before this process began

    def begin(self, trainer: ThinTrainer) -> None:
        """Read what an earlier process left."""
        self._last_s = time.monotonic()
        try:
            self._read = _read(self._path, _weights(trainer))
        except Exception:  # noqa: BLE001 - whatever is wrong with it, the training begins at its beginning
            self._path.unlink(missing_ok=True)
        if self._read is not None:
            self.step = int(str(self._read[1]["step"]))

    def takes_over(self, step: int, trainer: ThinTrainer, observer: Observer) -> bool:
        """Whether ``step`` was done before; after the last of those, everything is put as it was then."""
        if self._read is None or step > self.step:
            return False
        if step == self.step:
            tensors, told = self._read
            _restore(trainer, tensors)
            observer.restore(told)
            self._read = None
        return True

    def write(self, step: int, trainer: ThinTrainer, observer: Observer) -> None:
        """Write how far the training is, if it is time to."""
        began_s = time.monotonic()
        if began_s - self._last_s < self._every_s or trainer.args.fp16:  # its scaler has a state, too
            return
        tensors = _state(trainer)
        told = {"step": step, **observer.state(), "digest": _digest(tensors)}
        part = self._path.with_name(f"{self._path.name}.part")
        with suppress(Exception):  # a full disk: the artifact that is written last tells of it
            from safetensors.torch import save_file

            save_file(tensors, part, {"told": json.dumps(told)})
            flush(part)
            part.replace(self._path)
            flush(self._path.parent)
        part.unlink(missing_ok=True)
        self._last_s = time.monotonic()
        self._every_s = max(self._every_s, (self._last_s - began_s) / MOST_OF_THE_TIME)


def _weights(trainer: ThinTrainer) -> list[torch.nn.Parameter]:
    return [weight for weight in trainer.model.parameters() if weight.requires_grad]


def _state(trainer: ThinTrainer) -> dict[str, torch.Tensor]:
    """Weights, moments and random state, by names that say which is which."""
    found = {"random": torch.get_rng_state()}
    if torch.cuda.is_initialized():
        found["random.cuda"] = torch.cuda.get_rng_state()
    for k, weight in enumerate(_weights(trainer)):
        moments: Mapping[str, torch.Tensor] = trainer.optimizer.state[weight]
        found[f"{k}.weight"] = weight.detach()
        found.update({f"{k}.{name}": moment for name, moment in moments.items()})
    return {name: tensor.detach().cpu().contiguous() for name, tensor in found.items()}


def _restore(trainer: ThinTrainer, tensors: Mapping[str, torch.Tensor]) -> None:
    for k, weight in enumerate(_weights(trainer)):
        own = f"{k}."
        moments = {name[len(own) :]: value for name, value in tensors.items() if name.startswith(own)}
        weight.data.copy_(moments.pop("weight"))
        # AdamW keeps its count of steps on the CPU
        trainer.optimizer.state[weight] = {
            name: value if name == "step" else value.to(weight.device) for name, value in moments.items()
        }
    torch.set_rng_state(tensors["random"])
    if "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"])


def _read(
    path: Path, weights: list[torch.nn.Parameter]
) -> tuple[Mapping[str, torch.Tensor], dict[str, object]] | None:
    from safetensors import safe_open

    if not path.is_file():
        return None
    with safe_open(path, "pt") as file:
        told: dict[str, object] = json.loads(file.metadata()["told"])
        tensors = {str(name): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    shapes = [tensors[f"{k}.weight"].shape for k in range(len(weights))]
    if _digest(tensors) != told["digest"] or shapes != [weight.shape for weight in weights]:
        raise ValueError("damaged, or of another training")
    return tensors, told


def _digest(tensors: Mapping[str, torch.Tensor]) -> str:
    found = hashlib.sha256()
    for name in sorted(tensors):
        found.update(name.encode())
        found.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
