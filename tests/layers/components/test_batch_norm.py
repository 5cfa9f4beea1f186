"""Batch normalisation: the proof, what the paper claims, half precision, and what is refused."""

import pytest
import torch
from torch import nn

from nexus.layers.components import BatchNorm
from tests.numerics import close
from tests.proofs import proof_holds


def test_the_proof_holds():
    proof_holds("batch_norm")


@pytest.mark.parametrize("fused", [False, True])
def test_the_size_of_what_came_before_does_not_matter(fused):
    norm, x = BatchNorm(4, eps=1e-18, fused=fused).double(), torch.randn(32, 4, dtype=torch.float64)
    scale, shift = torch.tensor([1e-3, 1.0, 7.0, 1e3]), torch.tensor([5.0, 0.0, -3.0, 1.0])
    close(norm(scale * x + shift), norm(x))


def test_in_use_an_answer_does_not_depend_on_its_company():
    norm = BatchNorm(4)
    for _ in range(3):
        norm(torch.randn(16, 4) * 3 + 1)
    norm.eval()
    x = torch.randn(8, 4)
    assert torch.equal(norm(x)[:1], norm(x[:1]))


def test_the_averages_come_to_the_datas_own():
    torch.manual_seed(0)
    norm = BatchNorm(2, momentum=0.02)
    for _ in range(1_000):
        norm(torch.randn(64, 2) * torch.tensor([2.0, 0.5]) + torch.tensor([3.0, -1.0]))
    close(norm.running_mean, torch.tensor([3.0, -1.0]), 0.05)
    close(norm.running_var, torch.tensor([4.0, 0.25]), 0.2)


def test_weights_of_torchs_own_fit():
    theirs = nn.BatchNorm2d(3)
    theirs(torch.randn(4, 3, 5, 5))
    ours = BatchNorm(3)
    ours.load_state_dict({k: v for k, v in theirs.state_dict().items() if k != "num_batches_tracked"})
    x = torch.randn(2, 3, 4, 4)
    close(ours.eval()(x), theirs.eval()(x))


def test_what_has_no_statistics_is_refused():
    with pytest.raises(ValueError, match="one number a channel has no variance; use a larger batch"):
        BatchNorm(3)(torch.randn(1, 3))
    with pytest.raises(ValueError, match="needs 3 channels"):
        BatchNorm(3)(torch.randn(2, 4))
