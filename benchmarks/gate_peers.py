"""LM-Polygraph's estimators on the very answers that benchmarks/gate_real.py has kept, beside the combined score.

    pip install --no-deps --target /tmp/envs/lmpoly lm-polygraph==0.7.0      # an environment of its own
    PYTHONPATH=.:src:/tmp/envs/lmpoly python benchmarks/gate_peers.py --answers DIR

Its classes are called on frozen statistics: the tokens' log-probabilities and entropies, the samples with their
log-probabilities, and hidden states. Where an estimator asks a second model whether two answers mean the same, equal
words stand in for it (on short answers of closed form the same thing); estimators that cannot do without another model
or another pass are left out. Writes benchmarks/results/gate_peers.json.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
from gate_real import RESULTS, compare, of, split
from gate_store import load

from nexus.living.risk_coverage import augrc
from nexus.living.trace import Said

PLAIN = {  # class: its module and arguments
    "MaximumSequenceProbability": ("max_probability", {}),
    "Perplexity": ("perplexity", {}),
    "MeanTokenEntropy": ("token_entropy", {}),
    "MahalanobisDistanceSeq": ("mahalanobis_distance", {}),
    "RelativeMahalanobisDistanceSeq": ("relative_mahalanobis_distance", {}),
    "RDESeq": ("rde", {}),
}
SAMPLED = {  # the same for those that read several samples of each answer: left out where there are none
    "MonteCarloSequenceEntropy": ("monte_carlo_sequence_entropy", {}),
    "MonteCarloNormalizedSequenceEntropy": ("monte_carlo_normalized_sequence_entropy", {}),
    "LexicalSimilarity": ("lexical_similarity", {"metric": "rougeL"}),
    "NumSemSets": ("num_sem_sets", {}),
    "SemanticEntropy": ("semantic_entropy", {}),
    "DegMat": ("deg_mat", {"similarity_score": "Jaccard_score"}),
    "EigValLaplacian": ("eig_val_laplacian", {"similarity_score": "Jaccard_score"}),
    "Eccentricity": ("eccentricity", {"similarity_score": "Jaccard_score"}),
    "CocoaMSP": ("cocoa", {}),
    "CocoaPPL": ("cocoa", {}),
    "CocoaMTE": ("cocoa", {}),
}


def bare_packages(*names: str) -> None:
    """Packages whose own ``__init__`` is not run: theirs import model loaders and data sets that nothing here needs."""
    for name in names:
        module = ModuleType(name)
        module.__path__ = list(importlib.util.find_spec(name).submodule_search_locations)
        sys.modules[name] = module


def main() -> None:
    """Measure, print, write."""
    bare_packages("lm_polygraph", "lm_polygraph.estimators", "lm_polygraph.utils")
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--answers", required=True, type=Path)
    questions, said = load(options.parse_args().answers)
    right = np.array([question.right(one.text) for question, one in zip(questions, said, strict=True)])
    fit, test = split(len(said))
    alone = [Said(**{**vars(one), "samples": (), "sample_logprobs": ()}) for one in said]
    scores = {"combined": of(alone, right, fit, test, 1)}
    known = [said[i] for i in fit if right[i]]
    stats = statistics([said[i] for i in test], known, [said[i] for i in fit])
    for name, (module, arguments) in {**PLAIN, **(SAMPLED if said[0].samples else {})}.items():
        estimator = getattr(importlib.import_module(f"lm_polygraph.estimators.{module}"), name)(**arguments)
        scores[name] = -np.asarray(estimator(stats), dtype=np.float64)
    peers = {name: augrc(score, right[test]) for name, score in scores.items() if name != "combined"}
    print("best of lm-polygraph:", min(peers, key=peers.__getitem__))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "gate_peers.json").write_text(json.dumps(compare(scores, right[test]), indent=1) + "\n")


def statistics(said: list[Said], known: list[Said], background: list[Said]) -> dict:
    """What the estimators read, in LM-Polygraph's names; ``known`` are answers that were right."""
    samples = [list(one.samples) for one in said]
    same = np.array([[[_key(a) == _key(b) for b in texts] for a in texts] for texts in samples])
    greedy = [np.array([_jaccard(one.text, sample) for sample in one.samples]) for one in said]
    states = {
        "embeddings_decoder": said,
        "train_embeddings_decoder": known,
        "background_train_embeddings_decoder": background,
    }
    return {
        "greedy_log_likelihoods": [one.logprobs.tolist() for one in said],
        "greedy_tokens": [list(range(one.tokens)) for one in said],
        "greedy_texts": [one.text for one in said],
        "entropy": [one.entropies.tolist() for one in said],
        "sample_texts": samples,
        "blackbox_sample_texts": samples,
        "sample_log_probs": [list(one.sample_logprobs) for one in said],
        "sample_tokens": [[text.split() or [""] for text in texts] for texts in samples],
        "semantic_matrix_entail": same.astype(float),
        "semantic_matrix_contra": 1.0 - same,
        "semantic_matrix_classes": np.where(same, 2, 0),
        "entailment_id": 2,
        "semantic_classes_entail": _classes(same),
        "greedy_sentence_similarity": greedy,
        **{name: np.stack([one.answer for one in rows]).astype(np.float32) for name, rows in states.items()},
    }


def _classes(same: np.ndarray) -> dict:
    """Samples in groups of equal words, both ways round."""
    to_class, to_sample = {}, {}
    for row, matrix in enumerate(same):
        first = [int(np.argmax(line)) for line in matrix]
        numbers = {place: number for number, place in enumerate(dict.fromkeys(first))}
        to_class[row] = {i: numbers[place] for i, place in enumerate(first)}
        to_sample[row] = [[i for i, place in enumerate(first) if place == start] for start in numbers]
    return {"sample_to_class": to_class, "class_to_sample": to_sample}


def _key(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def _jaccard(one: str, other: str) -> float:
    a, b = set(_key(one).split()), set(_key(other).split())
    return len(a & b) / len(a | b) if a | b else 1.0


if __name__ == "__main__":
    main()
