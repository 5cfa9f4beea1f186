"""Rules about the loop and the loss: what a correct program never does."""

from __future__ import annotations

import math
from collections import Counter

from nexus.training.audit.classes import FLAT, PLATEAU, mean, median
from nexus.training.audit.findings import Finding
from nexus.training.audit.probes import LEAK
from nexus.training.audit.record import Record
from nexus.training.audit.rules_numbers import steady


def stale(record: Record) -> Finding | None:
    """Gradients of the step before are still there."""
    later = record.readings[1:]
    hit = [r["step"] for r in later if r.get("stale")]
    if len(hit) < 2 or len(hit) < 0.8 * len(later):
        return None
    evidence = f"gradients of an earlier step were there at the beginning of steps {hit[:6]}"
    causes = ("optimizer.zero_grad() is missing", "it stands between backward() and step()")
    return Finding(
        "gradients never zeroed", evidence, causes, "call optimizer.zero_grad() after optimizer.step()", {}, "", 0.98
    )


def evaluation_mode(record: Record) -> Finding | None:
    """The model trains with model.eval()."""
    seen = [r for r in record.readings if "evaluation_mode" in r]
    hit = [r["step"] for r in seen if r["evaluation_mode"]]
    if not hit or len(hit) < 0.5 * len(seen):
        return None
    evidence = (
        f"the model, or part of it, was in evaluation mode in {len(hit)} of {len(seen)} readings (step {hit[0]} on)"
    )
    causes = (
        "model.eval() for an evaluation and no model.train() after it",
        "a pretrained model is loaded in evaluation mode",
    )
    return Finding("evaluation mode", evidence, causes, "call model.train() before each training step", {}, "", 0.95)


def same_batch(record: Record) -> Finding | None:
    """Every look saw the same batch."""
    seen = [r["batch"] for r in record.readings if r.get("batch")]
    if len(seen) < 4:
        return None
    _most, count = Counter(seen).most_common(1)[0]
    if count < 0.8 * len(seen):
        return None
    evidence = f"{count} of {len(seen)} readings saw one and the same batch"
    causes = (
        "next(iter(loader)) inside the loop",
        "a dataset that ignores its index",
        "one batch is all the data there is",
    )
    return Finding("same batch", evidence, causes, "go through the loader itself; shuffle", {}, "", 0.9)


def probabilities(record: Record) -> Finding | None:
    """The loss is given probabilities where it wants logits."""
    seen = [r for r in record.readings if "probabilities" in r]
    if not seen or not all(r["probabilities"] for r in seen):
        return None
    evidence = f"the model's outputs are not negative and sum to 1 in all {len(seen)} readings"
    causes = ("softmax inside the model, and again inside cross_entropy",)
    return Finding(
        "softmax twice", evidence, causes, "return logits; cross_entropy takes the softmax itself", {}, "", 0.97
    )


def unshifted(record: Record) -> Finding | None:
    """The loss asks for the token that the model is reading."""
    seen = [r for r in record.readings if "unshifted" in r]
    hit = [r["step"] for r in seen if r["unshifted"]]
    if len(hit) < 2 or len(hit) < 0.5 * len(seen):
        return None
    evidence = f"the loss equals the cross-entropy of the input token itself, not of the next one, at steps {hit[:6]}"
    causes = (
        "logits and labels are not shifted against each other",
        "a model that shifts by itself was replaced by one that doesn't",
    )
    return Finding("labels not shifted", evidence, causes, "compare logits[:, :-1] with ids[:, 1:]", {}, "", 0.95)


def future(record: Record) -> Finding | None:
    """Logits change when later tokens do."""
    change = record.facts.get("sees_future")
    if change is None or change <= LEAK:
        return None
    evidence = f"changing the second half of a text changed logits of its first half by {change:.2g} of the largest"
    causes = (
        "no causal mask, or its diagonal is off by one",
        "a convolution padded on both sides",
        "normalisation over time",
        "a shift in the wrong direction",
    )
    return Finding(
        "future leaks",
        evidence,
        causes,
        "mask attention with is_causal=True; pad convolutions on the left",
        {},
        "",
        0.98,
    )


def bad_start(record: Record) -> Finding | None:
    """The first loss is far above that of a uniform guess."""
    first, uniform = record.facts.get("initial_loss"), record.facts.get("uniform_loss")
    if first is None or not uniform or not math.isfinite(first) or first < uniform + max(1.0, 0.3 * uniform):
        return None
    evidence = (
        f"loss {first:.3g} at the first step; a uniform guess over {record.facts['classes']} classes "
        f"has ln V = {uniform:.3g}"
    )
    causes = (
        "weights of the head (or tied embeddings) start too large",
        "labels that don't belong to these inputs",
        "a loss that is summed, not averaged",
        "ids of another tokenizer",
    )
    return Finding(
        "bad start",
        evidence,
        causes,
        "start the head with a standard deviation of 0.02; check labels and reduction",
        {},
        "",
        0.9,
    )


def labels_tell_nothing(record: Record) -> Finding | None:
    """The weights move well and the loss stays at a guess."""
    losses = record.losses
    ratios = [r["ratio"] for r in steady(record) if "ratio" in r]
    if len(losses) < 40 or len(ratios) < 2 or median(ratios) < 1e-4:
        return None
    guess = record.facts.get("uniform_loss") or losses[0]
    late = losses[len(losses) // 2 :]
    level, spread = mean(late), _spread(late)
    if not (0.93 * guess < level < 1.12 * guess) or spread > 0.06 * guess:
        return None
    if mean(late[: len(late) // 2]) - mean(late[len(late) // 2 :]) > FLAT * guess:
        return None
    if level < guess - 3 * spread / math.sqrt(len(late)) and len(losses) < PLATEAU:
        return None  # it knows how often each label comes; many healthy models rest there before they learn more
    evidence = (
        f"loss stays at {level:.3g} (a guess: {guess:.3g}) in the last half of {len(losses)} steps "
        f"while update/weight is {median(ratios):.1e}"
    )
    causes = (
        "labels that have nothing to do with the inputs (shuffled apart, of another file)",
        "inputs that are all alike",
        "a task that can't be learnt",
    )
    cure = "look at ten (input, label) pairs by eye; then can_overfit_one_batch"
    return Finding("labels tell nothing", evidence, causes, cure, {}, "", 0.85)


def _spread(values: list[float]) -> float:
    average = mean(values)
    return math.sqrt(mean([(value - average) ** 2 for value in values]))


def waits(record: Record) -> Finding | None:
    """The loop asks the device for numbers in the middle of a step."""
    counts: Counter[str] = Counter()
    looks = [r for r in record.readings if "waits" in r]
    for reading in looks:
        counts.update({where: int(count) for where, count in reading["waits"].items()})
    if not counts or sum(counts.values()) < len(looks):
        return None
    where, count = counts.most_common(1)[0]
    evidence = (
        f"{sum(counts.values())} reads of a tensor's value within {len(looks)} watched steps, most ({count}) at {where}"
    )
    causes = (".item(), float(), print() or an if on a tensor inside the step", "a tensor moved to the CPU in the loss")
    return Finding(
        "device waits",
        evidence,
        causes,
        "keep tensors as tensors until the step is over; log every n-th step",
        {},
        where,
        0.9,
    )
