"""Entropy: how many other things could have been said at each token, with a minus sign, in nats.

Source: mean token entropy, Fomicheva et al. 2020 (arXiv:2005.10608).
"""

from nexus.living.trace import Said


def mean_entropy(said: Said) -> float:
    """Of a token's choice, on average."""
    return -float(said.entropies.mean())


def max_entropy(said: Said) -> float:
    """Of the most open choice."""
    return -float(said.entropies.max())
