"""Who answers: the built-in model, local folders, Hugging Face ids and GGUF files, hosted models."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

# OpenMP threads spin while they wait for each other: for long by default, which on a shared machine (a CI
# runner, a laptop with another job) holds the cores that the other thread needs, and everything becomes
# several times slower. A short spin keeps the speed of an idle machine. Read when torch loads the library, so
# it must be set before. What the user has set stays.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")


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
