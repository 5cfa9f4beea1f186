"""The circuit a teacher rests on: which heads and MLP groups hurt most when switched off, and an honest test of it.

The one idea: a set of components may be called critical only if switching it off on text it was not chosen on hurts far
more than switching off as many others of the same kinds in the same layers. Shuffled scores must fail the same test.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nexus_final.profiling.components import Calibration, Columns, Part, Site, head_columns, switched_off
from nexus_final.profiling.probe import Probe

Tick = Callable[[float], None]
REQUIRED_RATIO = 5.0
MAX_SHARE_OF_SITE = 0.5  # of one layer's heads or channels in the circuit, so that as many are left to draw from


class Component(NamedTuple):
    """A head, or a group of MLP channels: group 0 holds the layer's strongest channels, group 1 the next, and so on."""

    layer: int
    part: Part
    index: int


class Groups:
    """The components of a model: its heads, and its channels in groups of ``size`` by falling score."""

    def __init__(self, probe: Probe, calibration: Calibration, size: int) -> None:
        self.model, self.calibration = probe.model, calibration
        self.size = min(size, calibration.channels.shape[1])
        self.order = calibration.channels.argsort(dim=1, descending=True, stable=True)
        self.scores: dict[Component, float] = {}
        for layer in range(len(probe.blocks)):
            for index, score in enumerate(calibration.heads[layer].tolist()):
                self.scores[Component(layer, "attention", index)] = score
            ranked = calibration.channels[layer][self.order[layer]].split(self.size)
            for index, channels in enumerate(ranked):
                self.scores[Component(layer, "mlp", index)] = channels.pow(2).sum().sqrt().item()

    def units(self, component: Component) -> list[int]:
        """What a set is counted in: the head itself, or the group's channels."""
        if component.part == "attention":
            return [component.index]
        return self.order[component.layer].split(self.size)[component.index].tolist()  # type: ignore[no-any-return]

    def columns(self, units: Mapping[Site, Sequence[int]]) -> Columns:
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


def damage(probe: Probe, groups: Groups, units: Mapping[Site, Sequence[int]], base: float, tick: Tick) -> float:
    """The rise of the loss in nats a token when these heads and channels carry their means."""
    with switched_off(groups.model, groups.columns(units), groups.calibration.means) as layer:
        loss = probe.measure(probe.resume(layer)).loss
    tick(1 - layer / len(probe.blocks))
    return loss - base


def layer_damage(probe: Probe, groups: Groups, base: float, tick: Tick) -> dict[Part, list[float]]:
    """The rise of the loss when one layer's attention, or one layer's MLP, always says its mean."""
    parts: dict[Part, int] = {"attention": groups.calibration.heads.shape[1], "mlp": groups.calibration.channels.shape[1]}
    layers = range(len(probe.blocks))
    return {
        part: [damage(probe, groups, {(layer, part): list(range(width))}, base, tick) for layer in layers]
        for part, width in parts.items()
    }


def candidates(groups: Groups, part: Part, count: int) -> list[Component]:
    """The components of one kind with the highest scores, the best first."""
    of_kind = [component for component in groups.scores if component.part == part]
    return sorted(of_kind, key=lambda component: -groups.scores[component])[:count]


def choose_circuit(groups: Groups, rises: Mapping[Component, float], share: float) -> list[Component]:
    """The components with the largest measured rise: ``share`` of the heads and of the MLP groups, at least one each.

    At most `MAX_SHARE_OF_SITE` of a layer's heads or groups are taken, and only what does hurt.
    """
    chosen: list[Component] = []
    parts: tuple[Part, Part] = ("attention", "mlp")
    for part in parts:
        of_kind = [component for component in groups.scores if component.part == part]
        per_site = max(1, int(MAX_SHARE_OF_SITE * len(of_kind) / groups.calibration.heads.shape[0]))
        wanted = max(1, round(share * len(of_kind)))
        taken: list[Component] = []
        for component in sorted((c for c in of_kind if rises.get(c, 0) > 0), key=lambda c: -rises[c]):
            if len(taken) < wanted and sum(c.layer == component.layer for c in taken) < per_site:
                taken.append(component)
        chosen += taken
    return chosen


def random_set(groups: Groups, circuit: Mapping[Site, Sequence[int]], generator: torch.Generator) -> dict[Site, list[int]]:
    """As many heads and channels in the same layers, drawn evenly from those outside the circuit."""
    drawn: dict[Site, list[int]] = {}
    for site, inside in circuit.items():
        width = (groups.calibration.heads if site[1] == "attention" else groups.calibration.channels).shape[1]
        outside = sorted(set(range(width)) - set(inside))
        if len(outside) < len(inside):
            raise ValueError(f"circuit: {len(inside)} of {width} units of {site} leave too few to compare with; lower share")
        drawn[site] = [outside[i] for i in _permutation(len(outside), generator)[: len(inside)]]
    return drawn


def shuffled_set(groups: Groups, circuit: Mapping[Site, Sequence[int]], generator: torch.Generator) -> dict[Site, list[int]]:
    """What the circuit would be had its scores been shuffled within each layer and kind: as many units, any of them."""
    widths = {"attention": groups.calibration.heads.shape[1], "mlp": groups.calibration.channels.shape[1]}
    return {site: _permutation(widths[site[1]], generator)[: len(inside)] for site, inside in circuit.items()}


def _permutation(n: int, generator: torch.Generator) -> list[int]:
    found: Tensor = torch.randperm(n, generator=generator)
    return found.tolist()  # type: ignore[no-any-return]


def verdict(circuit: float, random: Sequence[float]) -> dict[str, Any]:
    """Judge a damage against those of random sets: at least `REQUIRED_RATIO` times their median, and above them all.

    The second part matters where random sets hardly hurt: five times nothing is nothing. A median of zero or less has no
    ratio (None) and passes if the damage is above zero and above all.
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

    Returns:
        ``passed``: the circuit passes :func:`verdict` and no shuffle does; ``circuit``, ``shuffled``: verdicts;
        ``random``: the damages of the random sets with ``median`` and ``max``; ``by_part``: damage of the circuit's heads
        and of its channels alone; all in nats a token.
    """
    base = probe.measure(probe.start()).loss
    tick(1)
    generator = torch.Generator().manual_seed(seed)
    units = groups.collect(circuit)
    whole = damage(probe, groups, units, base, tick)
    by_part = {
        part: damage(probe, groups, {s: u for s, u in units.items() if s[1] == part}, base, tick)
        for part in sorted({site[1] for site in units})
    }
    random = [damage(probe, groups, random_set(groups, units, generator), base, tick) for _ in range(n_random)]
    shuffles = [damage(probe, groups, shuffled_set(groups, units, generator), base, tick) for _ in range(n_shuffles)]
    own, shuffled = verdict(whole, random), [verdict(value, random) for value in shuffles]
    return {
        "passed": own["passed"] and not any(one["passed"] for one in shuffled),
        "required_ratio": REQUIRED_RATIO,
        "loss": base,
        "circuit": own,
        "by_part": by_part,
        "random": {"n": n_random, "median": statistics.median(random), "max": max(random), "damage": random},
        "shuffled": shuffled,
        "drawn_from": "heads and channels outside the circuit, as many in each layer and of each kind",
        "seed": seed,
    }
