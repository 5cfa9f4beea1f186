"""T5's biases beside transformers' T5, and its buckets for every distance up to 10,000."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._shared import compare, drawn, oracle, parameters

ORACLE = ("transformers", "x-transformers")
TOLERANCE = 1e-10
MUTATIONS = (
    Mutation("past and future swapped", "offset = (distance < 0) * n", "offset = (distance > 0) * n"),
    Mutation("future not clamped in a decoder", "distance = distance.clamp(min=0)\n", "distance = distance.abs()\n"),
    Mutation("logarithm from the wrong start", "math.log(self.max_distance / exact)", "math.log(self.max_distance)"),
    Mutation("all buckets exact", "exact = n // 2", "exact = n - 1"),
    Mutation("rounded up", "(log * (n - exact)).long()", "(log * (n - exact)).ceil().long()"),
    Mutation("last bucket left out", ".clamp(max=n - 1)", ".clamp(max=n - 2)"),
    Mutation("boundary bucket counted as far", "torch.where(distance < exact", "torch.where(distance < exact - 2"),
)


def example(seed: int = 0) -> Example:
    """Four heads, seven queries and keys."""
    from nexus.layers.positional.t5_bias import T5Bias

    return Example(drawn(T5Bias(4, 8, 16), seed, dtype=torch.float32), (7, 7))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Encoder and decoder, two settings of buckets; x-transformers' own for the same."""
    from transformers.models.t5 import modeling_t5 as t5

    from nexus.layers.positional.t5_bias import T5Bias

    far = torch.arange(-10_000, 10_001)
    for both in (True, False):
        for n_buckets, longest in ((32, 128), (16, 50)):
            ours = drawn(T5Bias(4, n_buckets, longest, both), seed)
            config = t5.T5Config(
                d_model=8, d_kv=2, num_heads=4, relative_attention_num_buckets=n_buckets,
                relative_attention_max_distance=longest, is_decoder=not both,
            )  # fmt: skip
            theirs = t5.T5Attention(config, has_relative_attention_bias=True, layer_idx=0)
            buckets = theirs._relative_position_bucket(-far, both, n_buckets, longest)
            what = f"{'encoder' if both else 'decoder'}, {n_buckets} buckets"
            yield Comparison(f"buckets, {what}", ours.buckets(far), buckets)
            del theirs.relative_attention_bias.weight
            theirs.relative_attention_bias.weight = ours.weight * 1.0
            y = theirs.compute_bias(40, 60, device=torch.device("cpu"), past_seen_tokens=20)
            yield from compare(ours(40, 60), y, parameters(ours), what)
            other = (
                oracle("x_transformers.x_transformers")
                .RelativePositionBias(1.0, not both, n_buckets, longest, heads=4)
                .double()
            )
            other.relative_attention_bias.weight.data.copy_(ours.weight.detach())
            yield Comparison(f"x-transformers, {what}", ours(40, 60)[0], other(40, 60))
