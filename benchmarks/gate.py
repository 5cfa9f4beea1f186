"""What the gate promises, simulated where the truth is known: the risk that is kept, and the drift that is caught.

    python benchmarks/gate.py                 1,000 calibrations and 300 streams of each kind (some minutes)
    python benchmarks/gate.py --scale 0.1     a tenth of it

A score is uniform and P(right | score) = score ** 0.3, so that 76.9 % are right without a gate. The naive threshold is
the loosest one whose observed risk is at most alpha. Without labels, scores move from uniform to a power of it. The
adaptive threshold is held against one that stays, where answers become worse. Writes benchmarks/results/gate.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from nexus.living.adaptive import Adaptive
from nexus.living.drift import DriftAlarm
from nexus.living.risk_control import certify, naive_threshold
from nexus.living.shift import ShiftAlarm

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
    rows += [shift(power, int(300 * scale)) for power in (1.0, 1.5, 3.0, 0.5)]
    rows += [adaptation(growth, step, int(100 * scale)) for growth in (GROWTH, 1.5) for step in (0.005, 0.02)]
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


def shift(power: float, runs: int) -> dict[str, float | None]:
    """Share of streams of 1,000 unlabelled scores with an alarm, and the median of questions until it."""
    delays = []
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        alarm = ShiftAlarm(rng.random(500), DELTA, seed=10**6 + seed)
        delays.append(next((n for n in range(1, 1001) if alarm.feed(rng.random() ** power)), np.inf))
    row = {"scores_to_the_power": power, "runs": runs}
    row |= {"alarms": float(np.mean(np.isfinite(delays))), "median_questions": _finite(float(np.median(delays)))}
    print(row, flush=True)
    return row


def adaptation(growth: float, step: float, runs: int) -> dict[str, float]:
    """Share of wrong ones among 2,000 answers, with the threshold that moves and with the one that stays."""
    start, moving, staying, bounds = 0.86, [], [], []  # 2.2 % are wrong from there on, with the growth as certified
    for seed in range(runs):
        rng, adaptive = np.random.default_rng(seed), Adaptive(start, ALPHA, step)
        wrong: list[bool] = []
        while len(wrong) < 2_000 and adaptive.threshold < 1:
            score = float(rng.random())
            if score >= adaptive.threshold:
                wrong.append(bool(rng.random() >= score**growth))
                adaptive.feed(not wrong[-1])
        fixed = start + (1 - start) * rng.random(2_000)
        moving.append(np.mean(wrong))
        bounds.append(adaptive.bound)
        staying.append(np.mean(rng.random(2_000) >= fixed**growth))
    row = {"growth": growth, "step": step, "runs": runs, "wrong_moving": float(np.mean(moving))}
    row |= {"wrong_staying": float(np.mean(staying)), "bound": float(np.mean(bounds))}
    row["bound_broken"] = float(np.mean(np.array(moving) > np.array(bounds) + 1e-9))
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
