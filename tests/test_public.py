"""What is public: documents import nothing else, and names that are going still work, with a warning."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import harness

ROOT = Path(__file__).parent.parent
# decision.md and evidence.md print their own figures, with private modules
FIGURES = ("decision", "evidence")
PAGES = [ROOT / "README.md", *sorted(p for p in (ROOT / "docs").glob("*.md") if p.stem not in FIGURES)]


def public_modules() -> set[str]:
    page = (ROOT / "docs/compatibility.md").read_text(encoding="utf-8")
    start, end = page.index("these modules are public"), page.index("Everything else is private")
    return {"harness", *re.findall(r"`(harness[\w.]+)`", page[start:end])}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_documents_import_public_modules_only(page: Path) -> None:
    code = "\n".join(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))
    imported = set(re.findall(r"^\s*(?:from|import) (harness[\w.]*)", code, re.MULTILINE))
    assert imported <= public_modules()


def test_public_modules_exist_and_private_rooms_say_so() -> None:
    for module in public_modules():
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__init__.py").is_file(), module
    rooms = {path.parent.name for path in (ROOT / "harness").glob("*/__init__.py")}
    public = {module.split(".")[1] for module in public_modules() if "." in module}
    for room in rooms - public:
        text = (ROOT / "harness" / room / "__init__.py").read_text(encoding="utf-8")
        assert "Private: no module here is public" in text, room


def test_former_names_work_and_warn() -> None:
    former = {
        "from harness import Generated; Generated()": "SelfGenerated",
        "from harness.candidates.specs import Candidate, QLoRA": "import from harness",
        "from harness.candidates.prepare import Prepared": "harness.candidates.base",
        "from harness.testing.twin import running_twin": "harness.testing.fake_openai",
    }
    run = [sys.executable, "-W", "always::DeprecationWarning:__main__", "-c", "\n".join(former)]
    done = subprocess.run(run, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    warnings = [line for line in done.stderr.splitlines() if "DeprecationWarning" in line]
    for line, says in enumerate(former.values(), start=1):
        assert any(f"<string>:{line}:" in one and says in one for one in warnings), done.stderr


def test_a_kind_of_the_time_before_is_told_what_to_write() -> None:
    code = "from harness.candidates.prepare import prepare\n@prepare.register\ndef mine(candidate): ..."
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert "a candidate kind is one class now" in done.stderr
    assert "docs/architecture.md" in done.stderr


def test_type_checkers_and_python_find_each_name_in_the_same_module() -> None:
    tree = ast.parse((ROOT / "harness/__init__.py").read_text(encoding="utf-8"))
    (checked,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in checked.body if isinstance(node, ast.ImportFrom)]
    homes = {alias.name: str(node.module) for node in imports for alias in node.names}
    assert homes == {name: f"harness.{home}" for name, home in harness._HOMES.items()}
    assert sorted(homes) == sorted(harness.__all__)
    for name, home in homes.items():
        assert getattr(harness, name) is getattr(sys.modules[home], name)
        assert name in dir(harness)
    with pytest.raises(AttributeError, match="no attribute 'LORA'"):
        _ = harness.LORA
