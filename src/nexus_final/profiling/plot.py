"""A profile as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nexus.core.files import atomic_file

INK, QUIET, WARM = "#1f3a5f", "#9fb3c8", "#d1495b"


def draw_profile(result: Mapping[str, Any], path: Path | str) -> Path:
    """Draw what `nexus_final.profiler.NIWTCore.run` returned to a PNG: layers, heads, windows and the circuit's test.

    Raises:
        ImportError: matplotlib is missing; it comes with the extra ``factory``.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('matplotlib is missing; pip install "nexus-ai[factory]"') from error

    figure = Figure(figsize=(13, 8), layout="constrained")
    axes = figure.subplots(2, 2)
    _layers(axes[0, 0], result)
    _heads(figure, axes[0, 1], result)
    _windows(axes[1, 0], result)
    _circuit(axes[1, 1], result)
    path = Path(path)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    return path


def _layers(axis: Any, result: Mapping[str, Any]) -> None:
    attention, mlp = ([row["kl"] for row in result["layers"][part]] for part in ("attention", "mlp"))
    x = np.arange(len(attention))
    axis.bar(x - 0.2, attention, 0.4, color=INK, label="attention")
    axis.bar(x + 0.2, mlp, 0.4, color=QUIET, label="MLP")
    axis.set_yscale("log")
    _label(axis, "How much a layer carries", "layer", "KL to the full model when it says its mean (nats)")
    axis.legend(frameon=False)


def _heads(figure: Any, axis: Any, result: Mapping[str, Any]) -> None:
    score = np.asarray(result["heads"]["score"]).T  # (H, L)
    share = score / score.sum(axis=0, keepdims=True)
    picture = axis.imshow(share, aspect="auto", cmap="Blues", vmin=0, origin="lower")
    figure.colorbar(picture, ax=axis, label="share of its layer")
    for layer, head in result["circuit"]["heads"]:
        axis.plot(layer, head, "o", mfc="none", mec=WARM, ms=9, mew=1.8)
    _label(axis, "What each head adds (circles: heads of the circuit)", "layer", "head")


def _windows(axis: Any, result: Mapping[str, Any]) -> None:
    windows, chosen = result["windows"], result["attention_layers"]
    colours = [WARM if layer in chosen["recommended"] else QUIET for layer in range(len(windows["kl"]))]
    axis.bar(range(len(windows["kl"])), windows["kl"], color=colours)
    title = f"Which layers see far: {windows['width']} tokens and {windows['sinks']} sinks in one layer"
    _label(axis, title, "layer", "KL to the full model (nats)")
    lines = [f"kept as attention ({chosen['method']}): {', '.join(map(str, chosen['recommended']))}"]
    for row in windows["comparison"][1:]:
        lines.append(f"window {row['window']}, {row['placement']}: KL {row['kl']:.3f}, {row['ratio']:.2f} x perplexity")
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85}
    axis.text(0.02, 0.97, "\n".join(lines), transform=axis.transAxes, va="top", fontsize=8, bbox=box)


def _circuit(axis: Any, result: Mapping[str, Any]) -> None:
    test = result["circuit"]["test"]
    own, random = test["circuit"], test["random"]
    shuffled = [one["damage"] for one in test["shuffled"]]
    rows = (
        ("circuit", [own["damage"]], WARM),
        ("shuffled scores", shuffled, QUIET),
        ("random sets", random["damage"], INK),
    )
    for y, (_, values, colour) in enumerate(reversed(rows)):
        axis.plot(values, [y] * len(values), "o", color=colour, alpha=0.6)
    axis.axvline(test["required_ratio"] * random["median"], color="black", ls="--", lw=1)
    axis.set_yticks(range(3), [name for name, _, _ in reversed(rows)])
    axis.set_ylim(-0.5, 2.5)
    ratio = "no ratio" if own["ratio"] is None else f"{own['ratio']:.1f} x the median of random sets"
    title = f"Honest test {'passed' if test['passed'] else 'NOT passed'}: {ratio}"
    _label(axis, title, f"rise of the held-out loss (nats); dashed: {test['required_ratio']:g} x median", "")


def _label(axis: Any, title: str, x: str, y: str) -> None:
    axis.set_title(title, fontsize=11, loc="left")
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
