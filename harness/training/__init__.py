"""Training: what makes a model from rows. It knows no candidate."""

import harness.models  # noqa: F401 - settles how torch's threads wait, before a module here loads it
