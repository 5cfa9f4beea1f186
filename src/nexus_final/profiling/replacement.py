"""Which layers their replacement says worst: the few that should stay attention in a student without any window.

The one idea: what a short window costs a layer says little about what a state-space path costs it. So after the
alignment the teacher's layers are put back one at a time, and those that win back most stay: with SmolLM2-135M the
first two, and not the layers of far recall.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from nexus.core.state_space import HybridLM
from nexus.training.precision import Precision, mixed_precision
from nexus_final.profiling.probe import Probe


def replacement_costs(
    teacher: HybridLM,
    student: HybridLM,
    ids: Tensor,
    tick: Callable[[], object] = lambda: None,
    precision: Precision = "float32",
) -> list[float]:
    """For each layer, how many nats of KL(teacher || student) go away when the teacher's layer takes its place.

    Args:
        teacher: attention in all layers.
        student: the same sizes without any window, no layer attention; neither model is changed.
        ids: (B, T) of the text that is scored, every second token of it.
        tick: called after each layer.
    """
    probe = Probe(teacher, ids.to(teacher.device), stride=2)
    gains = []
    with mixed_precision(teacher.device, precision):
        probe.keep_reference(probe.start())
        probe.blocks = list(student.backbone.blocks)
        before = probe.measure(probe.start()).kl
        for layer, theirs in enumerate(teacher.backbone.blocks):
            ours, probe.blocks[layer] = probe.blocks[layer], theirs
            gains.append(before - probe.measure(probe.resume(layer)).kl)
            probe.blocks[layer] = ours
            tick()
    return gains
