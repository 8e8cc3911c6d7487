"""What a process that trains keeps from one training to the next. Importing this module imports no torch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Resident:
    """One frozen base, as it was loaded. A training gets modules of its own, and shares the weights."""

    def __init__(self) -> None:
        self._key: object = None
        self._base: PreTrainedModel | None = None

    def base(self, key: object, load: Callable[[], PreTrainedModel]) -> PreTrainedModel:
        """The base of that key: loaded, or made from the one that is kept."""
        if self._base is None or key != self._key:
            self._base = None  # not two at once
            self._base, self._key = load(), key
        weights = (*self._base.parameters(), *self._base.buffers())
        made: PreTrainedModel = copy.deepcopy(self._base, {id(weight): weight for weight in weights})
        return made


#: What this process keeps; None: nothing.
RESIDENT: ContextVar[Resident | None] = ContextVar("RESIDENT", default=None)
