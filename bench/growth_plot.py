"""The growth of what questions take, as an SVG: a panel for each kind, a line for each question, both axes by tens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import log10

_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 270, 260, 46, 34, 54
_LEAST, _MOST = 0.5, 2000.0
#: Of the slowest question, of the others, of the aim.
_DARK, _PALE, _AIM = "#0b5cad", "#9dbfe0", "#c2410c"

#: Records, kind, name, milliseconds.
Point = tuple[int, str, str, float]


def svg(points: Sequence[Point], aims: Mapping[str, float]) -> str:
    """The drawing."""
    width = _LEFT + len(aims) * (_WIDTH + _GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{_TOP + _HEIGHT + 46}" '
        'font-family="sans-serif" font-size="11" fill="#222">',
        '<rect width="100%" height="100%" fill="#fff"/>',
    ]
    for number, (kind, aim) in enumerate(aims.items()):
        of_kind = [point for point in points if point[1] == kind]
        parts.append(f'<g transform="translate({_LEFT + number * (_WIDTH + _GAP)},{_TOP})">')
        parts += [*_panel(of_kind, kind, aim), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _panel(points: Sequence[Point], kind: str, aim: float) -> list[str]:
    sizes = sorted({size for size, *_ in points})
    first, last = log10(sizes[0]), log10(max(sizes[-1], sizes[0] * 10))

    def across(size: int) -> float:
        return round((log10(size) - first) / (last - first) * _WIDTH, 1)

    parts = [f'<text x="0" y="-14" font-weight="bold">{escape(kind)}: p95, ms of CPU</text>']
    for tick in (1, 10, 100, 1000):
        parts.append(f'<path d="M0 {_up(tick)}h{_WIDTH}" stroke="#ddd"/>')
        parts.append(f'<text x="-6" y="{_up(tick) + 4}" text-anchor="end">{tick}</text>')
    for size in sizes:
        parts.append(f'<text x="{across(size)}" y="{_HEIGHT + 16}" text-anchor="middle">{size:,}</text>')
    lines: dict[str, dict[int, float]] = {}
    for size, _, name, value in points:
        lines.setdefault(name, {})[size] = value
    slowest = max(lines, key=lambda name: lines[name].get(sizes[-1], 0))
    for name in sorted(lines, key=lambda name: name == slowest):
        at = " ".join(f"{across(size)},{_up(value)}" for size, value in sorted(lines[name].items()))
        look = f'stroke="{_DARK}" stroke-width="2.5"' if name == slowest else f'stroke="{_PALE}"'
        parts.append(f'<polyline points="{at}" fill="none" {look}><title>{escape(name)}</title></polyline>')
    parts.append(f'<path d="M0 {_up(aim)}h{_WIDTH}" stroke="{_AIM}" stroke-dasharray="5 4"/>')
    parts.append(f'<text x="2" y="{_up(aim) - 4}" fill="{_AIM}">aim: {aim:g} ms</text>')
    parts.append(f'<text x="0" y="{_HEIGHT + 34}" fill="{_DARK}">slowest: {escape(slowest)}</text>')
    return parts


def _up(value: float) -> float:
    share = log10(min(max(value, _LEAST), _MOST) / _LEAST) / log10(_MOST / _LEAST)
    return round(_HEIGHT * (1 - share), 1)
