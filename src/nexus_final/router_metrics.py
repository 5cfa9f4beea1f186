"""How good a router is: not only how often it is right, but whether it knows when."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


def confusion(truth: Ints, said: Ints, classes: int) -> Ints:
    """Counts (classes, classes): rows are the truth, columns what was said."""
    table = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(table, (truth, said), 1)
    return table


def macro_f1(truth: Ints, said: Ints, classes: int) -> float:
    """Mean F1 over the classes that occur in the truth or were said."""
    table = confusion(truth, said, classes)
    hits, total = table.diagonal(), table.sum(0) + table.sum(1)
    return float((2 * hits[total > 0] / total[total > 0]).mean())


def calibration_error(confidence: Floats, right: NDArray[np.bool_], bins: int = 15) -> float:
    """Expected calibration error: |confidence - accuracy| in equal bins of confidence, weighted by their share."""
    rows = reliability(confidence, right, bins)
    return sum(abs(row["confidence"] - row["accuracy"]) * row["count"] for row in rows) / len(right)


def reliability(confidence: Floats, right: NDArray[np.bool_], bins: int = 15) -> list[dict[str, float]]:
    """For each bin that holds answers: mean confidence, share right, and how many."""
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    return [
        {
            "confidence": float(confidence[place == b].mean()),
            "accuracy": float(right[place == b].mean()),
            "count": int((place == b).sum()),
        }
        for b in sorted(set(place.tolist()))
    ]


def risk_coverage(confidence: Floats, right: NDArray[np.bool_]) -> dict[str, Any]:
    """What abstaining buys: share of errors among the surest answers at ten coverages, and the area under it (AURC)."""
    order = np.argsort(-confidence, kind="stable")
    risk = np.cumsum(~right[order]) / np.arange(1, len(right) + 1)
    counts = [max(1, round(len(right) * tenth / 10)) for tenth in range(1, 11)]
    curve = [{"coverage": count / len(right), "risk": float(risk[count - 1])} for count in counts]
    return {"aurc": float(risk.mean()), "curve": curve}


def best_threshold(confidence: Floats, right: NDArray[np.bool_], accuracy: float) -> float:
    """The lowest confidence from which on answers are right this often; if there is none, where they are most."""
    order = np.argsort(-confidence, kind="stable")
    sure, share = confidence[order], np.cumsum(right[order]) / np.arange(1, len(right) + 1)
    ends = np.append(sure[1:] < sure[:-1], True)  # equal confidences are accepted together
    good = np.flatnonzero(ends & (share >= accuracy))
    return float(sure[good[-1]] if len(good) else sure[ends][share[ends].argmax()])


def typos(text: str, seed: str, share: float = 0.08) -> str:
    """The text with a slip of the fingers in about this share of its longer words, and in one at least.

    A slip swaps two letters, drops one, doubles one, or hits a neighbour on the keyboard.
    """
    source = random.Random(seed)
    words = text.split(" ")
    long = [i for i, word in enumerate(words) if len(word) >= 4]
    if not long:
        return text
    for i in source.sample(long, max(1, round(share * len(long)))):
        words[i] = _slip(words[i], source)
    return " ".join(words)


def _slip(word: str, source: random.Random) -> str:
    at = source.randrange(1, len(word) - 1)
    kind = source.choice(("swap", "drop", "double", "neighbour"))
    if kind == "swap":
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == "drop":
        return word[:at] + word[at + 1 :]
    if kind == "double":
        return word[:at] + word[at] + word[at:]
    return word[:at] + _neighbour(word[at], source) + word[at + 1 :]


def _neighbour(letter: str, source: random.Random) -> str:
    for row in _ROWS:
        place = row.find(letter.lower())
        if place >= 0:
            return source.choice(row[max(0, place - 1) : place] + row[place + 1 : place + 2])
    return letter


def summary(probabilities: Floats, truth: Ints, labels: Sequence[str]) -> dict[str, Any]:
    """Everything that follows from calibrated probabilities (N, classes) and the truth (N,)."""
    said, confidence = probabilities.argmax(1), probabilities.max(1)
    right = said == truth
    table = confusion(truth, said, len(labels))
    return {
        "texts": len(truth),
        "accuracy": float(right.mean()),
        "macro_f1": macro_f1(truth, said, len(labels)),
        "ece": calibration_error(confidence, right),
        "nll": float(-np.log(np.maximum(probabilities[np.arange(len(truth)), truth], 1e-12)).mean()),
        "reliability": reliability(confidence, right),
        "abstention": risk_coverage(confidence, right),
        "confusion": {"labels": list(labels), "rows": table.tolist()},
    }
