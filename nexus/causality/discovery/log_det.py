"""Differentiable discovery: a weight matrix is fitted by gradient while a log-determinant drives out the cycles.

h(W) = -log det(s I - W∘W) + d log s is zero exactly for acyclic W (Bello, Aragam & Ravikumar 2022, DAGMA, eq. 3). The
whole is followed along a path of falling mu: mu (fit + sparsity |W|_1) + dag h(W) (their Algorithm 1). The fit is the
log of each residual's variance (GOLEM's unequal-variance likelihood), which does not depend on the columns' scales.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nexus.causality.graphs import Bools, find_cycle
from nexus.causality.table import Floats, standardise


def log_det_acyclicity(weights: Tensor, s: float = 1.0) -> Tensor:
    """h(W): (d, d) -> scalar; infinite outside the region where s I - W∘W is an M-matrix."""
    d = weights.shape[0]
    inner = s * torch.eye(d, dtype=weights.dtype, device=weights.device) - weights * weights
    sign, value = torch.linalg.slogdet(inner)
    return torch.where(sign > 0, -value + d * float(np.log(s)), torch.full_like(value, torch.inf))


def project_to_dag(weights: Floats, threshold: float = 0.0, allowed: Bools | None = None) -> Bools:
    """The edges that remain when they are added by falling strength and none may close a cycle.

    Args:
        weights: (d, d), [i, j] the strength of i -> j.
        threshold: weaker edges (in absolute value) are left out.
        allowed: (d, d), False where an edge is ruled out.
    """
    strength, d = np.abs(np.asarray(weights, dtype=float)), len(weights)
    keep = np.zeros((d, d), dtype=bool)
    reach = np.eye(d, dtype=bool)  # [i, j]: j can be reached from i
    for flat in np.argsort(-strength, axis=None, kind="stable"):
        i, j = divmod(int(flat), d)
        if strength[i, j] <= threshold:
            break
        if not reach[j, i] and (allowed is None or allowed[i, j]):
            keep[i, j] = True
            reach |= np.outer(reach[:, i], reach[j])
    assert not find_cycle(keep)
    return keep


@torch.no_grad()
def strongest_dag(weights: Tensor, floor: float = 0.0) -> Tensor:
    """The edges above the lowest threshold (at least `floor`) that leaves no cycle; (n, n) booleans.

    Tensor operations only, so that a compiled model need not stop for it: all thresholds are tried at once, and a graph
    is acyclic if no variable reaches itself.
    """
    strength = weights.detach().float().abs() * (1 - torch.eye(len(weights), device=weights.device))
    levels = strength.flatten().sort().values.clamp_min(floor)
    levels = torch.cat([levels.new_full((1,), floor), levels])
    edges = strength > levels[:, None, None]  # (n * n + 1, n, n), the last one empty
    reach = edges.float()
    for _ in range(max(1, (len(weights) - 1).bit_length())):
        reach = (reach + reach @ reach).clamp_max(1.0)
    cyclic = reach.diagonal(dim1=1, dim2=2).sum(1) > 0
    return edges.index_select(0, cyclic.sum()[None])[0]  # thresholds rise, so the cyclic ones come first


def fit_log_det(
    values: Floats,
    allowed: Bools,
    dag_weight: float = 1.0,
    sparsity_weight: float = 0.1,
    path: tuple[float, ...] = (1.0, 0.1, 0.01, 0.001),
    steps: int = 1500,
) -> Floats:
    """The fitted weights, (d, d), on standardised columns; project them to read a graph off.

    The gradients are written out: for 20 variables that is ten times faster than to trace them.
    """
    z = standardise(values)
    covariance, weights = z.T @ z / len(z), np.zeros((z.shape[1], z.shape[1]))
    for mu in path:
        weights = _descend(weights, covariance, allowed, mu, dag_weight, sparsity_weight, steps)
    return weights


def _descend(
    start: Floats, covariance: Floats, allowed: Bools, mu: float, dag: float, sparsity: float, steps: int
) -> Floats:
    """Adam on one level of the path; if a step leaves the region of h, all is begun again at half the rate."""
    rate = 3e-3
    while rate > 1e-6:
        weights, first, second = start.copy(), np.zeros_like(start), np.zeros_like(start)
        for step in range(1, steps + 1):
            slope = _slope(weights, covariance, mu, dag, sparsity)
            if slope is None:
                break
            slope *= allowed
            first = 0.99 * first + 0.01 * slope
            second = 0.999 * second + 0.001 * slope**2
            weights = weights - rate * (first / (1 - 0.99**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        else:
            return weights
        rate /= 2
    return start


def _slope(weights: Floats, covariance: Floats, mu: float, dag: float, sparsity: float) -> Floats | None:
    """Gradient of mu (fit + sparsity |W|_1) + dag h(W); None outside the region where I - W∘W is an M-matrix."""
    inverse = np.linalg.inv(np.eye(len(weights)) - weights * weights)
    if inverse.min() < -1e-9 or not np.isfinite(inverse).all():  # an M-matrix has an inverse without negative entries
        return None
    rest = np.eye(len(weights)) - weights
    pulled = covariance @ rest
    variance = np.maximum((rest * pulled).sum(0), 1e-9)
    fit = -pulled / variance
    return np.asarray(mu * (fit + sparsity * np.sign(weights)) + dag * 2 * weights * inverse.T)
