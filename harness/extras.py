"""The optional dependencies of ``pyproject.toml``, and the one error that names the extra to install.

Hosted models, checks, decisions and reports need none of them. Importing torch takes seconds, so nothing is
imported here: a package counts as installed when Python can find it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import MappingProxyType

from harness.errors import UsageError

# import names, by the extra that brings them
EXTRAS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "fireworks": ("fireworks", "httpx"),
        "local": (
            "accelerate",
            "bitsandbytes",
            "datasets",
            "gguf",
            "huggingface_hub",
            "llguidance",
            "peft",
            "safetensors",
            "torch",
            "transformers",
            "trl",
        ),
        "pdf": ("pypdf",),
        "ray": ("ray",),
        "s3": ("fsspec", "s3fs"),
        "serve": ("fastapi", "uvicorn"),
        "tinker": ("httpx", "tinker", "zstandard"),
        "together": ("together", "zstandard"),
        "twin": ("python_multipart", "starlette", "typing_extensions", "uvicorn"),
    }
)


def require_extra(extra: str, purpose: str) -> None:
    """Check that the packages of an extra are installed.

    Args:
        extra: one of ``EXTRAS``.
        purpose: what needs them, as the subject of a sentence: ``the base model 'smollm2-135m'``.

    Raises:
        UsageError: one is missing; the message has the command that installs it.
    """
    missing = [package for package in EXTRAS[extra] if find_spec(package) is None]
    if missing:
        raise UsageError(
            f"{purpose} needs packages that are not installed: {', '.join(missing)}.\n"
            f"  hint: pip install 'finetune-harness[{extra}]'"
        )


@cache  # each look reads the package's metadata: 8 ms
def installed_version(package: str) -> str | None:
    """The version of an installed package; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
