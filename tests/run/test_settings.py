"""Options as one validated object."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.settings import parse_settings

ROOT = Path("/project")


def test_nothing_given_is_everything_at_its_default() -> None:
    settings = parse_settings({}, ROOT)
    assert (settings.candidates, settings.baseline, settings.sizes, settings.seeds) == ((), None, (), (0,))
    assert (settings.gate, settings.alpha) == ("release", 0.05)
    assert (settings.store, settings.reports) == (ROOT / ".harness", ROOT / "reports")


def test_paths_start_at_the_root_unless_they_are_absolute() -> None:
    settings = parse_settings({"harness-store": "kept", "report-dir": "/elsewhere"}, ROOT)
    assert (settings.store, settings.reports) == (ROOT / "kept", Path("/elsewhere"))


@given(st.sets(st.integers(1, 10**6), min_size=1))
def test_sizes_are_those_that_were_written(sizes: set[int]) -> None:
    text = " , ".join(map(str, sorted(sizes)))
    assert parse_settings({"sizes": text}, ROOT).sizes == tuple(sorted(sizes))


@given(st.lists(st.integers(1, 50), min_size=2))
def test_sizes_are_never_put_in_order_silently(sizes: list[int]) -> None:
    """Gates are judged at the largest, which should be the one that was written last."""
    if sizes != sorted(set(sizes)):
        with pytest.raises(UsageError, match="write"):
            parse_settings({"sizes": ",".join(map(str, sizes))}, ROOT)


@pytest.mark.parametrize("raw", [{}, {"sizes": "all"}])
def test_no_size_means_all_rows(raw: dict[str, object]) -> None:
    assert parse_settings(raw, ROOT).sizes == ()


@pytest.mark.parametrize(
    "raw",
    [
        {"sizes": "0"},
        {"sizes": ","},
        {"sizes": "5,x"},
        {"gate": "strict"},
        {"train-seeds": "1;2"},
        {"train-seeds": "-1"},
    ],
)
def test_what_cannot_be_is_refused_by_its_option(raw: dict[str, object]) -> None:
    (option,) = raw
    with pytest.raises(UsageError, match=f"--{option}="):
        parse_settings(raw, ROOT)
