"""FIRE: the proof, inputs between 0 and 1 at any length, and rows that never change."""

import torch

from nexus.layers.positional import FIRE
from tests.numerics import close, parameter_gradients
from tests.proofs import proof_holds


def test_the_proof_holds():
    proof_holds("fire")


def test_inputs_stay_between_0_and_1():
    for length in (1, 2, 63, 2_000):
        progress = FIRE(2, threshold=16.0).progress(length, length)
        assert ((progress >= 0) & (progress <= 1)).all()
        assert not progress.triu(0).any()


def test_a_row_does_not_change_as_the_text_grows():
    fire = FIRE(2, threshold=4.0)
    close(fire(20, 20)[:, :, :9, :9], fire(9, 9), 1e-6)
    close(fire(1, 20), fire(20, 20)[:, :, -1:], 1e-6)


def test_all_four_parts_learn_above_the_threshold_and_below():
    fire = FIRE(2, threshold=4.0)
    gradients = parameter_gradients(fire, [fire(9, 9)])
    assert all(g.abs().sum() > 0 for name, g in gradients.items() if "bias" not in name)
    assert torch.isfinite(torch.cat([g.flatten() for g in gradients.values()])).all()
