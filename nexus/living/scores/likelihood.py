"""Likelihood: how probable the model itself held what it said.

Source: the baselines of LM-Polygraph (Fadeeva et al. 2023, arXiv:2311.07383): maximum sequence probability and, as its
mean over tokens, perplexity.
"""

from nexus.living.trace import Said


def max_probability(said: Said) -> float:
    """Log-probability of the whole greedy answer."""
    return float(said.logprobs.sum())


def mean_logprob(said: Said) -> float:
    """Log-probability of a token, on average."""
    return float(said.logprobs.mean())


def min_logprob(said: Said) -> float:
    """Log-probability of the least likely token: the point at which it was guessing most."""
    return float(said.logprobs.min())


def first_logprob(said: Said) -> float:
    """Log-probability of the first token, which often decides a short answer."""
    return float(said.logprobs[0])
