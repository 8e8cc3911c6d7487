"""Print the lowest declared versions of the direct dependencies, as a constraints file for pip."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

pyproject = Path(__file__).parent.parent / "pyproject.toml"
project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
extras = project["optional-dependencies"]
for requirement in sorted({*project["dependencies"], *extras["local"], *extras["twin"], *extras["test"]}):
    bound = re.fullmatch(r"([\w-]+)>=([\d.]+)(?:,<[\d.]+)?", requirement)
    if bound:  # not the project's own extras
        print(f"{bound[1]}=={bound[2]}")  # noqa: T201
