"""All figures of a run in one file, held against what they were meant to reach, drawn and told.

    build_report({"run": {...}, "teacher": {...}, ...}, ctx.paths.results)

writes `results/report.json` (keys: `nexus_final.report_keys.KEYS`), plots, `overview.png` and `results/report.html`.
Parts that are missing are listed as missing; nothing is made up for them.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nexus.core.files import atomic_write_text
from nexus_final.html_report import render_html
from nexus_final.model_card import write_model_card
from nexus_final.plots import draw_overview, draw_plots
from nexus_final.report_keys import undocumented
from nexus_final.report_tables import window_name

__all__ = ["PARTS", "assemble", "build_report", "write_model_card"]

LOG = logging.getLogger("nexus_final.report")
FORMAT = 1
PARTS = (
    "run", "teacher", "data", "profile", "extraction", "alignment", "training", "perplexity", "generation", "context",
    "router", "release",
)  # fmt: skip
RATIO_TARGETS = {128: 1.05, 64: 1.08, 16: 1.25, 0: 1.60}  # student's over teacher's perplexity, by window
RETAINED_TARGET = 0.9  # of the teacher's accuracy and of its sound chat answers


def build_report(parts: Mapping[str, Any], results: Path) -> Path:
    """Write `report.json`, `plots/*.png`, `overview.png` and `report.html` into ``results``.

    Args:
        parts: what the stages measured, by the names in `PARTS`, in the form that `KEYS` documents; None or absent
            where a part was not measured.

    Returns:
        The path of `report.json`.

    Raises:
        ValueError: a part of an unknown name.
        ImportError: matplotlib is missing.
    """
    report = assemble(parts)
    if strangers := undocumented(report):
        LOG.warning("report: keys without documentation: %s; add them to report_keys.KEYS", ", ".join(strangers[:10]))
    path = Path(results) / "report.json"
    atomic_write_text(path, json.dumps(report, indent=1, allow_nan=False) + "\n")
    plots = draw_plots(report, Path(results) / "plots")
    overview = draw_overview(report, Path(results) / "overview.png")
    pictures = {**({"overview": overview} if overview else {}), **plots}
    atomic_write_text(Path(results) / "report.html", render_html(report, pictures))
    return path


def assemble(parts: Mapping[str, Any]) -> dict[str, Any]:
    """The content of `report.json`: the parts as plain JSON values, the verdicts, and what is missing.

    Raises:
        ValueError: a part of an unknown name.
    """
    if unknown := sorted(set(parts) - set(PARTS)):
        raise ValueError(f"parts: unknown {', '.join(unknown)}; known are {', '.join(PARTS)}")
    given = {name: parts[name] for name in PARTS if parts.get(name)}
    broken: list[str] = []
    report: dict[str, Any] = {"format": FORMAT, **_plain(given, "", broken)}
    report["targets"] = {"ratio": {str(w): t for w, t in RATIO_TARGETS.items()}, "retained": RETAINED_TARGET}
    report["verdicts"] = [*_ratio_verdicts(report), *_retained_verdicts(report)]
    report["missing"] = [name for name in PARTS if name not in given]
    report["not_finite"] = broken
    return report


def _plain(value: Any, path: str, broken: list[str]) -> Any:
    """A value as JSON has it: text keys, lists, and null for numbers that are none (noted in ``broken``)."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v, f"{path}.{k}".strip("."), broken) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v, f"{path}[{i}]", broken) for i, v in enumerate(value)]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        broken.append(path)
        return None
    return value


def _ratio_verdicts(report: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name, lengths in report.get("perplexity", {}).get("sets", {}).items():
        for length, found in lengths.items():
            for window, target in RATIO_TARGETS.items():
                measured = found["windows"].get(str(window))
                if measured is not None:
                    what = f"perplexity ratio, {name}, {length} tokens, {window_name(window)}"
                    yield _verdict(what, measured["ratio"], target, at_most=True)


def _retained_verdicts(report: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    generation = report.get("generation", {})
    for name, found in generation.get("sets", {}).items():
        yield _verdict(f"accuracy kept, {name}", found.get("retained"), RETAINED_TARGET, at_most=False)
    if chat := generation.get("chat"):
        yield _verdict("sound chat answers kept", chat.get("retained"), RETAINED_TARGET, at_most=False)


def _verdict(what: str, value: float | None, target: float, at_most: bool) -> dict[str, Any]:
    passed = value is not None and (value <= target if at_most else value >= target)
    return {"what": what, "value": value, "target": target, "at_most": at_most, "passed": passed}
