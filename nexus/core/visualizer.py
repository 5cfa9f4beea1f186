"""Pictures of a model and of what it does: architecture, attention, states, surprise, training, imagined futures.

The one idea: every picture is a plain function of tensors, written as a PNG, and what was drawn can be put on one page
that holds its own pictures and needs no network. Uses matplotlib, which is loaded when the first picture is drawn.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nexus.core.files import atomic_write_bytes, atomic_write_text

INK, ACCENT, PAPER = "#1b2a3a", "#c8553d", "#f4f1ea"


@dataclass(frozen=True)
class Part:
    """One line of an architecture: a module, how deep it is nested, and its parameters."""

    name: str
    kind: str
    depth: int
    parameters: int


def parts_of(module: nn.Module, max_depth: int = 3, name: str = "", depth: int = 0) -> list[Part]:
    """The tree of a module as lines; neighbours that are alike are told as one ("blocks.0-6")."""
    found = [Part(name or "model", type(module).__name__, depth, sum(p.numel() for p in module.parameters()))]
    if depth >= max_depth:
        return found
    for names, child in _alike(module):
        label = names[0] if len(names) == 1 else f"{names[0]}-{names[-1]}"
        below = parts_of(child, max_depth, label, depth + 1)
        first = below[0]
        below[0] = Part(first.name, f"{len(names)} x {first.kind}" if len(names) > 1 else first.kind, first.depth,
                        first.parameters * len(names))  # fmt: skip
        found += below
    return found


def _alike(module: nn.Module) -> list[tuple[list[str], nn.Module]]:
    groups: list[tuple[list[str], nn.Module]] = []
    for name, child in module.named_children():
        if groups and name.isdigit() and _signature(groups[-1][1]) == _signature(child):
            groups[-1][0].append(name)
        else:
            groups.append(([name], child))
    return groups


def _signature(module: nn.Module) -> list[tuple[str, str, tuple[int, ...]]]:
    kinds = [(name, type(child).__name__, ()) for name, child in module.named_modules()]
    return kinds + [(name, "", tuple(p.shape)) for name, p in module.named_parameters()]


class HierarchicalVisualizer:
    """Draws, and remembers what it drew for :meth:`write_page`.

    ::

        visualizer = HierarchicalVisualizer()
        visualizer.draw_architecture(model, "architecture.png")
        visualizer.draw_surprise(model.memory_surprise(ids)[0, 0], "surprise.png")
        visualizer.write_page("report.html")
    """

    def __init__(self, title: str = "Nexus") -> None:
        self.title = title
        self._pictures: list[tuple[str, bytes]] = []

    def draw_architecture(self, module: nn.Module, path: str | Path, max_depth: int = 3) -> Path:
        """The tree of a module; the width of a bar is its share of the parameters."""
        parts = parts_of(module, max_depth)
        figure, axes = _figure(9, 0.32 * len(parts) + 0.8)
        total = max(parts[0].parameters, 1)
        for row, part in enumerate(parts):
            left = 0.06 * part.depth
            axes.barh(-row, part.parameters / total, left=left, height=0.8, color=PAPER, edgecolor=INK, linewidth=0.6)
            axes.text(left + 0.01, -row, f"{part.name}  ({part.kind})", va="center", color=INK, fontsize=8)
            axes.text(1.28, -row, f"{part.parameters:,}", va="center", ha="right", color=ACCENT, fontsize=8)
        axes.set_xlim(0, 1.3)
        axes.set_ylim(-len(parts), 1)
        axes.axis("off")
        return self._finish(figure, f"Architecture of {type(module).__name__}", path)

    def draw_attention(self, weights: Tensor, path: str | Path, tokens: Sequence[str] = ()) -> Path:
        """Attention weights (T, S), or (H, T, S) side by side: who (down) looks at whom (across)."""
        return self._draw_maps(weights, path, "Attention", "looked at", "looking", tokens)

    def draw_state(self, state: Tensor, path: str | Path, title: str = "State") -> Path:
        """A state, or weights of a memory, as a map: (N, P), or (H, N, P) side by side."""
        return self._draw_maps(state, path, title, "channel", "row", ())

    def draw_surprise(
        self, surprise: Tensor | Mapping[str, Tensor], path: str | Path, tokens: Sequence[str] = ()
    ) -> Path:
        """How surprising each token was, (T,), or several such rows by name."""
        rows = surprise if isinstance(surprise, Mapping) else {"surprise": surprise}
        figure, axes = _figure(9, 3)
        for name, row in rows.items():
            values = _checked(row, "surprise", (1,)).tolist()
            axes.plot(range(len(values)), values, drawstyle="steps-mid", label=name)
        if tokens:
            axes.set_xticks(range(len(tokens)), tokens, rotation=60, fontsize=7, ha="right")
        axes.set(xlabel="token", ylabel="norm of the gradient")
        axes.legend(frameon=False)
        return self._finish(figure, "Surprise", path)

    def draw_training(self, curves: Sequence[float] | Mapping[str, Sequence[float]], path: str | Path) -> Path:
        """One curve of losses, or several by name; the vertical axis is logarithmic where all are above zero."""
        rows = curves if isinstance(curves, Mapping) else {"loss": curves}
        if not rows or not all(len(row) for row in rows.values()):
            raise ValueError("curves: there is nothing to draw; give at least one value for each curve")
        figure, axes = _figure(7, 3.5)
        for name, row in rows.items():
            axes.plot(range(1, len(row) + 1), list(row), label=name)
        if min(min(row) for row in rows.values()) > 0:
            axes.set_yscale("log")
        axes.set(xlabel="step", ylabel="loss")
        axes.legend(frameon=False)
        return self._finish(figure, "Training", path)

    def draw_rollout(self, frames: Mapping[str, Tensor], path: str | Path) -> Path:
        """Rows of images by name ("seen", "imagined"), each (K, height, width)."""
        rows = {name: _checked(row, name, (3,)) for name, row in frames.items()}
        if not rows:
            raise ValueError("frames: there are none; give at least one row of images")
        longest = max(len(row) for row in rows.values())
        figure = _plain_figure(1.1 * longest + 0.8, 1.2 * len(rows) + 0.4)
        grid = figure.subplots(len(rows), longest, squeeze=False)
        for axes_row, (name, row) in zip(grid, rows.items(), strict=True):
            for step, axes in enumerate(axes_row):
                axes.axis("off")
                if step < len(row):
                    axes.imshow(row[step].tolist(), cmap="gray_r")
            axes_row[0].set_title(name, fontsize=8, loc="left", color=INK)
        return self._finish(figure, "Roll-out", path)

    def write_page(self, path: str | Path) -> Path:
        """Everything drawn so far on one HTML page that holds its pictures itself."""
        if not self._pictures:
            raise ValueError("pictures: nothing has been drawn yet; call one of the draw methods first")
        sections = [
            f'<h2>{html.escape(title)}</h2>\n<img alt="{html.escape(title)}" src="data:image/png;base64,'
            f'{base64.b64encode(data).decode()}">'
            for title, data in self._pictures
        ]
        page = (
            f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{html.escape(self.title)}</title>\n'
            "<style>body{font-family:sans-serif;max-width:60rem;margin:2rem auto;color:#1b2a3a}"
            "img{max-width:100%}</style>\n"
            f"<h1>{html.escape(self.title)}</h1>\n" + "\n".join(sections) + "\n</html>\n"
        )
        atomic_write_text(path, page)
        return Path(path)

    def _draw_maps(
        self, maps: Tensor, path: str | Path, title: str, across: str, down: str, tokens: Sequence[str]
    ) -> Path:
        values = _checked(maps, title.lower(), (2, 3))
        values = values[None] if values.dim() == 2 else values
        figure = _plain_figure(3.2 * len(values) + 0.6, 3.4)
        for head, axes in enumerate(figure.subplots(1, len(values), squeeze=False)[0]):
            axes.imshow(values[head].tolist(), cmap="viridis", aspect="auto", interpolation="nearest")
            axes.set(xlabel=across, ylabel=down if head == 0 else "")
            if tokens:
                axes.set_xticks(range(len(tokens)), tokens, rotation=60, fontsize=6, ha="right")
                axes.set_yticks(range(len(tokens)), tokens, fontsize=6)
        return self._finish(figure, title, path)

    def _finish(self, figure: Any, title: str, path: str | Path) -> Path:
        figure.suptitle(title, color=INK, fontsize=11)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110)
        atomic_write_bytes(path, buffer.getvalue())
        self._pictures.append((title, buffer.getvalue()))
        return Path(path)


def _plain_figure(width: float, height: float) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("drawing needs matplotlib: pip install 'nexus-ai[factory]'") from None
    return Figure(figsize=(min(width, 24), min(height, 24)), layout="constrained")


def _figure(width: float, height: float) -> tuple[Any, Any]:
    figure = _plain_figure(width, height)
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _checked(values: Tensor, name: str, ranks: tuple[int, ...]) -> Tensor:
    """The values as plain numbers on the CPU."""
    if values.dim() not in ranks or not values.numel():
        wanted = " or ".join(map(str, ranks))
        raise ValueError(f"{name}: Expected tensor with {wanted} dimensions, got {tuple(values.shape)}")
    return values.detach().to("cpu", torch.float32)
