"""What is published: wheel and sdist as `make dist` builds them, and the wheel installed by itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from email import message_from_bytes
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = [
    pytest.mark.slow,  # two builds and an environment
    pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no clone: an unpacked sdist has no commits"),
]

SAYS = """
import sys
from importlib.metadata import distribution
from pathlib import Path

import harness
from harness.report.pages import environment

assert Path(harness.__file__).is_relative_to(sys.prefix), harness.__file__
environment().get_template("report.html.j2")
own = distribution("finetune-harness")
assert {point.name: point.value for point in own.entry_points} == {"harness": "harness.cli:main"}
print(own.version)
"""


def run(*words: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env={name: text for name, text in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist, and the wheel that is built from it, of a shallow clone without tags."""
    clone = tmp_path_factory.mktemp("dist") / "clone"
    run("git", "clone", "--quiet", "--depth=1", "--no-tags", ROOT.as_uri(), clone, cwd=ROOT)
    for name in run("git", "diff", "--name-only", "--diff-filter=d", "HEAD", cwd=ROOT).splitlines():
        shutil.copy2(ROOT / name, clone / name)  # as it stands here, committed or not
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", clone.parent, cwd=clone)
    (sdist,), (wheel,) = clone.parent.glob("*.tar.gz"), clone.parent.glob("*.whl")
    return sdist, wheel


def test_the_wheel_holds_the_package_and_nothing_else(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[1]) as wheel:
        names = set(wheel.namelist())
        (about,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = message_from_bytes(wheel.read(about))
    assert {PurePosixPath(name).parts[0].partition("-")[0] for name in names} == {
        "harness",
        "finetune_harness",
    }
    tracked = run("git", "ls-files", "harness", cwd=ROOT).splitlines()
    assert {name for name in tracked if (ROOT / name).exists()} - names == set(), "templates, tables, texts"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert "Framework :: Pytest" in metadata.get_all("Classifier", [])
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_sdist_holds_what_builds_and_tests_it(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[0]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "tests/test_distribution.py", "docs/index.md"} <= names
    assert not [name for name in names if name.startswith((".ci", ".github", "reports/example/no-go"))]
    assert built[0].stat().st_size < 4_000_000


def test_the_wheel_works_by_itself(built: tuple[Path, Path], tmp_path: Path) -> None:
    """Installed without dependencies; this environment then lends its own, without its harness."""
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / "bin" / "python"
    pip = (
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--no-compile",
        "--no-deps",
        "--no-index",
        built[1],
    )
    run(sys.executable, *pip, cwd=tmp_path)
    (site,) = (tmp_path / "env").glob("lib/python*/site-packages")
    (site / "lent.pth").write_text(sysconfig.get_path("purelib"))  # its own .pth files are not followed
    version = run(python, "-c", SAYS, cwd=tmp_path)
    assert version in built[1].name
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    major, minor, patch = project["tool"]["setuptools_scm"]["fallback_version"].split(".")
    assert version.startswith(f"{major}.{minor}.{int(patch) + 1}.dev"), "from the last release, without tags"
    assert "usage: harness" in run(tmp_path / "env" / "bin" / "harness", "--help", cwd=tmp_path)


def test_the_version_is_the_tag_s(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, tmp_path / name)
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-C", tmp_path)
    run(*git, "init", "--quiet", cwd=tmp_path)
    run(*git, "add", ".", cwd=tmp_path)
    run(*git, "commit", "--quiet", "-m", "all", cwd=tmp_path)
    run(*git, "tag", "v1.2.3", cwd=tmp_path)
    assert run(sys.executable, "-m", "setuptools_scm", cwd=tmp_path) == "1.2.3"
