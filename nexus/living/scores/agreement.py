"""Agreement: asked again and again, does it say the same? Answers are the same if their words are.

Source: semantic entropy, Farquhar et al. 2024 (Nature 630:625), with clusters of equal words instead of a second model
that judges meaning: for short answers of closed form they are the same clusters.
"""

import math
import re
from collections import Counter

from nexus.living.trace import Said


def agreement(said: Said) -> float:
    """The share of samples that say what the greedy answer says."""
    mine = _key(said.text)
    return sum(_key(sample) == mine for sample in said.samples) / len(said.samples)


def cluster_entropy(said: Said) -> float:
    """Entropy of the clusters that the samples fall into, in nats, with a minus sign."""
    counts = Counter(map(_key, said.samples)).values()
    return sum(count / len(said.samples) * math.log(count / len(said.samples)) for count in counts)


def sequence_entropy(said: Said) -> float:
    """The mean log-probability of the samples: minus a Monte Carlo estimate of the answers' entropy."""
    return sum(said.sample_logprobs) / len(said.sample_logprobs)


def _key(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))
