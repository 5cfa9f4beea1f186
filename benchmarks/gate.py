"""The gate's two promises, simulated where the truth is known: the risk that is kept, and the drift that is caught.

    python benchmarks/gate.py                 1,000 calibrations and 300 streams of each kind (about a minute)
    python benchmarks/gate.py --scale 0.1     a tenth of it

A score is uniform and P(right | score) = score ** 0.3, so that 76.9 % are right without a gate. The naive threshold is
the loosest one whose observed risk is at most alpha. Writes benchmarks/results/gate.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from nexus.living.drift import DriftAlarm
from nexus.living.risk_control import certify, naive_threshold

RESULTS = Path(__file__).resolve().parent / "results" / "gate.json"
ALPHA = DELTA = 0.05
GROWTH = 0.3


def main() -> None:
    """Measure, print, write."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--scale", type=float, default=1.0, help="share of the repetitions")
    scale = options.parse_args().scale
    rows = [calibrations(n, int(1000 * scale)) for n in (500, 2000, 5000)]
    streams = [(0.05, 0.05, 0, 2000), (0.10, 0.10, 0, 1500), (0.03, 0.10, 1000, 1500), (0.20, 0.20, 0, 500)]
    rows += [drift(*kind, int(300 * scale)) for kind in streams]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def true_risk(threshold: float) -> float:
    """P(wrong | score >= threshold), in closed form."""
    return 1 - (1 - threshold ** (GROWTH + 1)) / ((GROWTH + 1) * (1 - threshold))


def calibrations(n: int, runs: int) -> dict[str, float]:
    """How often each way of choosing a threshold breaks the risk, and what it answers."""
    broken, naive, covered, kept = 0, 0, 0.0, 0
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        score = rng.random(n)
        right = rng.random(n) < score**GROWTH
        found, tuned = certify(score, right, ALPHA, DELTA, seed).threshold, naive_threshold(score, right, ALPHA)
        naive += tuned is not None and true_risk(tuned) > ALPHA
        if found is not None:
            broken, covered, kept = broken + (true_risk(found) > ALPHA), covered + 1 - found, kept + 1
    row = {"questions": n, "runs": runs, "broken": broken / runs, "broken_naive": naive / runs}
    row |= {"certified": kept / runs, "coverage": covered / runs}
    print(row, flush=True)
    return row


def drift(before: float, after: float, good: int, horizon: int, runs: int) -> dict[str, float | None]:
    """Share of streams with an alarm, and the median of labels after the change until it."""
    delays = [_delay(before, after, good, horizon, seed) for seed in range(runs)]
    row = {"risk_before": before, "risk_after": after, "labels_before": good, "runs": runs}
    row |= {"alarms": float(np.mean(np.isfinite(delays))), "median_labels": _finite(float(np.median(delays)))}
    print(row, flush=True)
    return row


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None  # JSON has no infinity


def _delay(before: float, after: float, good: int, horizon: int, seed: int) -> float:
    rng, alarm = np.random.default_rng(seed), DriftAlarm(ALPHA, DELTA)
    for label in range(good + horizon):
        if alarm.feed(bool(rng.random() >= (before if label < good else after))).alarm:
            return label + 1 - good
    return float("inf")


if __name__ == "__main__":
    main()
