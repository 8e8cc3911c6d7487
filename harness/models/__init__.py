"""Who answers: the built-in model, local folders, Hugging Face ids and GGUF files, hosted models."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def spin_count(others: int, cpus: int, threads: int) -> int:
    """How often an OpenMP thread looks again before it sleeps, while it waits for its fellows.

    A short spin is faster on an idle machine. Where other programs want the same cores (a CI runner,
    a laptop with another job), it holds those that the fellows need, and everything becomes several times
    slower: there threads sleep at once.
    """
    return 0 if others + threads > cpus else 10_000


def running_elsewhere() -> int:
    """How many other threads want a core now, at the least of some looks; 0 where that cannot be known."""
    least = 0
    for look in range(10):
        try:
            running = Path("/proc/loadavg").read_text(encoding="ascii").split()[3].partition("/")[0]
        except (OSError, IndexError):
            return 0
        others = max(0, int(running) - 1)  # without this one
        least = others if look == 0 else min(least, others)
        if not least:
            break
        time.sleep(0.005)  # what is over in a moment is no load
    return least


def _settle_waiting() -> bool:
    """Whether it was settled here. torch reads it when it loads OpenMP; what the user has set stays."""
    if "OMP_WAIT_POLICY" in os.environ or "GOMP_SPINCOUNT" in os.environ:
        return False
    cpus = os.cpu_count() or 1
    wanted = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    threads = int(wanted) if wanted.isdecimal() else cpus
    os.environ["GOMP_SPINCOUNT"] = str(spin_count(running_elsewhere(), cpus, threads))
    return True


# a process that this one starts later looks for itself
CHOSE_WAITING = _settle_waiting()


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
