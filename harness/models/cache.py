"""The per-user cache: where it is, and folders whose content a manifest vouches for."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from harness.atomic import MANIFEST, build_atomically, damaged_file, write_manifest
from harness.errors import UsageError


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


def is_whole(folder: Path) -> bool:
    """Whether every file that the manifest names is there with the size it had when written."""
    try:
        return damaged_file(folder, reads=False) is None
    except OSError:
        return False  # there is no manifest


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
        write_manifest(part)

    return build_atomically(folder, build_with_manifest, is_whole)
