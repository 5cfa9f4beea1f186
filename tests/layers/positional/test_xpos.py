"""xPos: the proof, decay with the distance, and independence of the centre."""

import torch

from nexus.layers.positional import XPos, apply_rotary
from tests.numerics import close
from tests.proofs import proof_holds


def test_the_proof_holds():
    proof_holds("xpos")


def products(xpos, q, k, length, centre=None):
    for_q, for_k = xpos(torch.arange(length)[None], torch.float64, centre)
    q, k = (t.expand(1, 1, length, -1) for t in (q, k))
    return (apply_rotary(q, *for_q) @ apply_rotary(k, *for_k).mT)[0, 0]


def test_products_depend_on_the_distance_only_and_not_on_the_centre():
    xpos = XPos(8, scale_base=32)
    q, k = torch.randn(8, dtype=torch.float64), torch.randn(8, dtype=torch.float64)
    scores = products(xpos, q, k, 60)
    close(scores[1:, 1:], scores[:-1, :-1], 1e-9)
    close(products(xpos, q, k, 60, centre=0), scores, 1e-9)


def test_far_keys_fade():
    xpos = XPos(32, scale_base=32)
    draws = torch.randn(200, 32, dtype=torch.float64)
    plain = XPos(32, scale_base=1e9)  # fades by nothing: RoPE
    sizes, others = (torch.stack([products(x, d, d, 120)[119].abs() for d in draws]).mean(0) for x in (xpos, plain))
    assert sizes[119] > sizes[59] > sizes[0]
    assert sizes[0] < 0.7 * others[0]
