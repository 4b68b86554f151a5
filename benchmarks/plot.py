"""The figures as one SVG: calls per second of processor time, and each work as a share of the limit.

It brings its own background, since a picture in a page does not know the page's colours. The easy thing to get
wrong is a text that a dark page swallows: every colour comes from the style sheet in the picture, which has
both.
"""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Final, NamedTuple

from bars import BARS, Bar
from results import Results, Spread

_WIDTH: Final = 860
_LEFT: Final = 280  # where bars begin
_RIGHT: Final = 720  # where the longest ends; numbers stand beyond
_STEP: Final = 28
_THICK: Final = 16

_STYLE: Final = """
  svg { font: 13px system-ui, sans-serif }
  .ground { fill: #ffffff } .frame { stroke: #d0d7de; fill: none }
  text { fill: #1f2328 } .title { font-size: 16px; font-weight: 600 } .note { fill: #59636e }
  .ours { fill: #0969da } .limit { fill: #818b98 } .other { fill: #c4ccd4 }
  .range, .bound { stroke: #1f2328; stroke-width: 1.5 } .bound { stroke-dasharray: 3 2 }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117 } .frame { stroke: #3d444d }
    text { fill: #f0f6fc } .note { fill: #9198a1 }
    .ours { fill: #4493f8 } .limit { fill: #7d8590 } .other { fill: #454c54 }
    .range, .bound { stroke: #f0f6fc }
  }"""

#: Row → what it is called, and how it is coloured.
_SERVERS: Final = {
    "calls/limit-protocol": ("the limit", "limit"),
    "calls/limit-uvicorn": ("bare app on uvicorn", "limit"),
    "calls/enfilade": ("Enfilade, session-based revisions", "ours"),
    "stateless/enfilade": ("Enfilade, stateless revision", "ours"),
    "calls/enfilade-redis": ("Enfilade, state in Redis", "ours"),
    "calls/enfilade-order": ("Enfilade, 5 typed arguments", "ours"),
    "calls/enfilade-sync": ("Enfilade, sync tool", "ours"),
    "calls/sdk-json": ("official SDK, best mode", "other"),
    "calls/sdk-sse": ("official SDK, default", "other"),
    "calls/fastmcp-json": ("FastMCP, best mode", "other"),
    "calls/fastmcp-sse": ("FastMCP, default", "other"),
}


class Mark(NamedTuple):
    """One bar of a chart.

    Attributes:
        name: what stands left of it.
        kind: its class in the style sheet.
        figure: how long it is, and between what it varied.
        shown: what stands right of it.
        bound: where it should reach to.
    """

    name: str
    kind: str
    figure: Spread
    shown: str
    bound: float | None = None


def write_plot(path: Path, results: Results) -> None:
    """Write the picture."""
    calls, shares = list(_calls(results)), list(_shares(results))
    top = 20 + _height(calls)
    height = top + _height(shares)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" role="img"'
        ' aria-label="Enfilade beside the limit and other servers: bar charts of the tables on this page">',
        f"<style>{_STYLE}\n</style>",
        f'<rect class="ground" width="{_WIDTH}" height="{height}" rx="8"/>',
        f'<rect class="frame" x=".5" y=".5" width="{_WIDTH - 1}" height="{height - 1}" rx="8"/>',
        *_chart("tools/call: calls for each second of server CPU", "more is better", calls, 20),
        *_chart("Enfilade as a share of the limit, by server CPU", "dashed: the bar", shares, top),
        "</svg>",
    ]
    path.write_text("\n".join(parts) + "\n", encoding="utf-8")


def _calls(results: Results) -> Iterable[Mark]:
    for row, (name, kind) in _SERVERS.items():
        figure = results.compared(row, row, lambda mine, _: 1e6 / mine["cpu"])
        if figure is not None:
            yield Mark(name, kind, figure, f"{figure.median:,.0f}")


def _shares(results: Results) -> Iterable[Mark]:
    for bar in BARS:
        figure = _share(bar, results)
        if figure is not None:
            name = bar.what.replace("`", "").replace("notifications/", "")
            yield Mark(name, "ours", figure, f"{figure.median:.2f} (bar {bar.bound:.2f})", bar.bound)


def _share(bar: Bar, results: Results) -> Spread | None:
    return bar.readings(results)[1] if bar.unit.endswith("of the limit") else None


def _height(marks: Sequence[Mark]) -> int:
    return 70 + _STEP * len(marks)


def _chart(title: str, note: str, marks: Sequence[Mark], top: int) -> Iterable[str]:
    """Yield a chart of bars that lie under each other."""
    yield f'<text class="title" x="24" y="{top + 16}">{escape(title)}</text>'
    note = f"{note}; thin lines: from the least to the most of all rounds"
    yield f'<text class="note" x="24" y="{top + 36}">{escape(note)}</text>'
    longest = max((max(mark.figure.most, mark.bound or 0) for mark in marks), default=1.0)
    scale = (_RIGHT - _LEFT) / longest
    for number, mark in enumerate(marks):
        y = top + 50 + _STEP * number
        middle = y + _THICK / 2
        least, most = (_LEFT + scale * each for each in (mark.figure.least, mark.figure.most))
        yield f'<text x="{_LEFT - 12}" y="{middle + 5}" text-anchor="end">{escape(mark.name)}</text>'
        yield (
            f'<rect class="{mark.kind}" x="{_LEFT}" y="{y}" width="{scale * mark.figure.median:.1f}" '
            f'height="{_THICK}" rx="2"/>'
        )
        yield f'<line class="range" x1="{least:.1f}" x2="{most:.1f}" y1="{middle}" y2="{middle}"/>'
        end = max(most, _LEFT + scale * mark.figure.median)
        if mark.bound is not None:
            x = _LEFT + scale * mark.bound
            yield f'<line class="bound" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 4}" y2="{y + _THICK + 4}"/>'
            end = max(end, x)
        yield f'<text x="{end + 10:.1f}" y="{middle + 5}">{escape(mark.shown)}</text>'
