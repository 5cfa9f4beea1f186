"""`report.html`: one file that needs nothing else, readable by day and by night, on a phone and on a desk."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from nexus_final.report_tables import Table, tables

SECTIONS = {
    "verdicts": "Required and measured",
    "perplexity": "Perplexity",
    "generation": "Answers",
    "context": "Memory and speed",
    "training": "Learning",
    "alignment": "Alignment",
    "profile": "Teacher's profile",
    "extraction": "Extraction",
    "router": "Router",
    "release": "Release",
    "teacher": "Teacher",
    "data": "Texts",
    "run": "Run",
}
STYLE = """
:root { color-scheme: light dark; --ink: #1b2733; --quiet: #5c6b7a; --page: #f7f9fb; --card: #fff; --line: #dde4ea;
  --good: #1d7a5f; --bad: #b3303f; --link: #1f5c99; }
@media (prefers-color-scheme: dark) { :root { --ink: #dfe7ee; --quiet: #97a6b4; --page: #12181f; --card: #1a222b;
  --line: #2e3a46; --good: #5fd0ac; --bad: #ff8a95; --link: #7db8f0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main, header, nav { max-width: 1100px; margin: 0 auto; padding: 0 16px; }
header { padding-top: 28px; }
h1 { font-size: 1.6rem; margin: 0 0 4px; }
h2 { font-size: 1.2rem; margin: 0 0 12px; }
h3 { font-size: 1rem; margin: 18px 0 6px; }
p { margin: 4px 0; }
nav { padding-top: 10px; padding-bottom: 10px; display: flex; flex-wrap: wrap; gap: 4px 14px; }
a { color: var(--link); }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 18px; margin: 14px 0; }
.quiet, caption { color: var(--quiet); font-size: 0.9rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.9rem; }
th, td { padding: 4px 14px 4px 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { color: var(--quiet); font-weight: 600; }
td.figure, th.figure { text-align: right; white-space: nowrap; }
td { overflow-wrap: break-word; max-width: 46em; }
td:first-child { min-width: 9em; }
.good { color: var(--good); } .bad { color: var(--bad); font-weight: 600; }
img { display: block; width: 100%; height: auto; background: #fff; border-radius: 6px; margin: 0 0 12px; }
img.wide { min-width: 760px; } img.narrow { max-width: 720px; min-width: 320px; }
@media (max-width: 520px) { section { padding: 12px; } th, td { padding-right: 9px; font-size: 0.82rem; }
  td:first-child { min-width: 7.5em; } }
details { margin-top: 10px; } summary { cursor: pointer; color: var(--link); }
"""
WIDE = ("overview", "context", "training", "profile", "router")  # several panels: on a phone they are moved, not shrunk
LONG = 12  # rows above which a table starts folded


def render_html(report: Mapping[str, Any], pictures: Mapping[str, Path]) -> str:
    """The page as text, pictures inside.

    Args:
        report: the content of `report.json`.
        pictures: PNG files by section; ``overview`` stands on top.
    """
    teacher = escape(str(report.get("teacher", {}).get("id", "")))
    title = f"Nexus: a student of {teacher}" if teacher else "Nexus: report of a run"
    parts = [name for name in SECTIONS if report.get(name) or name in report["missing"]]
    links = "".join(f'<a href="#{name}">{SECTIONS[name]}</a>' for name in parts)
    sections = "\n".join(_section(report, name, pictures.get(name)) for name in parts)
    overview = _picture(pictures["overview"], "overview") if "overview" in pictures else ""
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{title}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<header><h1>{title}</h1>{_subtitle(report)}</header>\n"
        f"<nav>{links}</nav>\n<main>\n{f'<section>{overview}</section>' if overview else ''}\n{sections}\n"
        f"</main>\n</body>\n</html>\n"
    )


def _subtitle(report: Mapping[str, Any]) -> str:
    verdicts = report["verdicts"]
    said = []
    if verdicts:
        said.append(f"{sum(v['passed'] for v in verdicts)} of {len(verdicts)} requirements reached")
    if finished := report.get("run", {}).get("finished"):
        said.append(escape(str(finished)))
    if report["not_finite"]:
        said.append(f"not finite: {escape(', '.join(report['not_finite']))}")
    return f'<p class="quiet">{" · ".join(said)}</p>' if said else ""


def _section(report: Mapping[str, Any], name: str, picture: Path | None) -> str:
    head = f'<section id="{name}"><h2>{SECTIONS[name]}</h2>'
    if name in report["missing"]:
        return f'{head}<p class="quiet">Not measured in this run.</p></section>'
    drawn = _picture(picture, name) if picture else ""
    return head + drawn + "".join(_table(t, SECTIONS[name]) for t in tables(report, name)) + "</section>"


def _picture(path: Path, name: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    kind, text = "wide" if name in WIDE else "narrow", escape(SECTIONS.get(name, "Overview"))
    return f'<div class="scroll"><img class="{kind}" alt="{text}" src="data:image/png;base64,{data}"></div>'


def _table(table: Table, heading: str) -> str:
    right = [bool(table.rows) and all(_is_figure(row[i]) for row in table.rows) for i in range(len(table.columns))]
    head = "".join(_cell("th", text, right[i]) for i, text in enumerate(table.columns))
    head = f"<thead><tr>{head}</tr></thead>" if any(table.columns) else ""
    rows = "".join(f"<tr>{''.join(_cell('td', t, right[i]) for i, t in enumerate(row))}</tr>" for row in table.rows)
    body = f'<div class="scroll"><table>{head}<tbody>{rows}</tbody></table></div>'
    if table.note:
        body += f'<p class="quiet">{escape(table.note)}</p>'
    if len(table.rows) > LONG and heading != "Required and measured":
        return f"<details><summary>{escape(table.title)}: {len(table.rows)} rows</summary>{body}</details>"
    return ("" if table.title == heading else f"<h3>{escape(table.title)}</h3>") + body


def _cell(tag: str, text: str, right: bool) -> str:
    kinds = ["figure"] if right else []
    if text in ("yes", "NO"):  # colour beside the words, never instead of them
        kinds.append("good" if text == "yes" else "bad")
    mark = f' class="{" ".join(kinds)}"' if kinds else ""
    return f"<{tag}{mark}>{escape(text)}</{tag}>"


def _is_figure(text: str) -> bool:
    return text == "–" or (text[:1].isdigit() and len(text) < 40) or text[:1] in "≤≥-"
