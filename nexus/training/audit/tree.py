"""The decision tree of the guide as data: which question comes first, and which rules answer it.

The one idea: several rules may fire on one fault (a broken graph also looks like a rate that is too low), and the
order of the tree says which is the cause and which the consequence. `drawing()` is what the docs show.
"""

from __future__ import annotations

from dataclasses import dataclass

from nexus.training.audit import rules_curve as curve
from nexus.training.audit import rules_loop as loop
from nexus.training.audit import rules_numbers as numbers
from nexus.training.audit.rules_numbers import Rule


@dataclass(frozen=True)
class Branch:
    """One question, and the rules that look into it, in order."""

    question: str
    rules: tuple[Rule, ...]


TREE = (
    Branch("Did the program stop with an error?", (numbers.known_error,)),
    Branch("Is a loss or gradient not finite?", (numbers.bad_batch, numbers.blew_up, numbers.nan_death)),
    Branch(
        "Do all weights get a gradient, and move?",
        (
            numbers.broken_graph,
            numbers.not_in_optimizer,
            numbers.shrinking,
            curve.dead_units,  # what hangs on them gets no gradient either
            numbers.detached,
            numbers.frozen_by_flag,
            numbers.rate_is_zero,
        ),
    ),
    Branch("Is the loop right?", (loop.stale, loop.evaluation_mode, loop.same_batch)),
    Branch("Is the loss the right one?", (loop.probabilities, loop.unshifted, loop.future, loop.bad_start)),
    Branch(
        "Is the network in good health?",
        (curve.saturated_units, numbers.vanishing),
    ),
    Branch(
        "Does the loss fall as it should?",
        (
            curve.rate_too_high,
            numbers.exploding,  # what a rate that is too high leads to as well
            numbers.frozen_weights,
            curve.rate_too_low,
            loop.labels_tell_nothing,
            curve.overfitting,
            curve.spikes,
        ),
    ),
    Branch("Is it slow, or does memory grow?", (curve.data_stall, curve.memory_growth, loop.waits)),
)


def drawing() -> str:
    """The tree as a Mermaid flow chart."""
    lines = ["flowchart TD"]
    for index, branch in enumerate(TREE):
        lines.append(f'    q{index}{{"{branch.question}"}}')
        for rule in branch.rules:
            lines.append(f'    q{index} -- yes --> {rule.__name__}["{_summary(rule)}"]')
        if index + 1 < len(TREE):
            lines.append(f"    q{index} -- no --> q{index + 1}")
    lines.append(f'    q{len(TREE) - 1} -- no --> healthy["nothing is wrong"]')
    return "\n".join(lines)


def _summary(rule: Rule) -> str:
    return (rule.__doc__ or "").strip().split("\n")[0].rstrip(".").replace('"', "'")
