"""A page of curves: one HTML file that needs nothing else, drawn as SVG.

The one idea: what the auditor knows, in the order a person looks: verdict, loss, gradient, updates, units, time,
memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

from nexus.core.files import atomic_write
from nexus.training.audit.classes import EXPLODING, FROZEN, TARGET, UNSTABLE
from nexus.training.audit.diagnosis import diagnose
from nexus.training.audit.findings import Finding
from nexus.training.audit.record import Record

Points = Sequence[tuple[float, float]]
WIDTH, HEIGHT, LEFT, BOTTOM = 380, 190, 54, 24
COLOURS = ("#1f5c99", "#b3303f", "#1d7a5f", "#8a5a00", "#6b4ba1", "#5c6b7a")
STYLE = """:root{color-scheme:light dark;--ink:#1b2733;--page:#f7f9fb;--card:#fff;--line:#dde4ea;--quiet:#5c6b7a}
@media (prefers-color-scheme:dark){:root{--ink:#dfe7ee;--page:#12181f;--card:#1a222b;--line:#2e3a46;--quiet:#97a6b4}}
body{margin:0 auto;max-width:1360px;padding:16px;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,sans-serif}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px;margin:12px 0}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(320px,1fr));gap:12px}.grid section{margin:0}
h1{font-size:1.5rem}h2{font-size:1rem;margin:0 0 6px}th{text-align:left}
svg{width:100%;height:auto}text{font-size:11px;fill:var(--quiet)}
.quiet{color:var(--quiet)}pre{white-space:pre-wrap;margin:0}
.bad{border-left:5px solid #b3303f}.good{border-left:5px solid #1d7a5f}"""


def write_page(record: Record, path: Path | str, title: str = "Audit of a run", more: str = "") -> Path:
    """Write the page; returns its path.

    Args:
        more: HTML that is put below the verdict, for example a report's tables.
    """
    path = Path(path)
    with atomic_write(path) as handle:
        handle.write(render(record, diagnose(record), title, more).encode())
    return path


def render(record: Record, findings: Sequence[Finding], title: str, more: str = "") -> str:
    """The page as text."""
    verdict = "".join(f'<section class="bad"><pre>{escape(str(f))}</pre></section>' for f in findings)
    verdict = verdict or '<section class="good">Nothing is wrong, as far as this record tells.</section>'
    charts = "".join(f"<section>{chart}</section>" for chart in _charts(record) if chart)
    facts = ", ".join(
        f"{key} {_short(value)}" for key, value in record.facts.items() if isinstance(value, (int, float))
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style></head><body><h1>{escape(title)}</h1>"
        f'<p class="quiet">{len(record.steps)} steps, {len(record.readings)} readings. {escape(facts)}</p>'
        f'{verdict}{more}<div class="grid">{charts}</div></body></html>\n'
    )


def _charts(record: Record) -> list[str]:
    steps, readings = record.steps, record.readings
    held_out = [(float(s), loss) for s, loss in record.held_out]
    waited = [(s["step"], s["data_seconds"] / s["seconds"]) for s in steps if s.get("seconds") and "data_seconds" in s]
    return [
        chart("Loss", {"training": _of(steps, "loss"), "held out": held_out}),
        chart("Learning rate", {"rate": _of(steps, "rate")}),
        chart("Norm of the gradient", {"norm": _of(steps, "grad_norm")}, log=True, marks={"exploding": EXPLODING}),
        chart(
            "Update over weight, by block",
            _groups(record, "ratio"),
            log=True,
            marks={"frozen": FROZEN, "target": TARGET, "unstable": UNSTABLE},
        ),
        chart("Gradient, by block", _groups(record, "gradient"), log=True),
        chart("Dead units (share)", _sites(record, "dead")),
        chart("Saturated units (share)", _sites(record, "saturated")),
        chart("Time spent waiting for data (share)", {"share": waited}),
        chart("Seconds a step", {"seconds": _of(steps, "seconds")}),
        chart("Memory (MB)", {"memory": [(r["step"], r["rss"]) for r in readings if r.get("rss")]}),
    ]


def _of(steps: Sequence[dict[str, float]], name: str) -> list[tuple[float, float]]:
    return [(step["step"], step[name]) for step in steps if name in step]


def _groups(record: Record, name: str) -> dict[str, Points]:
    lines: dict[str, list[tuple[float, float]]] = {}
    for reading in record.readings:
        for group, figures in reading.get("groups", {}).items():
            if name in figures:
                lines.setdefault(group, []).append((reading["step"], figures[name]))
    return dict(lines)


def _sites(record: Record, name: str) -> dict[str, Points]:
    lines: dict[str, list[tuple[float, float]]] = {}
    for reading in record.readings:
        for site, share in reading.get(name, {}).items():
            lines.setdefault(site, []).append((reading["step"], share))
    return dict(lines)


def chart(title: str, lines: dict[str, Points], log: bool = False, marks: dict[str, float] | None = None) -> str:
    """One line chart as SVG; empty text if there is nothing to draw."""
    drawn = {name: _clean(points, log) for name, points in lines.items()}
    drawn = {name: points for name, points in drawn.items() if points}
    if not drawn:
        return ""
    every = [point for points in drawn.values() for point in points]
    low_x, high_x = min(x for x, _ in every), max(x for x, _ in every)
    low, high = min(y for _, y in every), max(y for _, y in every)
    near = {name: math.log10(v) if log else v for name, v in (marks or {}).items()}
    near = {name: v for name, v in near.items() if low - 1.5 <= v <= high + 1.5}
    low, high = min([low, *near.values()]), max([high, *near.values()])
    high = high if high > low else low + (abs(low) * 0.1 or 1.0)

    def place(x: float, y: float) -> str:
        across = LEFT + (x - low_x) / ((high_x - low_x) or 1) * (WIDTH - LEFT - 8)
        return f"{across:.1f},{10 + (high - y) / (high - low) * (HEIGHT - BOTTOM - 10):.1f}"

    parts = [
        f"<h2>{escape(title)}</h2>",
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT + 16}" role="img" aria-label="{escape(title)}">',
    ]
    for share in (0.0, 0.5, 1.0):
        value = low + share * (high - low)
        _, y = place(low_x, value).split(",")
        label = _short(10**value if log else value)
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y}" y2="{y}" stroke="var(--line)"/><text x="2" y="{y}">{label}</text>'
        )
    for name, value in near.items():
        _, y = place(low_x, value).split(",")
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y}" y2="{y}" stroke="#8a5a00" stroke-dasharray="4 4"/>'
            f'<text x="{WIDTH - 60}" y="{y}">{escape(name)}</text>'
        )
    for index, points in enumerate(list(drawn.values())[:24]):
        path = " ".join(place(x, y) for x, y in points)
        parts.append(f'<polyline fill="none" stroke="{COLOURS[index % 6]}" stroke-width="1.5" points="{path}"/>')
    parts.append(
        f'<text x="{LEFT}" y="{HEIGHT - 6}">step {low_x:.0f}</text>'
        f'<text x="{WIDTH - 60}" y="{HEIGHT - 6}">{high_x:.0f}</text>'
    )
    return "".join(parts) + "</svg>" + _legend(list(drawn))


def _legend(names: list[str]) -> str:
    if len(names) == 1:
        return ""
    spans = [f'<span style="color:{COLOURS[i % 6]}">{escape(name)}</span>' for i, name in enumerate(names[:24])]
    return f'<p class="quiet">{" · ".join(spans)}</p>'


def _clean(points: Points, log: bool) -> list[tuple[float, float]]:
    """Finite points, at most 400 of them, on a logarithm where asked."""
    good = [(x, y) for x, y in points if math.isfinite(y) and (y > 0 or not log)]
    stride = max(1, len(good) // 400)
    return [(x, math.log10(y) if log else y) for x, y in good[::stride]]


def _short(value: float) -> str:
    return f"{value:.3g}"
