"""How learning goes on: accuracy after every update, what was lost on the way, and what an edit reached.

The one idea: one matrix. ``R[i, j]`` is the accuracy on what update j taught, measured after update i; row 0 is before
the first update. Everything else is read from it. Updates are counted from 1, as in the papers.

    ACC      mean_j R[T, j]                                    Lopez-Paz and Ranzato 2017 (arXiv:1706.08840), eq. 2
    BWT      mean_{j<T} R[T, j] - R[j, j]                      there, eq. 3
    FWT      mean_{j>1} R[j-1, j] - R[0, j]                    there, eq. 4
    forgetting  mean_{j<T} max_{0<i<T} R[i, j] - R[T, j]       Chaudhry et al. 2018 (arXiv:1801.10112), section 3
    min-ACC  mean_{j<T} min_{j<i<=T} R[i, j]                   De Lange et al. 2023 (arXiv:2205.13452), section 3
    WC-ACC   R[T, T] / T + (1 - 1/T) min-ACC                   there

Editing, shares of edits (Yao et al. 2023, arXiv:2305.13172, section 2): reliability (the question that was taught),
generality (the same in other words), locality (untouched answers that stay token for token), portability (what follows
from the edit by one more step).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nexus.core.files import atomic_file
from nexus.living.risk_coverage import figure as new_figure

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Continual:
    """The figures of a series of updates; see the head of this file."""

    average_accuracy: float
    backward_transfer: float
    forward_transfer: float
    forgetting: float
    min_accuracy: float
    worst_case_accuracy: float

    @classmethod
    def of(cls, matrix: ArrayLike) -> Continual:
        """From R (T + 1, T).

        Raises:
            ValueError: another shape.
        """
        r = np.asarray(matrix, dtype=np.float64)
        if r.ndim != 2 or r.shape[0] != r.shape[1] + 1 or not r.shape[1]:
            raise ValueError(f"matrix: has shape {r.shape}. cure: give (T + 1, T), the first row before any update")
        last = r.shape[1]
        after, own = r[1:], np.diagonal(r[1:])
        earlier = range(last - 1)
        lowest = _mean([after[j + 1 :, j].min() for j in earlier])
        return cls(
            average_accuracy=float(after[-1].mean()),
            backward_transfer=_mean([after[-1, j] - own[j] for j in earlier]),
            forward_transfer=_mean([r[j, j] - r[0, j] for j in range(1, last)]),
            forgetting=_mean([after[:-1, j].max() - after[-1, j] for j in earlier]),
            min_accuracy=lowest,
            worst_case_accuracy=float(own[-1]) / last + (1 - 1 / last) * lowest if last > 1 else float(own[-1]),
        )

    def to_dict(self) -> dict[str, float]:
        """As plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Editing:
    """Shares of edits, each in [0, 1]."""

    reliability: float
    generality: float
    locality: float
    portability: float

    @classmethod
    def of(
        cls,
        reliability: Sequence[bool],
        generality: Sequence[bool],
        locality: Sequence[bool],
        portability: Sequence[bool],
    ) -> Editing:
        """From what came out for each question."""
        return cls(
            reliability=_mean(reliability),
            generality=_mean(generality),
            locality=_mean(locality),
            portability=_mean(portability),
        )


@dataclass(frozen=True)
class Step:
    """Two versions compared on the same questions: the difference, and the chance of one as large if nothing changed.

    ``p`` is the exact two-sided sign test over the questions that changed; ``noise`` the standard error of ``change``.
    """

    change: float
    noise: float
    p: float


def step(before: ArrayLike, after: ArrayLike) -> Step:
    """Compare outcomes (n,) of the same questions before and after an update."""
    old, new = np.asarray(before, dtype=bool), np.asarray(after, dtype=bool)
    gained, lost = int((new & ~old).sum()), int((old & ~new).sum())
    n, moved, change = len(old), gained + lost, (gained - lost) / len(old)
    noise = math.sqrt(max(moved / n - change**2, 0.0) / n)
    tail = sum(math.comb(moved, k) for k in range(min(gained, lost) + 1)) / 2**moved
    return Step(change, noise, min(1.0, 2 * tail) if moved else 1.0)


def worst_drop(accuracy: ArrayLike) -> float:
    """The largest fall below the first value; 0 if it never fell."""
    values = np.asarray(accuracy, dtype=np.float64)
    return float(max(0.0, (values[0] - values).max()))


def draw(lines: dict[str, Sequence[float]], noise: dict[str, Sequence[float]], path: Path, title: str = "") -> Path:
    """Draw accuracy over updates, with bands of twice the standard error, into an image file.

    Raises:
        ImportError: matplotlib is missing; it comes with the extra ``factory``.
    """
    drawn = new_figure()
    axes = drawn.subplots()
    colours = ("#1f3a5f", "#2e8b7a", "#d1495b", "#b8860b")
    for (name, values), colour, marker in zip(lines.items(), colours, "os^D", strict=False):
        y, x = np.asarray(values), np.arange(len(values))
        axes.plot(x, y, color=colour, label=name, marker=marker, markersize=5, fillstyle="none")  # lines may coincide
        if name in noise:
            band = 2 * np.asarray(noise[name])
            axes.fill_between(x, y - band, y + band, color=colour, alpha=0.2, linewidth=0)
    axes.set(xlabel="updates promoted (0: the release)", ylabel="accuracy", title=title)
    axes.set_ylim(min(axes.get_ylim()[0], 0.9), 1.01)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False)
    with atomic_file(path) as temporary:
        drawn.savefig(temporary, dpi=130, format=path.suffix.lstrip(".") or "png")
    return path


def _mean(values: Sequence[float] | Sequence[bool]) -> float:
    return float(np.mean(values)) if len(values) else 0.0
