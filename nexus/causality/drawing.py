"""Pictures: a graph in layers from causes to effects, and effects with their intervals."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nexus.causality.discovery.fci import ARROW, CIRCLE, NONE, PAG
from nexus.causality.equivalence import CPDAG, extend
from nexus.causality.estimation.estimators import Estimate
from nexus.causality.extras import need
from nexus.causality.graphs import ADMG, Bools, topological_order

Place = tuple[float, float]


def layout(directed: Bools) -> list[Place]:
    """A place for each variable: the layer is its longest path from a root; within a layer, near its causes."""
    order = topological_order(directed)
    layer = [0] * len(directed)
    for node in order:
        for child in np.flatnonzero(directed[node]):
            layer[child] = max(layer[child], layer[node] + 1)
    places: list[Place] = [(0.0, 0.0)] * len(directed)
    for depth in range(max(layer, default=0) + 1):
        row = [i for i in order if layer[i] == depth]
        row.sort(key=lambda i: float(np.mean([places[p][0] for p in np.flatnonzero(directed[:, i])] or [0.0])))
        for k, node in enumerate(row):
            shift = 0.25 * (depth % 2)  # so that an edge over two layers does not run through a node
            places[node] = (k - (len(row) - 1) / 2 + shift, -float(depth))
    return places


def draw_graph(
    graph: Any, path: str | Path | None = None, confidence: Mapping[tuple[str, str], float] | None = None
) -> Any:
    """Draw a DAG, ADMG, CPDAG or PAG.

    Args:
        path: where to write the picture (PNG, SVG, PDF by its ending); None leaves it open.
        confidence: (a, b) -> share, written beside the edge a -> b.

    Returns:
        The matplotlib figure.
    """
    edges, directed = _edges(graph)
    places = dict(zip(graph.names, layout(directed), strict=True))
    figure = need("matplotlib.figure").Figure(figsize=(1.5 + 1.4 * len(graph.names) ** 0.7,) * 2)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    for a, b, start, end in edges:
        _draw_edge(axes, places[a], places[b], start, end, (confidence or {}).get((a, b)))
    for name, (x, y) in places.items():
        box = {"boxstyle": "round,pad=0.4", "facecolor": "#eef3fa", "edgecolor": "#35506f"}
        axes.text(x, y, name, ha="center", va="center", bbox=box, zorder=3)
    xs, ys = zip(*places.values(), strict=True)
    axes.set_xlim(min(xs) - 0.7, max(xs) + 0.7)
    axes.set_ylim(min(ys) - 0.5, max(ys) + 0.5)
    axes.set_axis_off()
    return _written(figure, path)


def _edges(graph: Any) -> tuple[list[tuple[str, str, str, str]], Bools]:
    """(from, to, mark at from, mark at to) with marks "-", ">" and "o"; and directions for the layout."""
    names = graph.names
    if isinstance(graph, ADMG):
        both = [(a, b, ">", ">") for a, b in graph.confounded]
        return [*((a, b, "-", ">") for a, b in graph.edges), *both], graph.directed
    if isinstance(graph, CPDAG):
        lines = [(a, b, "-", "-") for a, b in graph.undirected]
        return [*((a, b, "-", ">") for a, b in graph.edges), *lines], extend(graph.matrix)
    assert isinstance(graph, PAG)
    signs = {CIRCLE: "o", ARROW: ">"}
    found = [
        (names[i], names[j], signs.get(int(graph.marks[j, i]), "-"), signs.get(int(graph.marks[i, j]), "-"))
        for i, j in np.argwhere(np.triu(graph.marks != NONE))
    ]
    return found, extend((graph.marks == ARROW) & (graph.marks.T != ARROW))


def _draw_edge(axes: Any, start: Place, end: Place, tail: str, head: str, share: float | None) -> None:
    hidden = tail == head == ">"
    style = {
        "arrowstyle": ("<" if tail == ">" else "") + "-" + (">" if head == ">" else ""),
        "shrinkA": 16, "shrinkB": 16, "color": "#a04040" if hidden else "#35506f", "linestyle": "--" if hidden else "-",
        "connectionstyle": "arc3,rad=0.25" if hidden else "arc3,rad=0.06", "mutation_scale": 14,
    }  # fmt: skip
    axes.annotate("", xy=end, xytext=start, arrowprops=style)
    for mark, (x, y), (u, v) in ((tail, start, end), (head, end, start)):
        if mark == "o":
            axes.plot(x + 0.2 * (u - x), y + 0.2 * (v - y), "o", mfc="white", mec="#35506f", ms=6, zorder=2)
    if share is not None:
        axes.text((start[0] + end[0]) / 2, (start[1] + end[1]) / 2, f"{share:.0%}", fontsize=8, ha="center", zorder=4)


def draw_effects(estimates: Mapping[str, Estimate], path: str | Path | None = None, title: str = "") -> Any:
    """Effects with their intervals, one a line."""
    figure = need("matplotlib.figure").Figure(figsize=(7, 1.2 + 0.45 * len(estimates)), layout="constrained")
    axes = figure.subplots()
    for line, estimate in enumerate(estimates.values()):
        half = [[estimate.value - estimate.low], [estimate.high - estimate.value]]
        axes.errorbar(estimate.value, -line, xerr=half, fmt="o", color="#35506f", capsize=4)
    axes.axvline(0, color="#999999", lw=1, ls="--")
    axes.set_yticks([-line for line in range(len(estimates))], list(estimates))
    axes.set_xlabel("effect")
    axes.set_title(title)
    axes.margins(y=0.3)
    return _written(figure, path)


def _written(figure: Any, path: str | Path | None) -> Any:
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure
