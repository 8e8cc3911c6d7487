"""The per-user cache: where it is, and how a file enters it whole or not at all."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

MANIFEST = "manifest.json"


def cache_folder() -> Path:
    """The user's cache: ``$HARNESS_CACHE`` or the platform's usual place. Created if absent."""
    import platformdirs

    root = os.environ.get("HARNESS_CACHE")
    folder = Path(root) if root else Path(platformdirs.user_cache_dir("finetune-harness"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_atomically(path: Path, text: str) -> None:
    """Write ``text`` so that a reader sees the old file or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    Path(name).replace(path)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_whole(folder: Path) -> bool:
    """Whether every file that the manifest names is there with the size it had when written."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        return all((folder / name).stat().st_size == file["bytes"] for name, file in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False  # a file is missing, or the manifest is none


def recorded_digest(folder: Path) -> str | None:
    """The digest that the manifest gives for the content of a folder of this cache; None for any other.

    A user's own folder may hold a ``manifest.json`` of another kind, or a copied one that is out of date.
    """
    if not folder.resolve().is_relative_to(cache_folder().resolve()) or not is_whole(folder):
        return None
    return str(json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["digest"])


def build_once(folder: Path, build: Callable[[Path], None]) -> Path:
    """Fill ``folder`` by ``build(temporary folder)``, once, however many processes ask together.

    The folder appears whole, with a manifest of sizes and digests; one that was cut short or
    damaged is thrown away and built again.
    """
    from filelock import FileLock

    folder.parent.mkdir(parents=True, exist_ok=True)
    if is_whole(folder):
        return folder
    with FileLock(folder.with_name(folder.name + ".lock")):
        if is_whole(folder):  # another process built it while this one waited
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        for left in folder.parent.glob(glob.escape(folder.name) + ".part-*"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=folder.name + ".part-"))
        try:
            build(part)
            _write_manifest(part)
            part.replace(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return folder


def _write_manifest(folder: Path) -> None:
    files = {
        str(p.relative_to(folder)): {"bytes": p.stat().st_size, "sha256": sha256_of(p)}
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }
    digest = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
    write_atomically(folder / MANIFEST, json.dumps({"digest": digest, "files": files}, indent=1))
