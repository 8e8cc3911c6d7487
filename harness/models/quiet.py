"""Keep libraries from drawing their own bars and warnings over ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence transformers' progress bars and advice inside the block; errors still come through.

    Silenced too are its FutureWarnings, which are about its own calls and those of TRL and PEFT, and
    bitsandbytes' advice to install a package of kernels that is not needed here.
    """
    import logging
    import warnings

    import transformers

    advice = transformers.utils.logging
    level, bars = advice.get_verbosity(), advice.is_progress_bar_enabled()
    advice.set_verbosity_error()
    advice.disable_progress_bar()
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers\.")
            yield
    finally:
        advice.set_verbosity(level)
        if bars:
            advice.enable_progress_bar()
