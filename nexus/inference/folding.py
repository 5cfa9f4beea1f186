"""Peculiarities of a checkpoint that can be folded into its weights, so that HybridLM needs no switch for them.

The one idea: a multiplier beside a linear map or a norm's weight is part of that map, and RoPE doesn't care which
channels of a head form a pair as long as queries and keys agree.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from nexus.core.state_space import Block, HybridLM
from nexus.inference.hf_config import Scales
from nexus.layers.attention import GroupedQueryAttention
from nexus.layers.ssm import Mamba2


@torch.no_grad()
def fold_scales(model: HybridLM, scales: Scales) -> None:
    """Multiply GraniteMoeHybrid's four multipliers into a model without windows; its logits are then the same."""
    if scales == Scales():
        return
    model.embed.weight.mul_(scales.embedding)
    # A tied head has been scaled along with the embedding; the last norm takes that back.
    model.backbone.norm.weight.div_(scales.logits * (scales.embedding if model.config.tie_embeddings else 1.0))
    for block in _blocks(model):
        _scale(block.mlp.down_proj, scales.residual)
        if isinstance(block.mixer, GroupedQueryAttention):
            _scale(block.mixer.o_proj, scales.residual)
            for part in _parts(block.mixer.qkv_proj):
                part[: block.mixer.n_heads * block.mixer.head_dim].mul_(scales.attention)
        else:
            assert isinstance(block.mixer, Mamba2)
            _scale(block.mixer.out_proj, scales.residual)


@torch.no_grad()
def fold_rotary(model: HybridLM) -> None:
    """Reorder channels of queries and keys of a partial rotary checkpoint.

    There the first ``t`` channels turn, channel i with i + t/2; here channel i always turns with i + D/2, the first
    ``t / 2`` pairs only.
    """
    head_dim, turning = model.config.head_dim, model.backbone.rotary.turning
    if turning == head_dim:
        return
    pairs = torch.cat((torch.arange(turning).view(2, -1), torch.arange(turning, head_dim).view(2, -1)), dim=1)
    for block in _blocks(model):
        if isinstance(block.mixer, GroupedQueryAttention):
            for part in _parts(block.mixer.qkv_proj):
                heads = part.unflatten(0, (-1, head_dim))[: block.mixer.n_heads + block.mixer.n_kv_heads]  # not values
                heads.copy_(heads[:, pairs.flatten()])


def _blocks(model: HybridLM) -> Iterator[Block]:
    for block in model.backbone.blocks:
        assert isinstance(block, Block)
        yield block


def _scale(linear: nn.Linear, factor: float) -> None:
    for part in _parts(linear):
        part.mul_(factor)


def _parts(linear: nn.Linear) -> list[Tensor]:
    return [linear.weight] if linear.bias is None else [linear.weight, linear.bias]
