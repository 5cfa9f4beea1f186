"""LSH attention: the proof, one bucket as plain attention, the paper's rule, and recall of near neighbours."""

import pytest
import torch

from nexus.layers.attention import LSHAttention
from nexus.layers.attention.lsh import hash_vectors, lsh_attention
from tests.numerics import close
from tests.proofs import proof_holds


def test_the_proof_holds():
    proof_holds("lsh")


@pytest.mark.parametrize("causal", [False, True])
def test_one_chunk_is_shared_qk_attention(causal):
    qk, v = torch.randn(1, 2, 8, 4, dtype=torch.float64), torch.randn(1, 2, 8, 4, dtype=torch.float64)
    buckets = torch.zeros(1, 2, 1, 8, dtype=torch.long)
    scores = qk @ (qk / qk.norm(dim=-1, keepdim=True)).mT
    blocked = torch.eye(8, dtype=torch.bool)
    if causal:
        blocked |= torch.ones(8, 8, dtype=torch.bool).triu(1)
        blocked[0, 0] = False  # the first sees itself, for want of others
    expected = scores.masked_fill(blocked, float("-inf")).softmax(-1) @ v
    whole = lsh_attention(qk, v, buckets, 8, causal)
    close(whole, expected)


def test_the_papers_rule_stays_in_the_bucket():
    qk, v = torch.randn(1, 1, 8, 4, dtype=torch.float64), torch.eye(8, dtype=torch.float64)[None, None]
    buckets = torch.tensor([0, 1, 0, 1, 0, 1, 0, 1]).view(1, 1, 1, 8)
    weights = lsh_attention(qk, v, buckets, 4, same_bucket=True)[0, 0]
    assert not weights[::2, 1::2].any()
    assert lsh_attention(qk, v, buckets, 4)[0, 0][::2, 1::2].any()


def test_near_vectors_share_buckets_more_often_than_far_ones():
    layer = LSHAttention(16, 1, n_buckets=16, n_rounds=64, chunk=4)
    x = torch.randn(1, 1, 200, 16)
    near = x + 0.05 * torch.randn_like(x)
    rotations = layer.draw(torch.Generator().manual_seed(0))
    one, other = hash_vectors(x, rotations), hash_vectors(near, rotations)
    assert (one == other).float().mean() > 0.8
    assert (one == other.roll(1, -1)).float().mean() < 0.2


def test_lengths_must_suit_the_chunk():
    with pytest.raises(ValueError, match="10 positions: the chunk, 4"):
        LSHAttention(16, 2, chunk=4)(torch.randn(1, 10, 16))
