"""The circuit a teacher rests on: which heads and MLP groups hurt most when switched off, and an honest test of it.

The one idea: a set of components may be called critical only if switching it off on text it was not chosen on hurts far
more than switching off as many others of the same kinds in the same layers. Shuffled scores must fail the same test.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from nexus.core.state_space import HybridLM
from nexus_final.profiling.components import Calibration, Columns, Part, Site, head_columns, switched_off
from nexus_final.profiling.probe import Measured, Probe

Tick = Callable[[float], None]  # told after each measurement which part of a full pass it cost
Units = Mapping[Site, Sequence[int]]  # heads and channels by layer and kind
REQUIRED_RATIO = 5.0
MAX_SHARE_OF_SITE = 0.125  # of one layer's heads or groups in the circuit, so that a random set seldom holds much of it


class Component(NamedTuple):
    """A head, or a group of MLP channels: group 0 holds the layer's strongest channels, group 1 the next, and so on."""

    layer: int
    part: Part
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody asks for


class Groups:
    """The components of a model: its heads, and its channels in groups of ``size`` by falling score."""

    def __init__(self, model: HybridLM, calibration: Calibration, size: int) -> None:
        self.model, self.calibration = model, calibration
        self.widths: dict[Part, int] = {"attention": calibration.heads.shape[1], "mlp": calibration.channels.shape[1]}
        self.size = min(size, max(1, self.widths["mlp"] // 8))  # enough groups for one to stand out
        self.order = calibration.channels.argsort(dim=1, descending=True, stable=True)
        self.scores: dict[Component, float] = {}
        for layer in range(model.config.n_layers):
            for index, score in enumerate(calibration.heads[layer].tolist()):
                self.scores[Component(layer, "attention", index)] = score
            ranked = calibration.channels[layer][self.order[layer]].split(self.size)
            for index, channels in enumerate(ranked):
                self.scores[Component(layer, "mlp", index)] = channels.pow(2).sum().sqrt().item()

    def units(self, component: Component) -> list[int]:
        """What a set is counted in: the head itself, or the group's channels."""
        if component.part == "attention":
            return [component.index]
        return self.order[component.layer].split(self.size)[component.index].tolist()

    def columns(self, units: Units) -> Columns:
        """Columns of the linear maps that the given heads and channels feed."""
        device = self.model.device
        return {
            site: head_columns(self.model, found) if site[1] == "attention" else torch.tensor(found, device=device)
            for site, found in units.items()
        }

    def collect(self, components: Sequence[Component]) -> dict[Site, list[int]]:
        """Heads and channels of several components, by site."""
        units: dict[Site, list[int]] = {}
        for component in components:
            units.setdefault((component.layer, component.part), []).extend(self.units(component))
        return units


def switched(probe: Probe, groups: Groups, units: Units, tick: Tick) -> Measured:
    """Loss, and KL to the probe's reference, when these heads and channels carry their means."""
    with switched_off(groups.model, groups.columns(units), groups.calibration.means) as layer:
        found = probe.measure(probe.resume(layer))
    tick(1 - layer / len(probe.blocks))
    return found


def switch_off_layers(probe: Probe, groups: Groups, tick: Tick) -> dict[Part, list[Measured]]:
    """What happens when one layer's attention, or one layer's MLP, always says its mean."""
    layers, widths = range(len(probe.blocks)), groups.widths
    return {p: [switched(probe, groups, {(i, p): range(widths[p])}, tick) for i in layers] for p in widths}


def candidates(groups: Groups, part: Part, per_layer: int) -> list[Component]:
    """The ``per_layer`` components of one kind with the highest scores in each layer, from the first layer up."""
    found = []
    for layer in range(groups.model.config.n_layers):
        here = [c for c in groups.scores if c.part == part and c.layer == layer]
        found += sorted(here, key=lambda c: -groups.scores[c])[:per_layer]
    return found


def choose_circuit(groups: Groups, effects: Mapping[Component, float], share: float) -> list[Component]:
    """The components with the largest measured effect: ``share`` of all heads and of all MLP groups, at least one each.

    Only measured ones can be chosen, and at most `MAX_SHARE_OF_SITE` of a layer's heads or groups (but one).
    """
    chosen: list[Component] = []
    for part in groups.widths:
        total = sum(c.part == part for c in groups.scores)
        per_layer = max(1, int(MAX_SHARE_OF_SITE * total / groups.model.config.n_layers))
        if total < 2 * groups.model.config.n_layers:
            continue  # one head a layer: there is no other of its kind to compare with
        wanted, taken = max(1, round(share * total)), Counter[int]()
        for component in sorted((c for c in effects if c.part == part), key=lambda c: -effects[c]):
            if taken.total() < wanted and taken[component.layer] < per_layer:
                taken[component.layer] += 1
                chosen.append(component)
    return chosen


def random_set(groups: Groups, circuit: Units, generator: torch.Generator) -> dict[Site, list[int]]:
    """As many heads and channels of the same kinds in the same layers, drawn evenly.

    Drawn from all of the layer, members of the circuit not left out. That is the stricter comparison, and it makes a
    circuit chosen by shuffled scores one more draw of the very same kind, so that it passes by luck only.
    """
    return {
        site: torch.randperm(groups.widths[site[1]], generator=generator)[: len(units)].tolist()
        for site, units in circuit.items()
    }


def verdict(circuit: float, random: Sequence[float]) -> dict[str, Any]:
    """Judge a damage against those of random sets: at least `REQUIRED_RATIO` times their median, and above them all.

    The second part matters where random sets hardly hurt: five times nothing is nothing. A median of zero or less has
    no ratio (None); then the damage passes if it is above zero and above all.
    """
    median = statistics.median(random)
    ratio = circuit / median if median > 0 else None
    above_all = circuit > max(random) and circuit > 0
    p_value = (1 + sum(other >= circuit for other in random)) / (1 + len(random))
    passed = above_all and (ratio is None or ratio >= REQUIRED_RATIO)
    return {"damage": circuit, "ratio": ratio, "p_value": p_value, "passed": passed}


def honest_test(
    probe: Probe,
    groups: Groups,
    circuit: Sequence[Component],
    *,
    n_random: int,
    n_shuffles: int,
    seed: int,
    tick: Tick,
) -> dict[str, Any]:
    """Is the circuit what the model rests on? On held-out text, against random sets and against shuffled scores.

    ``circuit`` begins with its strongest component. What is left without it is judged too, against the same (by one
    component larger) random sets: one giant should not pass for a circuit unseen.

    Returns:
        ``passed``: the circuit passes :func:`verdict` and no shuffle does; ``circuit``, ``without_strongest``,
        ``shuffled``: verdicts;
        ``random``: the damages of the random sets with ``median`` and ``max``; ``by_part``: damage of the circuit's
        heads alone and of its channels alone; all in nats a token.
    """
    base = probe.measure(probe.start()).loss
    tick(1)

    def damage(units: Units) -> float:
        return switched(probe, groups, units, tick).loss - base

    generator = torch.Generator().manual_seed(seed)
    units = groups.collect(circuit)
    whole = damage(units)
    parts = sorted({site[1] for site in units})
    rest = damage(groups.collect(circuit[1:])) if len(circuit) > 1 else 0.0
    by_part = {part: damage({site: found for site, found in units.items() if site[1] == part}) for part in parts}
    random = [damage(random_set(groups, units, generator)) for _ in range(n_random)]
    # Scores shuffled within each layer and kind choose any units of it, as many as the true ones did.
    shuffles = [damage(random_set(groups, units, generator)) for _ in range(n_shuffles)]
    own, shuffled = verdict(whole, random), [verdict(value, random) for value in shuffles]
    return {
        "passed": own["passed"] and not any(one["passed"] for one in shuffled),
        "required_ratio": REQUIRED_RATIO,
        "loss": base,
        "circuit": own,
        "without_strongest": verdict(rest, random),
        "by_part": by_part,
        "random": {"n": n_random, "median": statistics.median(random), "max": max(random), "damage": random},
        "shuffled": shuffled,
        "drawn_from": "the same layers, as many of each kind; members of the circuit not left out",
        "seed": seed,
    }
