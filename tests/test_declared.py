"""What the package imports is what it declares: core dependencies anywhere, an extra's in its own rooms."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# a room of an extra is imported lazily by the others, and may import it at the top of a file
ROOMS = {
    "twin": ("harness/testing/fake_openai/", "harness/testing/fake_tinker/"),
    "tinker": ("harness/testing/fake_tinker/", "harness/training/tinker/wire.py"),
    "local": ("harness/training/local/",),
}
DISTRIBUTIONS = packages_distributions()  # reads every installed file: once
FREE = {*sys.stdlib_module_names, "harness"}


def declared(requirements: list[str]) -> set[str]:
    """Names of distributions, in the one spelling of the packaging specification."""
    return {
        re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~ ;]", requirement)[0]).lower()
        for requirement in requirements
    }


REQUIREMENTS = [*PROJECT["dependencies"], *chain.from_iterable(PROJECT["optional-dependencies"].values())]
CORE = declared(PROJECT["dependencies"])
EXTRAS = {
    name: declared(requirements)
    for name, requirements in PROJECT["optional-dependencies"].items()
    if name not in ("test", "dev")
}


def imported(tree: ast.Module) -> Iterator[tuple[str, int, bool]]:
    """Each import: top-level name, line, and whether it runs when the file is imported."""

    def below(node: ast.AST, runs: bool) -> Iterator[tuple[str, int, bool]]:
        for child in ast.iter_child_nodes(node):
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            typing_only = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            if isinstance(child, ast.Import):
                yield from ((alias.name.partition(".")[0], child.lineno, runs) for alias in child.names)
            elif isinstance(child, ast.ImportFrom) and child.level == 0 and child.module is not None:
                yield child.module.partition(".")[0], child.lineno, runs
            yield from below(child, runs and not inside and not typing_only)

    return below(tree, True)


def undeclared(source: str, path: str) -> list[str]:
    """Imports of a file that its user may not have, as ``path:line name``."""
    always = CORE.union(*(EXTRAS[extra] for extra, rooms in ROOMS.items() if path.startswith(rooms)))
    lazily = CORE.union(*EXTRAS.values())
    found = []
    for name, line, runs in imported(ast.parse(source)):
        owners = {re.sub(r"[-_.]+", "-", owner).lower() for owner in DISTRIBUTIONS.get(name, ())}
        if name not in FREE and not owners & (always if runs else lazily):
            found.append(f"{path}:{line} {name}")
    return found


def test_every_import_is_declared() -> None:
    files = sorted((ROOT / "harness").rglob("*.py"))
    assert len(files) > 100
    found = [
        line
        for file in files
        for line in undeclared(file.read_text(encoding="utf-8"), file.relative_to(ROOT).as_posix())
    ]
    assert found == []


def test_an_import_that_nobody_declared_is_found() -> None:
    source = (
        "import anyio\nimport pluggy\nimport torch\n\n\ndef run():\n    import torch\n    import pandas\n"
    )
    assert undeclared(source, "harness/run/some.py") == [
        "harness/run/some.py:2 pluggy",
        "harness/run/some.py:3 torch",
        "harness/run/some.py:8 pandas",
    ]


def test_an_extra_is_free_in_its_own_room_only() -> None:
    assert undeclared("import starlette", "harness/testing/fake_openai/app.py") == []
    assert undeclared("import starlette", "harness/cli/twin.py") == ["harness/cli/twin.py:1 starlette"]


def test_every_requirement_has_a_floor() -> None:
    without = [line for line in REQUIREMENTS if ">=" not in line and not line.startswith("finetune-harness[")]
    assert without == []


def test_every_pin_lies_within_the_declared_bounds() -> None:
    pins = dict(
        line.lower().replace("_", "-").split("==")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    )
    for line in REQUIREMENTS:
        bounds = re.fullmatch(r"([\w.-]+)>=([\d.]+)(?:,<([\d.]+))?", line)
        if bounds is None:
            continue
        pin = numbers(pins[bounds[1].lower().replace("_", "-")])
        assert numbers(bounds[2]) <= pin, line
        assert bounds[3] is None or pin < numbers(bounds[3]), line


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
