"""``python without_local.py MODULE ARGUMENTS``: run it as if the extra ``local`` were not installed."""

from __future__ import annotations

import importlib.metadata
import runpy
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

from harness.extras import EXTRAS

HIDDEN = EXTRAS["local"]


# not None in sys.modules: scipy looks there for torch, and takes what it finds for a module
class WithoutLocal(PathFinder):
    """Python's own finder, which does not find the packages of the extra."""

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See ``PathFinder``."""
        return None if fullname in HIDDEN else super().find_spec(fullname, path, target)


present = importlib.metadata.distribution


def distribution(distribution_name: str) -> importlib.metadata.Distribution:
    """An installed distribution, of which those of the extra are none."""
    if distribution_name.lower().replace("-", "_") in HIDDEN:
        raise importlib.metadata.PackageNotFoundError(distribution_name)
    return present(distribution_name)


if __name__ == "__main__":
    sys.meta_path[sys.meta_path.index(PathFinder)] = WithoutLocal
    importlib.metadata.distribution = distribution
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
