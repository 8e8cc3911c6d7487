"""The per-user cache: where it is, and folders whose content a manifest vouches for."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

from harness.atomic import build_atomically
from harness.errors import UsageError

MANIFEST = "manifest.json"


def cache_folder() -> Path:
    """The user's cache: ``$HARNESS_CACHE`` or the platform's usual place. Created if absent.

    Raises:
        UsageError: it cannot be.
    """
    import platformdirs

    root = os.environ.get("HARNESS_CACHE")
    folder = Path(root) if root else Path(platformdirs.user_cache_dir("finetune-harness"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"the cache {folder} cannot be made: {error}.\n"
            "  hint: set HARNESS_CACHE to a folder that can be written."
        ) from error
    return folder


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
    """The manifest's digest of a folder of this cache; None for a user's own, whose manifest may be any."""
    if not folder.resolve().is_relative_to(cache_folder().resolve()) or not is_whole(folder):
        return None
    return str(json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["digest"])


def build_once(folder: Path, build: Callable[[Path], None]) -> Path:
    """Fill ``folder`` by ``build(temporary folder)``, once, however many processes ask together.

    It appears whole, with a manifest of sizes and digests; a damaged one is built again.
    """

    def build_with_manifest(part: Path) -> None:
        build(part)
        files = {
            str(file.relative_to(part)): {"bytes": file.stat().st_size, "sha256": sha256_of(file)}
            for file in sorted(part.rglob("*"))
            if file.is_file()
        }
        digest = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
        manifest = json.dumps({"digest": digest, "files": files}, indent=1)
        (part / MANIFEST).write_text(manifest, encoding="utf-8")

    return build_atomically(folder, build_with_manifest, is_whole)
