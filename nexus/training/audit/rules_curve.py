"""Rules about units, curves, speed and memory."""

from __future__ import annotations

import itertools
import math
from typing import Any

from nexus.training.audit.classes import (
    DEAD,
    LEAKING,
    SATURATED,
    STALL,
    UNSTABLE,
    classify_convergence,
    line,
    mean,
    median,
)
from nexus.training.audit.findings import Finding
from nexus.training.audit.record import Record
from nexus.training.audit.rules_numbers import _lower_rate, _raised_rate, steady


def _worst(record: Record, kind: str) -> tuple[str, float, int]:
    """The place with the largest median share over the later half of the readings."""
    shares: dict[str, list[float]] = {}
    readings = record.readings[len(record.readings) // 2 :]
    for reading in readings:
        for site, share in reading.get(kind, {}).items():
            shares.setdefault(site, []).append(share)
    worst = max(shares, key=lambda site: median(shares[site]), default="")
    return worst, median(shares[worst]) if worst else 0.0, len(readings)


def dead_units(record: Record) -> Finding | None:
    """Units that are zero for every input."""
    site, share, looks = _worst(record, "dead")
    if share < DEAD or _leapt(record):  # a leap kills units: then the rate is the cause
        return None
    evidence = (
        f"{share:.0%} of the units of {site} gave nothing for any token of the batch (median of {looks} readings)"
    )
    causes = (
        "a bias that was pushed far below zero by one large step",
        "inputs that are not centred",
        "learning rate too high at the start",
    )
    return Finding(
        "dead units",
        evidence,
        causes,
        "a lower rate with warm-up, a smaller bias, or SiLU in place of ReLU",
        {"warmup_steps": 100},
        site.split(":")[0],
        0.9,
    )


def _leapt(record: Record) -> bool:
    """Whether the loss shot up while updates were a tenth of the weights and more."""
    losses = [loss for loss in record.losses if math.isfinite(loss)]
    if len(losses) < 2 or max(losses[1:]) <= 1.5 * losses[0] + 0.5:
        return False
    return any(reading.get("ratio", 0.0) > UNSTABLE for reading in steady(record))


def saturated_units(record: Record) -> Finding | None:
    """Units at the ends of a bounded activation."""
    site, share, looks = _worst(record, "saturated")
    if share < SATURATED:
        return None
    evidence = f"{share:.0%} of the outputs of {site} are at the ends of its range (median of {looks} readings)"
    causes = ("weights before it start too large", "no normalisation before it")
    return Finding(
        "saturated units",
        evidence,
        causes,
        "scale the weights before it by 1/sqrt(width), or normalise",
        {},
        site.split(":")[0],
        0.9,
    )


def rate_too_high(record: Record) -> Finding | None:
    """Weights change by more than a tenth at a step, or the loss jumps about and stays up."""
    losses = [loss for loss in record.losses if math.isfinite(loss)]
    if len(losses) < 12:
        return None
    ratios = [r["ratio"] for r in steady(record) if "ratio" in r]
    shape, late = classify_convergence(losses), losses[len(losses) // 2 :]
    guess = record.facts.get("uniform_loss") or losses[0]
    wild = _jumps(late) > 0.08 * abs(mean(late)) and mean(late) > 0.5 * losses[0]
    worse = mean(late) > 1.15 * max(guess, min(losses[0], 2 * guess)) or shape == "diverging"
    unstable = len(ratios) >= 2 and median(ratios) > UNSTABLE
    jumped = max(losses[1:]) > 1.5 * losses[0] + 0.5
    stuck = shape == "hockey stick" and bool(ratios) and max(ratios) > UNSTABLE
    reasons = [
        (unstable, f"update/weight {median(ratios) if ratios else 0:.2g} (unstable above {UNSTABLE:g})"),
        (worse, f"the loss ends at {mean(late):.3g}, above a guess"),
        (jumped, f"the loss went up to {max(losses[1:]):.3g} from {losses[0]:.3g}"),
        (wild, f"it jumps by {_jumps(late):.2g} from step to step"),
        (stuck, "it fell at once and then stayed (hockey stick)"),
        (shape == "hockey stick" and not ratios and not jumped, "it fell at once and then stayed (hockey stick)"),
    ]
    seen = [text for hit, text in reasons if hit]
    leapt = jumped and (wild or any(ratio > UNSTABLE for ratio in ratios))
    if not (unstable or worse or leapt or stuck or reasons[-1][0]):
        return None
    causes = ("learning rate too high", "no warm-up", "batch too small for this rate")
    sure = 0.9 if unstable or worse else 0.6
    return Finding(
        "rate too high",
        "; ".join(seen),
        causes,
        "a learning rate three to ten times lower, with warm-up",
        {**_lower_rate(record, 0.2), "warmup_steps": 100},
        "",
        sure,
    )


def _jumps(values: list[float]) -> float:
    """Median change between neighbours."""
    return median([abs(b - a) for a, b in itertools.pairwise(values)])


def rate_too_low(record: Record) -> Finding | None:
    """A straight, shallow line: every step helps, and none enough."""
    losses = record.losses
    ratios = [r["ratio"] for r in steady(record) if "ratio" in r]
    shape = classify_convergence(losses)
    slow = bool(ratios) and median(ratios) < 2e-4
    if shape not in ("slow burn", "flat") or (ratios and not slow):
        return None
    if shape == "flat" and not slow:
        return None
    fall = (losses[0] - mean(losses[-3:])) / abs(losses[0])
    evidence = f"loss fell by {fall:.1%} in {len(losses)} steps ({shape})"
    if ratios:
        evidence += f"; update/weight {median(ratios):.1e}, the target is 1e-3"
    causes = ("learning rate too low", "a warm-up that lasts too long", "clipping far below the gradient's norm")
    change = _raised_rate(record, median(ratios)) if ratios else {}
    return Finding(
        "rate too low",
        evidence,
        causes,
        "raise it: learning_rate_range_test suggests one",
        change,
        "",
        0.85 if ratios else 0.6,
    )


def overfitting(record: Record) -> Finding | None:
    """Held-out loss rises while training loss falls."""
    held = [loss for _, loss in record.held_out]
    if len(held) < 4:
        return None
    best = min(range(len(held)), key=held.__getitem__)
    after = held[best + 1 :]
    fell = mean(record.losses[-5:]) < record.losses[0]
    if len(after) < 2 or not fell or mean(after[-2:]) < 1.08 * held[best] or after[-1] <= after[0] * 0.98:
        return None
    evidence = (
        f"held-out loss rose from {held[best]:.3g} (step {record.held_out[best][0]}) to "
        f"{held[-1]:.3g} while training loss fell to {mean(record.losses[-5:]):.3g}"
    )
    causes = ("too many passes over too little data", "a model that is too large for it", "no regularisation")
    return Finding(
        "overfitting",
        evidence,
        causes,
        "stop at the best evaluation; more data, dropout, weight decay",
        {"patience": 3, "weight_decay": 0.1},
        "",
        0.9,
    )


def spikes(record: Record) -> Finding | None:
    """Single steps whose loss is far above their neighbours'."""
    losses = [loss for loss in record.losses if math.isfinite(loss)]
    if len(losses) < SPIKE_WINDOW * 2:
        return None
    hit = []
    for i in range(SPIKE_WINDOW, len(losses)):
        near = [losses[j] for j in range(max(0, i - SPIKE_WINDOW), min(len(losses), i + SPIKE_WINDOW + 1)) if j != i]
        level = median(near)
        noise = max(median([abs(v - level) for v in near]), 0.02 * abs(level))
        if losses[i] > level + 8 * noise and losses[i] > 1.3 * level:
            hit.append(i)
    if len(hit) < 2 or len(hit) > len(losses) // 5:
        return None
    steps = [int(record.steps[i].get("step", i + 1)) for i in hit]
    evidence = f"{len(hit)} steps with a loss far above their neighbours': {steps[:6]}"
    causes = (
        "batches of another kind: corrupt, empty, another language, other labels",
        "too small a batch with rare long samples",
    )
    return Finding(
        "bad batches",
        evidence,
        causes,
        "look at the batches of these steps by eye; clip",
        {"max_grad_norm": 0.5},
        "",
        0.85,
    )


SPIKE_WINDOW = 8


def data_stall(record: Record) -> Finding | None:
    """Steps wait for their data."""
    rows = [s for s in record.steps[2:] if s.get("seconds") and "data_seconds" in s]
    if len(rows) < 5:
        return None
    waited, whole = sum(r["data_seconds"] for r in rows), sum(r["seconds"] for r in rows)
    if whole <= 0 or waited / whole < STALL:
        return None
    evidence = f"{waited / whole:.0%} of the time of {len(rows)} steps went into waiting for batches"
    causes = ("data is prepared in the training process", "too few workers", "a slow disk or network")
    return Finding(
        "data stall", evidence, causes, "prepare data once; DataLoader(num_workers=4, prefetch_factor=4)", {}, "", 0.95
    )


def memory_growth(record: Record) -> Finding | None:
    """Memory rises at every look, long after the first steps."""
    grown = _heap_growth(record) or _growth_in_ram(record)
    if not grown:
        return None
    causes = (
        "losses kept with their graphs: losses.append(loss)",
        "a cache or list that is never emptied",
        "hooks added at every step",
    )
    return Finding(
        "memory growth", grown, causes, "keep loss.detach() or float(loss); look for lists that grow", {}, "", 0.85
    )


def _heap_growth(record: Record) -> str:
    """Evidence that what is allocated rises; exact, so a slow pace is enough, and one step down hides nothing."""
    seen = _later(record, "allocated")
    paces = [(b - a) / max(1, later - step) for (step, a), (later, b) in itertools.pairwise(seen)]
    if len(paces) < 3 or median(paces) < LEAKING or sum(pace > 0 for pace in paces) < 0.8 * len(paces):
        return ""
    return f"allocated memory grows by {median(paces):.2g} MB a step (median from step {seen[0][0]} to {seen[-1][0]})"


def _growth_in_ram(record: Record) -> str:
    """Evidence that the part of the process in RAM rises; it comes in leaps, so only much growth counts."""
    seen = _later(record, "rss")
    if len(seen) < 4:
        return ""
    values = [size for _, size in seen]
    grown, steps = values[-1] - values[0], seen[-1][0] - seen[0][0]
    rises = sum(b > a for a, b in itertools.pairwise(values)) / (len(values) - 1)
    if grown < max(16.0, 0.02 * values[0]) or rises < 0.8 or line(values)[2] < 0.8:
        return ""
    return (
        f"memory grew from {values[0]:.0f} to {values[-1]:.0f} MB over {steps} steps, "
        f"{grown / max(1, steps):.2g} MB a step"
    )


def _later(record: Record, kind: str) -> list[tuple[int, float]]:
    """Step and megabytes of the looks after the first third."""
    seen = [(r["step"], r[kind]) for r in record.readings if r.get(kind)]
    return seen[len(seen) // 3 :]


def any_of(record: Record) -> dict[str, Any]:
    """The figures that the terminal and the page show of a record's last reading."""
    last = record.readings[-1] if record.readings else {}
    return {name: last.get(name) for name in ("step", "gradient", "ratio", "weight", "rss")}
