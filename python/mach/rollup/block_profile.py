"""A picture of where the time of verifications went: one bar a block, one colour a stage, as SVG of its own."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, Final

from mach.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mach.rollup.single_block import BlockReport

MAX_BARS: Final = 60
"""Of more blocks than these the slowest are drawn."""

# Colours that eyes which confuse red and green tell apart, too (Okabe and Ito).
_STAGES: Final = {
    "fetch": ("fetch", "#999999"),
    "decode": ("decode", "#f0e442"),
    "witness": ("hash witness", "#56b4e9"),
    "senders": ("senders", "#cc79a7"),
    "execute": ("execute", "#0072b2"),
    "state_root": ("state root", "#e69f00"),
    "commitments": ("commitments", "#009e73"),
}
_INK: Final = "#1a1a1a"
_FAINT: Final = "#6b6b6b"
_WIDTH: Final = 1000
_LEFT: Final = 230
_RIGHT: Final = 90
_TOP: Final = 96
_ROW: Final = 26
_BAR: Final = 16


def write_profile(path: Path, reports: Sequence[BlockReport]) -> None:
    """Write the picture as SVG, or as HTML if the name ends in `.html`. Raises ConfigurationError."""
    drawing = profile_svg(reports)
    if path.suffix == ".html":
        head = '<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>Verification profile</title>\n'
        drawing = f'{head}<body style="margin:2em;background:#fff">\n{drawing}</body></html>\n'
    try:
        path.write_text(drawing, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}; name a file in a folder") from None


def profile_svg(reports: Sequence[BlockReport]) -> str:
    """The picture as the text of an SVG document: a bar for all blocks together, their mean, and one for each block."""
    slowest = sorted(reports, key=lambda report: -sum(report.seconds.values()))[:MAX_BARS]
    drawn = sorted(slowest, key=lambda report: (report.number, report.source))
    bars = [(f"block {report.number}", report.verdict, report.seconds) for report in drawn]
    if len(reports) > 1:
        mean = {stage: sum(report.seconds.get(stage, 0.0) for report in reports) / len(reports) for stage in _STAGES}
        bars.insert(0, (f"mean of {len(reports)}", "", mean))
    longest = max((sum(seconds.values()) for _, _, seconds in bars), default=0.0) * 1000
    step = _step(longest)
    limit = max(math.ceil(longest / step), 1) * step
    height = _TOP + len(bars) * _ROW + 40
    scale = (_WIDTH - _LEFT - _RIGHT) / limit
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}" '
        'font-family="DejaVu Sans, Verdana, sans-serif" font-size="13" role="img">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="20" y="30" font-size="18" font-weight="bold" fill="{_INK}">{escape(_title(reports))}</text>',
        *_legend(),
        *_axis(limit, step, scale, height - 40),
    ]
    for row, (label, verdict, seconds) in enumerate(bars):
        parts += _bar(_TOP + row * _ROW, label, verdict, seconds, scale)
    return "\n".join([*parts, "</svg>\n"])


def _title(reports: Sequence[BlockReport]) -> str:
    gas, execution = sum(report.gas_used for report in reports), 0.0
    for report in reports:
        execution += sum(seconds for stage, seconds in report.seconds.items() if stage != "fetch")
    blocks = "1 block" if len(reports) == 1 else f"{len(reports)} blocks"
    if len(reports) > MAX_BARS:
        blocks += f" (the slowest {MAX_BARS} drawn)"
    rate = f", {gas / execution / 1e6:,.0f} Mgas/s without fetch" if execution > 0 else ""
    return f"Where the time went: {blocks}, {gas / 1e6:,.1f} Mgas{rate}"


def _legend() -> list[str]:
    parts, x = [], 20.0
    for name, colour in _STAGES.values():
        parts.append(f'<rect x="{x:.0f}" y="48" width="13" height="13" fill="{colour}"/>')
        parts.append(f'<text x="{x + 19:.0f}" y="59" fill="{_INK}">{name}</text>')
        x += 45 + 8.2 * len(name)
    return parts


def _axis(limit: float, step: float, scale: float, bottom: float) -> list[str]:
    parts = []
    for tick in range(round(limit / step) + 1):
        x = _LEFT + tick * step * scale
        parts.append(f'<line x1="{x:.1f}" y1="{_TOP - 10}" x2="{x:.1f}" y2="{bottom}" stroke="#e2e2e2"/>')
        parts.append(
            f'<text x="{x:.1f}" y="{bottom + 18:.0f}" text-anchor="middle" fill="{_FAINT}">{tick * step:g} ms</text>'
        )
    return parts


def _bar(y: float, label: str, verdict: str, seconds: dict[str, float], scale: float) -> list[str]:
    baseline = y + _BAR - 3
    parts = [f'<text x="20" y="{baseline}" fill="{_INK}">{escape(label)}</text>']
    if verdict not in ("", "VALID"):
        short = {"INVALID": "INVALID", "INCONCLUSIVE": "INCONCL."}.get(verdict, verdict)
        parts.append(f'<text x="{_LEFT - 10}" y="{baseline}" text-anchor="end" fill="#b00020">{escape(short)}</text>')
    x = float(_LEFT)
    for stage, (name, colour) in _STAGES.items():
        milliseconds = seconds.get(stage, 0.0) * 1000
        width = milliseconds * scale
        if width > 0:
            parts.append(
                f'<rect x="{x:.2f}" y="{y}" width="{width:.2f}" height="{_BAR}" fill="{colour}">'
                f"<title>{escape(label)}: {name} {milliseconds:.2f} ms</title></rect>"
            )
        x += width
    total = sum(seconds.values()) * 1000
    parts.append(f'<text x="{x + 6:.1f}" y="{baseline}" fill="{_INK}">{total:.1f} ms</text>')
    return parts


def _step(longest: float) -> float:
    """A round distance between ticks, of which five to ten fit."""
    if longest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(longest / 5))
    return next(power * factor for factor in (1, 2, 5, 10) if longest / (power * factor) <= 8)
