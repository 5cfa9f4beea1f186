"""Which layers need to see far, and which few should therefore stay attention in a linear-time student.

The one idea: give a layer a short window and see how far the model's distributions move. Layers stand in for each
other, so the few that stay are chosen together: starting from windows everywhere, open the layer that wins back most.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from nexus_final.profiling.probe import Probe

Tick = Callable[[float], None]  # told after each measurement which part of a full pass it cost


def attention_count(n_layers: int, share: int = 8) -> int:
    """How many of ``n_layers`` stay attention: one in ``share``, rounded, at least one."""
    return max(1, math.floor(n_layers / share + 0.5))


def recommend_attention_layers(n_layers: int, sensitivities: Sequence[float], share: int = 8) -> tuple[int, ...]:
    """The one-in-``share`` layers with the highest sensitivities, in order. Ties go to the lower layer.

    Raises:
        ValueError: there is not one sensitivity a layer, or ``share`` is not positive.
    """
    if share < 1:
        raise ValueError(f"share={share}: is not positive; give 8 for one layer in eight")
    if len(sensitivities) != n_layers:
        raise ValueError(f"sensitivities: {len(sensitivities)} values for n_layers={n_layers}; give one a layer")
    ranked = sorted(range(n_layers), key=lambda layer: (-sensitivities[layer], layer))
    return tuple(sorted(ranked[: attention_count(n_layers, share)]))


def even_attention_layers(n_layers: int, share: int = 8) -> tuple[int, ...]:
    """As many layers, spread evenly ("MMMMMMMA" tiled, where that fits): what a profile has to beat."""
    count = attention_count(n_layers, share)
    return tuple((i + 1) * (n_layers // count) - 1 for i in range(count))


def window_sensitivity(probe: Probe, window: int, tick: Tick) -> list[float]:
    """For each layer the KL to the full model when that layer alone sees ``window`` tokens and the sinks."""
    n = len(probe.blocks)
    probe.keep_reference(probe.start())
    tick(1)
    rises = []
    for layer in range(n):
        hidden = probe.resume(layer, [window if i == layer else 0 for i in range(n)])
        rises.append(probe.measure(hidden).kl)
        tick((n - layer) / n)
    return rises


def greedy_attention_layers(
    probe: Probe, window: int, count: int, shortlist: int, tick: Tick
) -> tuple[tuple[int, ...], list[dict[str, Any]]]:
    """Choose ``count`` layers together: forward selection from windows everywhere.

    The first round tries every layer; a later one the ``shortlist`` best of what is known so far, since gains shrink as
    layers are opened. The probe must hold the full model's reference.

    Returns:
        The chosen layers in order, and a record of each round: KL before, the gain of each layer tried, the choice.
    """
    n = len(probe.blocks)
    chosen: list[int] = []
    known: dict[int, float] = {}
    rounds: list[dict[str, Any]] = []
    for _ in range(count):
        before = probe.measure(probe.start(_windows(n, window, chosen))).kl
        tick(1)
        candidates = [layer for layer in range(n) if layer not in chosen]
        if known:
            candidates = sorted(candidates, key=lambda layer: -known[layer])[:shortlist]
        gains = {}
        for layer in sorted(candidates):
            gains[layer] = before - probe.measure(probe.resume(layer, _windows(n, window, [*chosen, layer]))).kl
            tick((n - layer) / n)
        known |= gains
        best = max(gains, key=lambda layer: gains[layer])
        chosen.append(best)
        rounds.append({"kl_before": before, "gain": {str(k): v for k, v in gains.items()}, "chosen": best})
    return tuple(sorted(chosen)), rounds


def compare_placements(
    probe: Probe, placements: Mapping[str, Sequence[int]], windows: Iterable[int], tick: Tick
) -> list[dict[str, Any]]:
    """KL and perplexity with a window in all layers but the placed ones; the first row is the full model."""
    n = len(probe.blocks)
    hidden = probe.start()
    probe.keep_reference(hidden)
    full = math.exp(probe.measure(hidden).loss)
    tick(1)
    rows: list[dict[str, Any]] = [{"window": 0, "placement": "full", "kl": 0.0, "ppl": full, "ratio": 1.0}]
    for window in windows:
        for name, layers in placements.items():
            found = probe.measure(probe.start(_windows(n, window, layers)))
            tick(1)
            ppl = math.exp(found.loss)
            rows.append({"window": window, "placement": name, "kl": found.kl, "ppl": ppl, "ratio": ppl / full})
    return rows


def _windows(n: int, window: int, full: Sequence[int]) -> list[int]:
    return [0 if i in full else window for i in range(n)]
