"""Who answers: the built-in model, local folders, Hugging Face ids and GGUF files."""

import os

# OpenMP threads spin while they wait for each other: for long by default, which on a shared machine (a CI
# runner, a laptop with another job) holds the cores that the other thread needs, and everything becomes
# several times slower. A short spin keeps the speed of an idle machine. Read when torch loads the library, so
# it must be set before. What the user has set stays.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
