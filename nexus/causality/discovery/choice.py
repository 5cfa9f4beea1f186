"""Which discovery method suits the data: its assumptions are tested on the data, and the reasons are kept.

Discrete columns: a multinomial score. Jointly Gaussian: only the equivalence class can be told, by a Gaussian score.
Non-Gaussian: LiNGAM, if its own regressions are straight; otherwise additive noise with curved mechanisms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nexus.causality.discovery.lingam import direct_lingam
from nexus.causality.discovery.scores import smooth_basis
from nexus.causality.extras import need
from nexus.causality.graphs import Bools
from nexus.causality.table import Floats, Table

LEVEL = 0.01  # of each family of tests, over all variables together
MIN_ROWS = 100  # fewer rows cannot tell the shapes of noise apart


@dataclass(frozen=True)
class MethodChoice:
    """The method's name and why it was taken, a sentence each."""

    method: str
    reasons: tuple[str, ...]


def choose(table: Table, allowed: Bools, required: Bools, hidden: bool, interventions: bool) -> MethodChoice:
    """Test the assumptions and choose.

    Args:
        table: the data.
        allowed, required: background knowledge.
        hidden: unmeasured common causes are to be allowed for.
        interventions: some rows come from interventions.
    """
    if hidden:
        return MethodChoice("fci", ("unmeasured common causes are allowed for: only FCI's graphs can express them",))
    discrete = [name for name in table.names if table.is_discrete(name)]
    if len(discrete) == len(table.names):
        return MethodChoice("discrete", ("every column is discrete: a multinomial score",))
    if discrete:
        why = f"columns {', '.join(discrete)} are discrete and the others are not: a Gaussian score, up to equivalence"
        return MethodChoice("boss", (why,))
    if len(table) < MIN_ROWS:
        return MethodChoice("boss", (f"{len(table)} rows are too few to test the noise: a Gaussian score",))
    found = _by_noise(table, allowed, required)
    if interventions and found.method == "lingam":
        why = "some rows come from interventions, which only a score can leave out variable by variable"
        return MethodChoice("boss", (*found.reasons, why))
    return found


def _by_noise(table: Table, allowed: Bools, required: Bools) -> MethodChoice:
    normal = normality(table.values)
    name, p = table.names[int(normal.argmin())], _all_together(normal)
    if p > LEVEL:
        why = f"no column differs from a normal one (least p = {p:.2g}, {name}): directions only up to equivalence"
        return MethodChoice("boss", (why,))
    noise = f"{name} is not normal (p = {p:.2g}): the noise can tell directions"
    graph = direct_lingam(table.values, allowed, required)
    straight = linearity(table.values, graph)
    name, p = table.names[int(straight.argmin())], _all_together(straight)
    if p > LEVEL:
        return MethodChoice("lingam", (noise, f"LiNGAM's regressions are straight (least p = {p:.2g}, {name})"))
    return MethodChoice("additive", (noise, f"the regression of {name} is curved (p = {p:.2g}): additive noise"))


def _all_together(p_values: Floats) -> float:
    """Bonferroni over the variables."""
    return min(1.0, float(p_values.min()) * len(p_values))


def normality(values: Floats) -> Floats:
    """(d,): p-value of each column being normal (D'Agostino & Pearson 1973)."""
    return np.asarray(need("scipy.stats").normaltest(values, axis=0).pvalue)


def linearity(values: Floats, graph: Bools, degree: int = 4) -> Floats:
    """(d,): p-value of each variable's regression on its parents being straight.

    An F test of smooth curves of the parents' ranks, added to the straight lines (after Ramsey 1969).
    """
    p_values = np.ones(values.shape[1])
    for node in range(values.shape[1]):
        parents = np.flatnonzero(graph[:, node])
        if len(parents):
            basis = [smooth_basis(values[:, k] - values[:, k].mean(), degree) for k in parents]
            straight = np.column_stack([np.ones(len(values)), values[:, parents]])
            curved = np.column_stack([straight, *(b[:, 1:] for b in basis)])
            p_values[node] = _f_test(values[:, node], straight, curved)
    return p_values


def _f_test(y: Floats, small: Floats, large: Floats) -> float:
    one, two = (float(((y - m @ np.linalg.lstsq(m, y, rcond=None)[0]) ** 2).sum()) for m in (small, large))
    extra, left = large.shape[1] - small.shape[1], len(y) - large.shape[1]
    statistic = max(one - two, 0.0) / extra / (two / left)
    return float(need("scipy.special").fdtrc(extra, left, statistic))
