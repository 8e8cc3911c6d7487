"""A judge's anchors in words: have its scores of the same labelled replies moved?"""

from __future__ import annotations

from harness.records import Anchors
from harness.report import numbers


def anchors_told(anchors: Anchors) -> str:
    """``moved by −12.0 points [−19.5, −4.5] since 2026-11-20, n = 20, p = 0.002``."""
    if anchors.why:
        return f"not compared: {anchors.why}"
    if anchors.shift is None:
        return "nothing to compare with: this model's first scores of them, or a pinned model's"
    said = "moved by" if anchors.moved else "not moved beyond noise:"
    since = f" since {anchors.since[:10]}" if anchors.since else ""
    good, bad = anchors.kinds
    each = f"{good} {numbers.points(anchors.good_shift)}, {bad} {numbers.points(anchors.bad_shift)}"
    return (
        f"{said} {numbers.points(anchors.shift)} points {numbers.interval(anchors.low, anchors.high)}{since}"
        f" ({each}), n = {anchors.n}, p = {numbers.p_value(anchors.p_value)}"
    )
