"""What a router has to beat on the same texts: the commonest intent, word counts, and the nearest known text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nexus_final.router_metrics import Ints, macro_f1

Features = NDArray[np.float32]


def majority(known: Ints, count: int) -> Ints:
    """The commonest intent for every one of ``count`` texts."""
    return np.full(count, np.bincount(known).argmax(), dtype=np.int64)


def word_counts(known_texts: Sequence[str], known: Ints, texts: Sequence[str], seed: int) -> Ints:
    """TF-IDF over words and word pairs with logistic regression.

    Raises:
        ImportError: scikit-learn is missing; it comes with the extra ``factory``.
    """
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise ImportError('scikit-learn is missing; pip install "nexus-ai[factory]"') from error
    vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    model: Any = LogisticRegression(C=10.0, max_iter=2_000, random_state=seed)
    model.fit(vectors.fit_transform(known_texts), known)
    said: Ints = model.predict(vectors.transform(texts)).astype(np.int64)
    return said


def nearest(known_features: Features, known: Ints, features: Features) -> Ints:
    """The intent of the known text with the most similar features (cosine, after taking the mean off)."""
    middle = known_features.mean(0)
    ours, theirs = (_unit(rows - middle) for rows in (features, known_features))
    return known[(ours @ theirs.T).argmax(1)]


def baselines(
    known_texts: Sequence[str],
    known: Ints,
    known_features: Features,
    texts: Sequence[str],
    truth: Ints,
    features: Features,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Accuracy and macro-F1 of all three; ``known`` are the training texts' intents, ``truth`` those to be told."""
    said = {
        "majority": majority(known, len(truth)),
        "tfidf_logistic_regression": word_counts(known_texts, known, texts, seed),
        "nearest_neighbour": nearest(known_features, known, features),
    }
    classes = int(max(known.max(), truth.max())) + 1
    return {
        name: {"accuracy": float((answer == truth).mean()), "macro_f1": macro_f1(truth, answer, classes)}
        for name, answer in said.items()
    }


def _unit(rows: Features) -> Features:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-12), dtype=np.float32)
