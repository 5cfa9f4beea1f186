"""Rules about numbers and weights: not finite, no gradient, no movement, too much of it.

A rule reads a :class:`nexus.training.audit.record.Record` and returns a finding, or None where nothing is wrong or
nothing is known.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from nexus.training.audit.classes import EXPLODING, FROZEN, UNSTABLE, classify_convergence, mean, median
from nexus.training.audit.findings import Finding
from nexus.training.audit.record import Record

Rule = Callable[[Record], Finding | None]


def steady(record: Record) -> list[dict[str, Any]]:
    """Readings with an update, without the very first one (moments of an optimiser start from nothing)."""
    found = [reading for reading in record.readings if "gradient" in reading]
    return found[1:] if len(found) > 2 else found


def _names(names: list[str], count: int) -> str:
    return ", ".join(names[:4]) + (f" and {count - 4} more" if count > 4 else "")


# ---- not finite ------------------------------------------------------------------------------------------------------


def bad_batch(record: Record) -> Finding | None:
    """The data holds NaN or infinity."""
    origin = record.facts.get("origin", {})
    if origin.get("place") == "input":
        evidence = f"replay of the failing step: {origin['tensor']} holds {origin['value']}"
    else:
        bad = [r["step"] for r in record.readings if not r.get("finite_input", True)]
        if not bad:
            return None
        evidence = f"the model's input was not finite at step {bad[0]}"
    causes = ("a division or logarithm when the data was prepared", "a missing value read as NaN", "a corrupt file")
    return Finding(
        "bad batch", evidence, causes, "check batches with torch.isfinite before the model; mend or drop these rows"
    )


def nan_death(record: Record) -> Finding | None:
    """The loss or a gradient stopped being finite."""
    losses = record.losses
    bad = next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), None)
    norms = record.series("grad_norm")
    bad_norm = next((i for i, norm in enumerate(norms) if not math.isfinite(norm)), None)
    origin = record.facts.get("origin", {})
    if bad is None and bad_norm is None and not origin:
        return None
    if bad is not None:
        evidence = f"loss {losses[bad]} at step {record.steps[bad].get('step', bad + 1):.0f} of {len(losses)}"
    else:
        evidence = "a gradient norm that is not finite"
    place = origin.get("place", "")
    if place in ("forward", "backward", "weight"):
        what = (
            f"{origin['operation'] or place} in module {origin['module']!r}"
            if origin["module"]
            else origin["operation"]
        )
        evidence += (
            f"; replayed: {what} ({place}) made {origin['value']} in {origin['tensor']} {origin['because']}".rstrip()
        )
    causes = _causes_of_nan(origin)
    change = {"max_grad_norm": 0.5, "dtype": "bfloat16"} if not origin else {}
    cure = (
        "mend the named operation (an epsilon inside, a clamp)"
        if origin
        else "replay the step: Auditor.replay names the operation"
    )
    return Finding(
        "nan death",
        evidence,
        causes,
        cure,
        change,
        origin.get("code") or origin.get("module", ""),
        0.95 if origin else 0.8,
    )


def _causes_of_nan(origin: dict[str, Any]) -> tuple[str, ...]:
    operation = origin.get("operation", "")
    if "log" in operation and "softmax" not in operation:
        return ("log(0): no epsilon or clamp before the logarithm", "probabilities that underflowed")
    if "sqrt" in operation or "norm" in operation:
        return (
            "sqrt of 0 has an infinite gradient, of a negative number none: no epsilon inside",
            "a norm without epsilon",
        )
    if "div" in operation or "reciprocal" in operation:
        return ("division by zero: no epsilon in the denominator", "an empty mask or batch")
    if "exp" in operation:
        return ("exp of a large number overflows: subtract the maximum first", "a learning rate that is too high")
    return (
        "numbers that grew until they overflowed: learning rate or no clipping",
        "log(0), 0/0 or sqrt of a negative number",
    )


def blew_up(record: Record) -> Finding | None:
    """The loss grew out of all proportion before it was lost: the rate is too high, NaN is only the end of it."""
    losses = record.losses
    finite = []
    for loss in losses:
        if not math.isfinite(loss):
            break
        finite.append(loss)
    died = len(finite) < len(losses)
    if not died or not finite or record.facts.get("origin", {}).get("place") == "input":
        return None
    start, ratios = finite[0], [r["ratio"] for r in record.readings if math.isfinite(r.get("ratio", math.nan))]
    grew = max(finite) > 2 * abs(start) + 1
    leapt = len(finite) < 8 and max(ratios, default=0.0) > 1  # updates larger than the weights, and soon the end
    moved = max(ratios, default=0.0)
    if not (grew or leapt or median(ratios[1:]) > UNSTABLE):
        return None
    evidence = (
        f"loss {start:.3g} rose to {max(finite):.3g} before it stopped being finite; update/weight up to {moved:.2g}"
    )
    causes = ("learning rate too high", "no gradient clipping", "no warm-up")
    change = {**_lower_rate(record), "max_grad_norm": 0.5}
    return Finding("rate too high", evidence, causes, "a learning rate ten times lower, and clipping", change, "", 0.9)


def _lower_rate(record: Record, factor: float = 0.1) -> dict[str, Any]:
    rates = record.series("rate")
    return {"learning_rate": float(f"{max(rates) * factor:.2g}")} if rates and max(rates) > 0 else {}


def known_error(record: Record) -> Finding | None:
    """The log shows an error that is known."""
    if not record.errors:
        return None
    kind, line = record.errors[-1]
    known = {
        "out of memory": (
            ("batch or sequence too large", "activations of all layers kept"),
            "halve batch_size and double gradient_accumulation_steps; then recompute activations",
            {"gradient_accumulation_steps": 2, "gradient_checkpointing": True},
        ),
        "shape mismatch": (
            ("a reshape that mixes axes", "a configuration that differs from the weights"),
            "put check_shapes on the forward of the module in the traceback, and einops in place of view",
            {},
        ),
        "device mismatch": (("a tensor made inside forward without device=",), "make it with device=x.device", {}),
        "diverged": (("learning rate too high", "an operation without epsilon"), "see the line: it names where", {}),
    }
    causes, cure, change = known[kind]
    return Finding(kind, f"the log says: {line}", causes, cure, change, "", 0.9)


# ---- the graph and the optimiser -------------------------------------------------------------------------------------


def broken_graph(record: Record) -> Finding | None:
    """No parameter gets a gradient."""
    seen = [r for r in record.readings if "gradient" in r]
    zero = [r for r in seen if r["gradient"] == 0]
    norms = record.series("grad_norm")
    if (seen and len(zero) == len(seen)) or (not seen and len(norms) > 2 and not any(norms)):
        evidence = f"gradient norm exactly 0 in {len(zero) or len(norms)} of {len(seen) or len(norms)} readings"
        causes = (
            "detach() or no_grad() between parameters and loss",
            "requires_grad=False everywhere",
            "a loss multiplied by 0",
        )
        return Finding(
            "broken graph", evidence, causes, "follow the loss back to the first tensor without grad_fn", {}, "", 0.99
        )
    return None


def detached(record: Record) -> Finding | None:
    """Some parameters never get a gradient, others do."""
    seen = [r for r in record.readings if "gradient" in r]
    if not seen:
        return None
    always = set.intersection(*(set(r["silent"]) for r in seen))
    if not always or any(r["gradient"] == 0 for r in seen):
        return None
    names, count = sorted(always), min(r["silent_count"] for r in seen)
    evidence = (
        f"{count} of {seen[0]['learnt_count']} parameters had no gradient in all {len(seen)} "
        f"readings: {_names(names, count)}"
    )
    causes = (
        "detach(), .data or no_grad() behind these modules",
        "a module that forward doesn't use",
        "an index or argmax on the way",
    )
    return Finding(
        "detached parameters", evidence, causes, "look at what these modules' outputs go through", {}, names[0], 0.95
    )


def not_in_optimizer(record: Record) -> Finding | None:
    """Parameters with gradients that the optimiser doesn't hold."""
    seen = [r for r in record.readings if r.get("unheld_count")]
    if not seen:
        return None
    last = seen[-1]
    evidence = (
        f"{last['unheld_count']} parameters have gradients but are in no group of the optimiser: "
        f"{_names(last['unheld'], last['unheld_count'])}"
    )
    causes = (
        "the optimiser was made before the module was added or replaced",
        "a list of parameters that leaves some out",
    )
    return Finding(
        "not in the optimiser",
        evidence,
        causes,
        "make the optimiser from model.parameters() after the model is whole",
        {},
        last["unheld"][0],
        0.97,
    )


def frozen_by_flag(record: Record) -> Finding | None:
    """Nearly everything is frozen, and what is left hardly matters."""
    seen = [r for r in record.readings if "gradient" in r]
    if not seen or not seen[-1]["frozen_count"] or seen[-1]["learnt_count"] > 2:
        return None
    last = seen[-1]
    evidence = f"{last['frozen_count']} parameters have requires_grad=False, only {last['learnt_count']} learn"
    return Finding(
        "frozen by flag",
        evidence,
        ("requires_grad_(False) on more than was meant",),
        "set requires_grad on what shall learn",
        {},
        "",
        0.7,
    )


def rate_is_zero(record: Record) -> Finding | None:
    """The schedule has run out, or never began."""
    rates = record.series("rate")
    late = rates[len(rates) // 10 :]
    if len(rates) < 10 or not late:
        return None
    zero = sum(rate == 0 for rate in late)
    if zero < max(3, 0.2 * len(late)):
        return None
    first = next(i for i, rate in enumerate(rates) if rate == 0 and i >= len(rates) // 10)
    evidence = f"learning rate 0 in {zero} of {len(late)} steps, from step {first + 1}"
    causes = (
        "the schedule is stepped for each batch instead of each update",
        "its number of steps is too small",
        "a factor of 0",
    )
    return Finding("rate is zero", evidence, causes, "give the schedule the number of optimiser steps", {}, "", 0.97)


def frozen_weights(record: Record) -> Finding | None:
    """Updates are below 1e-5 of the weights."""
    ratios = [r["ratio"] for r in steady(record) if "ratio" in r and r["gradient"] > 0]
    if len(ratios) < 2 or median(ratios) >= FROZEN or not any(record.series("rate")):
        return None
    evidence = f"update/weight {median(ratios):.1e} (median of {len(ratios)} readings; frozen below {FROZEN:.0e})"
    causes = (
        "learning rate too low",
        "clipping far below the usual norm of the gradient",
        "weights that are far too large",
    )
    return Finding(
        "rate too low",
        evidence,
        causes,
        "raise the learning rate until update/weight is near 1e-3",
        _raised_rate(record, median(ratios)),
        "",
        0.9,
    )


def _raised_rate(record: Record, ratio: float) -> dict[str, Any]:
    rates = record.series("rate")
    if not rates or ratio <= 0:
        return {}
    return {"learning_rate": float(f"{min(max(rates) * 1e-3 / ratio, 1e-2):.1g}")}


def exploding(record: Record) -> Finding | None:
    """Gradient norms stay above 10 though nothing else explains it."""
    norms = [n for n in record.series("grad_norm") if math.isfinite(n)]
    if not norms:
        norms = [r["gradient"] for r in steady(record)]
    late = norms[len(norms) // 4 :]
    if len(late) < 3 or median(late) <= EXPLODING:
        return None
    evidence = f"gradient norm {median(late):.3g} (median after the first quarter; exploding above {EXPLODING:g})"
    causes = (
        "a scale on loss or activations that is never taken back",
        "a sum where a mean was meant",
        "weights that start too large",
        "no normalisation in a deep or recurrent network",
    )
    return Finding(
        "exploding gradients",
        evidence,
        causes,
        "clip, and find the layer whose gradient is largest",
        {"max_grad_norm": 1.0},
        _largest_group(record),
        0.85,
    )


def _largest_group(record: Record) -> str:
    groups = steady(record)[-1]["groups"] if steady(record) else {}
    return max(groups, key=lambda name: groups[name]["gradient"], default="")


def vanishing(record: Record) -> Finding | None:
    """Early blocks get almost nothing of the gradient that late blocks get."""
    shares = []
    for reading in steady(record):
        blocks = [v["gradient"] for k, v in reading["groups"].items() if k.rsplit(".", 1)[-1].isdigit()]
        if len(blocks) >= 3 and blocks[-1] > 0:
            shares.append(blocks[0] / blocks[-1])
    if len(shares) < 2 or (median(shares) > 1e-2 and sum(share < 1e-4 for share in shares) < 2):
        return None
    spread = f"{min(shares):.1e} to {max(shares):.1e}"
    evidence = f"the first block's gradient is {spread} of the last block's ({len(shares)} readings)"
    causes = ("no residual connections", "saturating activations in a deep stack", "weights that start too small")
    return Finding(
        "vanishing gradients",
        evidence,
        causes,
        "residual connections with normalisation before each block",
        {},
        "",
        0.9,
    )


def shrinking(record: Record) -> Finding | None:
    """Weights are pulled to zero faster than the gradient builds them."""
    sizes = [r["weight"] for r in record.readings if "weight" in r]
    if len(sizes) < 4 or sizes[0] == 0 or not sizes[-1] <= 0.35 * sizes[0]:
        return None
    losses = record.losses
    if classify_convergence(losses) == "healthy" and mean(losses[-5:]) < 0.6 * losses[0]:
        return None
    evidence = f"norm of all weights fell from {sizes[0]:.3g} to {sizes[-1]:.3g}"
    causes = (
        "weight_decay too high",
        "weight decay that isn't decoupled from the rate",
        "a penalty with the wrong sign or scale",
    )
    return Finding(
        "weight decay too high", evidence, causes, "weight_decay of 0.01 to 0.1", {"weight_decay": 0.01}, "", 0.9
    )
