"""The gate on real questions: which score tells right from wrong, and whether a certificate on real scores holds.

    python benchmarks/gate_real.py --release DIR --answers DIR --ask      ask the release; the same again goes on
    python benchmarks/gate_real.py --release DIR --answers DIR            the figures, from the kept answers
    python benchmarks/gate_real.py ... --bigbench bigbench-1.0.0.tar.gz   with SQuAD, its shifts and Disfl-QA

The score is fitted on 40 % of the questions; every figure is of the other 60 %. For the re-drawn calibrations these are
the whole world: a calibration is drawn from them with replacement, and the true risk of a threshold is its risk on all
of them. Writes benchmarks/results/gate_real.json and gate_real.png.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from gate_sets import mixed
from gate_store import ask, load, same_questions

from nexus.inference.release import load_release
from nexus.living.questions import Question
from nexus.living.risk_control import certify, naive_threshold
from nexus.living.risk_coverage import augrc, curve
from nexus.living.scores.combination import BASELINES, Score, signals_of
from nexus.living.speaking import Voice
from nexus.living.trace import Said

RESULTS = Path(__file__).resolve().parent / "results"
COUNTS = {"boolq": 200, "asdiv": 200, "openbookqa": 200, "open book": 480, "squad": 420, "unanswerable": 200}
FIT = 0.4
DRAWS, BOOTSTRAPS = 1_000, 4_000
DELTA = 0.05
ALPHAS = (0.05, 0.1, 0.2, 0.3)
SIZES = (1_000, 3_000)  # questions of a calibration


def main() -> None:
    """Ask, or measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--release", required=True)
    options.add_argument("--answers", required=True, type=Path, help="folder of the kept answers")
    options.add_argument("--ask", action="store_true")
    options.add_argument("--bigbench", type=Path)
    options.add_argument("--samples", type=int, default=3)
    options.add_argument("--tokens", type=int, default=16)
    options.add_argument("--start", type=int, default=0, help="begin with this question")
    options.add_argument("--share", type=float, default=1.0, help="of the questions")
    options.add_argument("--seconds", type=float, default=float("inf"), help="ask for so long; 75 if any are left")
    chosen = options.parse_args()
    if chosen.ask:
        counts = {name: int(count * chosen.share) for name, count in COUNTS.items()}
        asked = same_questions(chosen.answers, lambda: mixed(counts, chosen.bigbench, 0))
        voice = Voice(load_release(chosen.release), chosen.tokens, chosen.samples)
        sys.exit(75 * ask(voice, asked, chosen.answers, chosen.seconds, chosen.start))
    figures = measure(*load(chosen.answers), chosen.tokens)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "gate_real.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def measure(questions: list[Question], said: list[Said], tokens: int) -> dict:
    """All figures."""
    right = np.array([question.right(one.text) for question, one in zip(questions, said, strict=True)])
    kinds = np.array([question.kind for question in questions])
    figures: dict = {"kinds": base(kinds, right)}
    fit, test = split(len(said))
    alone = [replace(one, samples=(), sample_logprobs=()) for one in said]
    made = {"combined": of(alone, right, fit, test, tokens)}
    if said[0].samples:
        made["combined with samples"] = of(said, right, fit, test, tokens)
    names, signals = signals_of([said[i] for i in test])
    made |= {name: signals[:, column] for column, name in enumerate(names)}
    figures["augrc"] = compare(made, right[test])
    figures["calibrations"] = [calibrations(made, right[test], alpha, n) for alpha in ALPHAS for n in SIZES]
    figures["gated"] = [gated(made["combined"], right[test], kinds[test], alpha) for alpha in ALPHAS]
    draw(made, right[test])
    return figures


def base(kinds: np.ndarray, right: np.ndarray) -> dict:
    """Right answers without a gate, and what could be answered at most."""
    rows = {}
    for kind in ["all", *sorted(set(kinds))]:
        of_kind = right[kinds == kind] if kind != "all" else right
        share = float(of_kind.mean())
        rows[kind] = {"questions": len(of_kind), "right": share, "feasible at 0.05": min(1.0, share / 0.95)}
        print(kind, rows[kind], flush=True)
    return rows


def split(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows for fitting, rows for figures."""
    order = np.random.default_rng(1).permutation(n)
    return order[: int(FIT * n)], order[int(FIT * n) :]


def of(said: list[Said], right: np.ndarray, fit: np.ndarray, test: np.ndarray, tokens: int) -> np.ndarray:
    """The combined score of the test rows."""
    score = Score.fit([said[i] for i in fit], right[fit].tolist(), tokens)
    return score([said[i] for i in test])


def compare(scores: dict[str, np.ndarray], right: np.ndarray) -> dict:
    """AUGRC of each score; against the first, the difference with its 95 % interval and one-sided p by bootstrap."""
    rng, rows = np.random.default_rng(0), {}
    draws = [rng.integers(0, len(right), len(right)) for _ in range(BOOTSTRAPS)]
    first = next(iter(scores))
    mine = np.array([augrc(scores[first][d], right[d]) for d in draws])
    for name, score in scores.items():
        row = {"augrc": augrc(score, right)}
        if name != first:
            gain = np.array([augrc(score[d], right[d]) for d in draws]) - mine
            low, high = np.percentile(gain, (2.5, 97.5))
            row |= {"worse by": float(row["augrc"] - rows[first]["augrc"]), "interval": [float(low), float(high)]}
            row["p"] = float((1 + (gain <= 0).sum()) / (1 + len(gain)))
        rows[name] = row
        print(name, row, flush=True)
    print("by chance", float((~right).mean() / 2), flush=True)
    return {**rows, "by chance": {"augrc": float((~right).mean() / 2)}}


def calibrations(scores: dict[str, np.ndarray], right: np.ndarray, alpha: float, n: int) -> dict:
    """How often the risk is broken over re-drawn calibrations, with the certificate and with the naive threshold."""
    score, broken, naive, kept, coverage = scores["combined"], 0, 0, 0, 0.0
    for seed in range(DRAWS):
        rows = np.random.default_rng(seed).integers(0, len(score), n)
        found = certify(score[rows], right[rows], alpha, DELTA, seed).threshold
        tuned = naive_threshold(score[rows], right[rows], alpha)
        naive += tuned is not None and _risk(score, right, tuned) > alpha
        if found is not None:
            kept += 1
            broken += _risk(score, right, found) > alpha
            coverage += float((score >= found).mean())
    row = {"alpha": alpha, "questions": n, "draws": DRAWS, "broken": broken / DRAWS, "broken naive": naive / DRAWS}
    row |= {"certified": kept / DRAWS, "coverage": coverage / DRAWS}
    print(row, flush=True)
    return row


def gated(score: np.ndarray, right: np.ndarray, kinds: np.ndarray, alpha: float) -> dict:
    """One certificate from half of the rows, looked at on the other half."""
    order = np.random.default_rng(2).permutation(len(score))
    half, rest = order[: len(order) // 2], order[len(order) // 2 :]
    verdict = certify(score[half], right[half], alpha, DELTA)
    row: dict = {"alpha": alpha, "feasible": verdict.feasible, "threshold": verdict.threshold}
    if verdict.threshold is not None:
        answered = score[rest] >= verdict.threshold
        row |= {"coverage": float(answered.mean()), "coverage bound": verdict.coverage_bound}
        row["risk"] = float((~right[rest])[answered].mean()) if answered.any() else 0.0
        row["over-refusal"] = float((~answered)[right[rest]].mean())
        wrong = answered & ~right[rest]
        row["false answers"] = {k: float(wrong[kinds[rest] == k].mean()) for k in sorted(set(kinds))}
    print(row, flush=True)
    return row


def _risk(score: np.ndarray, right: np.ndarray, threshold: float) -> float:
    answered = score >= threshold
    return float((~right)[answered].mean()) if answered.any() else 0.0


def draw(scores: dict[str, np.ndarray], right: np.ndarray) -> None:
    """Risk-coverage curves of the combination and the baselines."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    shown: list[tuple[str, str]] = [(name, name) for name in scores if name.startswith("combined")]
    shown += [(s.__name__, s.__name__.replace("_", " ")) for s in BASELINES]
    for name, label in shown:
        points = curve(scores[name], right)
        axes.plot(points.coverage, points.risk, label=label, linewidth=2 if name == "combined" else 1.2)
    axes.set(xlabel="share of questions answered", ylabel="share of answers that are wrong", xlim=(0, 1))
    axes.set_ylim(0, 1)
    axes.legend(frameon=False, fontsize=9)
    RESULTS.mkdir(exist_ok=True)
    figure.savefig(RESULTS / "gate_real.png", dpi=130)


if __name__ == "__main__":
    main()
