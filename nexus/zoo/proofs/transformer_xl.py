"""Transformer-XL's scores beside transformers' XLNet, which computes them the paper's way, by a shift."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._shared import compare, drawn, noise, parameters

ORACLE = ("transformers",)
TOLERANCE = 1e-6  # the oracle's sinusoids are in float32
MUTATIONS = (
    Mutation("content bias forgotten", "(q + self.u.unsqueeze(1)) @ k.mT", "q @ k.mT"),
    Mutation("position bias forgotten", "(q + self.v.unsqueeze(1)) @ r.mT", "q @ r.mT"),
    Mutation("biases swapped", "(q + self.v.unsqueeze(1)) @ r.mT", "(q + self.u.unsqueeze(1)) @ r.mT"),
    Mutation("distances the wrong way round", "distance - nearest)", "(distance - nearest).flip(-1))"),
    Mutation("positions not scaled", "return (content + position) / q.shape[-1] ** 0.5", "return content / q.shape[-1] ** 0.5 + position"),
    Mutation("sinusoids interleaved", 'layout="sin_cos"', 'layout="interleaved"'),
)  # fmt: skip


def example(seed: int = 0) -> Example:
    """Two heads, five queries, seven keys."""
    from nexus.layers.positional.transformer_xl import TransformerXLEncoding

    q, k = noise(seed, 2, 2, 5, 8, dtype=torch.float32), noise(seed + 1, 2, 2, 7, 8, dtype=torch.float32)
    return Example(drawn(TransformerXLEncoding(12, 2, 8), seed, dtype=torch.float32), (q, k))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """The attention core of XLNet on identity values, whose output is the softmax of the scores; with a memory."""
    from transformers.models.xlnet import modeling_xlnet as xlnet

    from nexus.layers.positional.transformer_xl import TransformerXLEncoding

    ours = drawn(TransformerXLEncoding(12, 2, 8), seed)
    config = xlnet.XLNetConfig(d_model=16, n_head=2, d_head=8, dropout=0.0)
    theirs = xlnet.XLNetRelativeAttention(config).double()
    q, k = noise(seed, 2, 2, 5, 8), noise(seed + 1, 2, 2, 7, 8)
    sinusoids = xlnet.XLNetModel(xlnet.XLNetConfig(vocab_size=4, d_model=12, n_head=1, n_layer=1, d_inner=4))
    table = sinusoids.relative_positional_encoding(5, 7, bsz=2).double()
    r = (table @ ours.r_proj.weight.T).unflatten(-1, (2, 8))
    values = torch.eye(7).double()[:, None, None].expand(7, 2, 2, 7)
    theirs.r_w_bias, theirs.r_r_bias = (torch.nn.Parameter(t.detach()) for t in (ours.u, ours.v))
    for name, own in (("r_w_bias", ours.u), ("r_r_bias", ours.v)):
        del theirs._parameters[name]
        setattr(theirs, name, own)
    y = theirs.rel_attn_core(q.permute(2, 0, 1, 3), k.permute(2, 0, 1, 3), values, r)
    leaves = {**parameters(ours), "q": q, "k": k}
    yield from compare(ours(q, k).softmax(-1), y.permute(1, 2, 0, 3), leaves, "weights")
