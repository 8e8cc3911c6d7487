"""Who answers: the built-in model, local folders, Hugging Face ids and GGUF files."""

import os

# OpenMP threads that spin while they wait cost nothing on an idle machine; on a shared one (a CI runner, a
# laptop with another job) they hold the cores that the other thread needs, and everything becomes several
# times slower. Read by the OpenMP library when torch loads it, so it must be set before. What the user has
# set stays.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
