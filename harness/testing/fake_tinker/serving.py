"""Starting and stopping the service by itself."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from harness.extras import require_extra
from harness.testing.fake_openai.serving import served
from harness.testing.fake_tinker.faults import TinkerFaults

if TYPE_CHECKING:
    from harness.testing.fake_tinker.app import FakeTinker
    from harness.testing.fake_tinker.backend import TinkerBackend

BASE = "smollm2-135m"


@contextmanager
def running_fake_tinker(
    state: Path | None = None,
    port: int = 0,
    bases: Sequence[str] = (BASE,),
    faults: TinkerFaults | None = None,
    *,
    backend: TinkerBackend | None = None,
) -> Iterator[FakeTinker]:
    """The service in a thread of this process; it answers at its ``url``, with any key that begins ``tml-``.

    Args:
        state: a folder that outlives the server; None: everything is forgotten at the end.
        port: 0 takes a free one.
        bases: names of the models that there are, all with the same one behind them; folders are models too.
        backend: the models; None: ``ScriptedTinker``. ``RealTinker`` trains.

    Raises:
        UsageError: the packages of an extra are not installed, or the port is taken.
    """
    require_extra("twin", "the local stand-in of Tinker")
    require_extra("tinker", "the local stand-in of Tinker")
    from harness.testing.fake_tinker.app import FakeTinker
    from harness.testing.fake_tinker.scripted_backend import ScriptedTinker

    with ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="fake-tinker-"))
        service = FakeTinker(
            state or Path(scratch), backend or ScriptedTinker(), lambda: bases, faults or TinkerFaults()
        )
        stack.callback(service.close)
        service.url = stack.enter_context(served(service.app, port))
        yield service
