"""What a project has: candidates in its conftests, suites in its test modules."""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Callable
from pathlib import Path

from harness.candidates.fixture import MARK
from harness.candidates.specs import Candidate, SelfGenerated
from harness.errors import UsageError
from harness.scoring.suite import Suite

PATHS = ("train", "dev", "replay")
PATHS_OR_NAMES = ("base", "model")


def candidates_in(conftest: object, root: Path) -> dict[str, Candidate]:
    """Candidates among a conftest's names, by the name they answer to; their paths start from ``root``.

    Raises:
        UsageError: a candidate's function fails, or gives something else.
    """
    file = getattr(conftest, "__file__", None)
    if file is None or Path(file).name != "conftest.py":
        return {}
    found: dict[str, Candidate] = {}
    for name, value in vars(conftest).items():
        if getattr(value, MARK, False):
            function = inspect.unwrap(value)
            spec = _called(function)
            if not isinstance(spec, Candidate):
                raise UsageError(
                    f"{_place(function)}: {name} gives {type(spec).__name__}, which is no candidate.\n"
                    "  hint: return Prompted(...), FewShot(...), QLoRA(...) or another one."
                )
            found[name.replace("_", "-")] = _from_root(spec, Path(file).parent, root)
    return found


def _from_root(spec: Candidate, folder: Path, root: Path) -> Candidate:
    here = {f.name: getattr(spec, f.name) for f in dataclasses.fields(spec)}
    paths: dict[str, object] = {
        name: os.path.relpath(folder / value, root)
        for name, value in here.items()
        if isinstance(value, str)
        and (name in PATHS or (name in PATHS_OR_NAMES and (folder / value).exists()))
    }
    replay = here.get("replay")
    if isinstance(replay, SelfGenerated) and replay.prompts is not None:
        paths["replay"] = dataclasses.replace(replay, prompts=os.path.relpath(folder / replay.prompts, root))
    changed: Candidate = dataclasses.replace(spec, **paths)  # type: ignore[arg-type]  # only names of paths
    return changed


def suite_of(module: object) -> Suite | None:
    """The suite that a test module's ``suite`` fixture gives; None where only pytest can tell.

    pytest can tell of a fixture that takes other fixtures, that yields, or that stands elsewhere.

    Raises:
        UsageError: the fixture fails, or gives something else.
    """
    fixture = getattr(module, "suite", None)
    if fixture is None or not hasattr(fixture, "__wrapped__"):
        return None
    function = inspect.unwrap(fixture)
    if inspect.isgeneratorfunction(function) or inspect.signature(function).parameters:
        return None
    suite = _called(function)
    if not isinstance(suite, Suite):
        raise UsageError(
            f"{_place(function)}: the suite fixture gives {type(suite).__name__}.\n"
            "  hint: return Suite(heldout=..., scores=...)."
        )
    return suite


def _called(function: Callable[[], object]) -> object:
    try:
        return function()
    except Exception as error:  # a user's function may raise anything
        said = str(error) if isinstance(error, UsageError) else f"{type(error).__name__}: {error}"
        raise UsageError(f"{_place(function)}: in {function.__name__}: {said}") from error


def _place(function: Callable[..., object]) -> str:
    return f"{function.__code__.co_filename}:{function.__code__.co_firstlineno}"
