"""A proof as a picture: conclusions on top, what they rest on below."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from nexus.reasoning.extras import needs

Tree = tuple[str, list[Any]]
MAX_LEAVES = 60


def draw_tree(tree: Tree, title: str, path: Path) -> Path:
    """Draw a tree of sentences into the file; its ending says which format."""
    with needs("matplotlib", "factory"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    nodes, edges = layout(tree)
    width = max(x for _, x, _ in nodes) + 1
    depth = max(y for _, _, y in nodes) + 1
    figure = Figure(figsize=(min(3 + 2.2 * width, 60), min(1.5 + 1.2 * depth, 40)))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.01, 0.01, 0.98, 0.9))
    axes.set_axis_off()
    axes.set_title(title, fontsize=10)
    for parent, child in edges:
        axes.plot([nodes[parent][1], nodes[child][1]], [-nodes[parent][2], -nodes[child][2]], color="0.6", zorder=1)
    for label, x, y in nodes:
        leaf = not any(parent == nodes.index((label, x, y)) for parent, _ in edges)
        box = {"boxstyle": "round", "facecolor": "#eef4ff" if leaf else "#fff6dd", "edgecolor": "0.5"}
        axes.text(x, -y, textwrap.fill(label, 24), ha="center", va="center", fontsize=8, bbox=box, zorder=2)
    axes.set_xlim(-0.7, width - 0.3)
    axes.set_ylim(-depth + 0.4, 0.6)
    figure.savefig(path, dpi=110)
    return path


def layout(tree: Tree) -> tuple[list[tuple[str, float, int]], list[tuple[int, int]]]:
    """Places of the nodes (label, x, depth) and edges between them; wide trees are cut off and say so."""
    nodes: list[tuple[str, float, int]] = []
    edges: list[tuple[int, int]] = []
    leaves = 0

    def place(node: Tree, depth: int) -> int:
        nonlocal leaves
        below = [place(child, depth + 1) for child in node[1] if leaves < MAX_LEAVES]
        label = node[0] if len(below) == len(node[1]) else f"{node[0]} (and more that is not drawn)"
        if below:
            x = (nodes[below[0]][1] + nodes[below[-1]][1]) / 2
        else:
            x = float(leaves)
            leaves += 1
        nodes.append((label, x, depth))
        edges.extend((len(nodes) - 1, child) for child in below)
        return len(nodes) - 1

    place(tree, 0)
    return nodes, edges
