"""Costs of training infrastructure, where it changes what a model costs."""

from __future__ import annotations

import torch
from torch import nn

from nexus.training.activation_checkpointing import ActivationCheckpointing
from nexus.zoo.formulas._entry import Entry
from nexus.zoo.proof import Example


def _checkpointed(B: int, d_model: int, d_ff: int, n_blocks: int) -> Example:
    blocks = (nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model)) for _ in range(n_blocks))
    return Example(nn.Sequential(*map(ActivationCheckpointing, blocks)), (torch.randn(B, d_model),))


ENTRIES = {
    "activation_checkpointing": Entry(
        _checkpointed,
        ({"B": 3, "d_model": 8, "d_ff": 20, "n_blocks": 4}, {"B": 5, "d_model": 12, "d_ff": 30, "n_blocks": 3}),
        parameters="n_blocks * (2 * d_model * d_ff + d_model + d_ff)",
        flops="4 * n_blocks * B * d_model * d_ff",
        activations="E * n_blocks * B * d_model",
        note="a stack of wrapped feed-forward blocks; unwrapped ones keep E * B * (d_model + 2 * d_ff) each, and the "
        "forward FLOPs are spent once more in backward",
    ),
}
