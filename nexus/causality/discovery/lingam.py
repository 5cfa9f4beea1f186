"""DirectLiNGAM: with linear mechanisms and non-Gaussian noise the whole DAG is identified.

The variable whose residual regressions look most independent is a cause of all that are left; remove its effect, go on
(Shimizu et al. 2011). Independence is measured by the likelihood ratio of Hyvärinen & Smith (2013).
"""

from __future__ import annotations

import numpy as np

from nexus.causality.discovery.scores import GaussianScore
from nexus.causality.graphs import Bools
from nexus.causality.table import Floats, standardise

# Constants of the maximum-entropy approximation (Hyvärinen 1998).
K1, K2, GAMMA = 79.047, 7.4129, 0.37457
GAUSSIAN_ENTROPY = (1 + np.log(2 * np.pi)) / 2


def entropy(u: Floats) -> Floats:
    """Differential entropy of standardised columns, approximately; (n, k) -> (k,)."""
    log_cosh = np.logaddexp(u, -u) - np.log(2)
    return GAUSSIAN_ENTROPY - K1 * (log_cosh.mean(0) - GAMMA) ** 2 - K2 * (u * np.exp(-(u**2) / 2)).mean(0) ** 2


def causal_order(values: Floats, allowed: Bools) -> list[int]:
    """All variables, causes before effects.

    Args:
        values: (n, d).
        allowed: (d, d), False where i -> j is ruled out; a variable comes first only if it may.
    """
    x, left, order = standardise(values), list(range(values.shape[1])), []
    while len(left) > 1:
        z = standardise(x[:, left])
        ratio = _likelihood_ratio(z)
        blocked = ~allowed[np.ix_(left, left)]
        may_follow = ~(blocked & ~blocked.T)  # [i, j] False: j cannot be an effect of i, but i can be one of j
        np.fill_diagonal(may_follow, True)
        ready = may_follow.all(1)
        against = np.where(ready | ~ready.any(), (np.minimum(0, ratio) ** 2).sum(1), np.inf)
        first = int(against.argmin())
        x[:, left] = z - np.outer(z[:, first], z.T @ z[:, first] / len(z))
        order.append(left.pop(first))
    return [*order, *left]


def _likelihood_ratio(z: Floats) -> Floats:
    """[i, j] > 0 where i -> j fits better than j -> i."""
    n, k = z.shape
    correlation = z.T @ z / n
    residual = np.zeros((k, k))  # [i, j]: entropy of i after regressing it on j
    for j in range(k):
        rest = z - np.outer(z[:, j], correlation[j])
        scale = np.sqrt(np.maximum(1 - correlation[j] ** 2, 1e-12))
        residual[:, j] = entropy(rest / scale)
    own = entropy(z)
    ratio = (own[None, :] + residual) - (own[:, None] + residual.T)
    np.fill_diagonal(ratio, 0.0)
    return ratio


def direct_lingam(values: Floats, allowed: Bools, required: Bools, penalty: float = 2.0) -> Bools:
    """The DAG: the order above, then each variable's parents among its predecessors by grow-shrink BIC."""
    from nexus.causality.discovery.order_search import graph_of

    score = GaussianScore(values, allowed, required, penalty)
    return graph_of(score, causal_order(values, allowed))
