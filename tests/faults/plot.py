"""Curves over time as one SVG: a panel for each, with its own scale. No library, no fonts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, PANEL, MARGIN = 900, 150, 60


@dataclass(frozen=True)
class Curve:
    """One panel: values at the times given, from 0 up."""

    title: str
    unit: str
    values: Sequence[float]


def svg(heading: str, times_s: Sequence[float], curves: Sequence[Curve]) -> str:
    """The whole picture."""
    height = MARGIN + len(curves) * (PANEL + MARGIN)
    size = f'width="{WIDTH}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">',
        f'<rect {size} fill="white"/>',
        f'<text x="{MARGIN}" y="24" font-size="15">{escape(heading)}</text>',
    ]
    for number, curve in enumerate(curves):
        parts += _panel(MARGIN + number * (PANEL + MARGIN), times_s, curve)
    return "\n".join([*parts, "</svg>", ""])


def _panel(top: int, times_s: Sequence[float], curve: Curve) -> list[str]:
    highest = max([*curve.values, 1e-9]) * 1.1
    last_s = max([*times_s, 1e-9])
    bottom, right = top + PANEL, WIDTH - MARGIN
    points = " ".join(
        f"{MARGIN + at / last_s * (right - MARGIN):.1f},{bottom - value / highest * PANEL:.1f}"
        for at, value in zip(times_s, curve.values, strict=True)
    )
    return [
        f'<path d="M{MARGIN} {top}V{bottom}H{right}" fill="none" stroke="gray"/>',
        f'<text x="{MARGIN}" y="{top - 6}">{escape(curve.title)}, {escape(curve.unit)}</text>',
        f'<text x="{MARGIN - 6}" y="{top + 10}" text-anchor="end">{highest:.4g}</text>',
        f'<text x="{MARGIN - 6}" y="{bottom}" text-anchor="end">0</text>',
        f'<text x="{right}" y="{bottom + 16}" text-anchor="end">{last_s:.0f} s</text>',
        f'<polyline points="{points}" fill="none" stroke="#1f6feb" stroke-width="1.5"/>',
    ]
