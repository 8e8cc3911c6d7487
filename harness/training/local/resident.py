"""What a process that trains keeps from one training to the next. Importing this module imports no torch."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from harness.models.device import DevicePlan
    from harness.training.local.side_by_side import Member, SideBySide


class Resident:
    """One frozen base, as it was loaded. A training gets modules of its own, and shares the weights."""

    def __init__(self) -> None:
        self.building = threading.RLock()  # imports, seeds and what Accelerate remembers are the process's
        self._key: object = None
        self._base: PreTrainedModel | None = None
        self._places: list[object] = []  # keys of the trainings that run
        self._left, self._turn = threading.Condition(), threading.Lock()
        self._group: SideBySide | None = None

    def base(self, key: object, load: Callable[[], PreTrainedModel]) -> PreTrainedModel:
        """The base of that key: loaded, or made from the one that is kept."""
        if self._base is None or key != self._key:
            self._base = None  # not two at once
            self._base, self._key = load(), key
        shared: list[object] = [*self._base.parameters(), *self._base.buffers()]
        # bitsandbytes keeps how a weight is packed at its layer, too
        shared += [layer.quant_state for layer in self._base.modules() if hasattr(layer, "quant_state")]
        made: PreTrainedModel = copy.deepcopy(self._base, {id(one): one for one in shared})
        return made

    @contextmanager
    def place(self, key: object, most: int) -> Iterator[None]:
        """Wait for a place to train in: one of ``most`` with the same ``key``, or without one alone."""
        with self._left:
            self._left.wait_for(
                lambda: not self._places or (self._places[0] == key is not None and len(self._places) < most)
            )
            self._places.append(key)
        try:
            yield
        finally:
            with self._left:
                self._places.remove(key)
                if not self._places:
                    self._group = None
                self._left.notify_all()

    @property
    def is_shared(self) -> bool:
        """Whether the trainings of now may have others beside them."""
        return self._places[:1] not in ([], [None])

    @contextmanager
    def beside(self, model: PreTrainedModel, plan: DevicePlan, *, can_share: bool) -> Iterator[Member | None]:
        """Within it, ``model``, which has adapters, is trained together with those beside it or in turn."""
        if not self.is_shared:
            yield None
        elif not can_share:
            with self._turn:
                yield None
        else:
            from harness.training.local.side_by_side import SideBySide

            with self.building:
                if self._group is None:
                    self._group = SideBySide(plan, self.base(self._key, lambda: model))
                group = self._group
            with group.joined(model) as member:
                yield member


#: What this process keeps; None: nothing.
RESIDENT: ContextVar[Resident | None] = ContextVar("RESIDENT", default=None)
