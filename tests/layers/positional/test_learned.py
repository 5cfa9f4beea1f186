"""Learned positions: the proof, refusal beyond the table, and stretching it."""

import pytest
import torch

from nexus.layers.positional import LearnedEncoding
from tests.numerics import close
from tests.proofs import proof_holds


def test_the_proof_holds():
    proof_holds("learned")


@pytest.mark.parametrize("at", [[8], [-1, 2]])
def test_positions_without_a_row_are_refused(at):
    with pytest.raises(ValueError, match="rows 0 to 7"):
        LearnedEncoding(8, 4, offset=2)(torch.tensor(at))


def test_stretching_keeps_ends_and_lines():
    table = LearnedEncoding(5, 3, offset=2)
    with torch.no_grad():
        table.weight[2:] = torch.arange(5.0)[:, None]
    head = table.weight[:2].clone()
    table.resize(9)
    close(table(torch.arange(9))[:, 0], torch.arange(0, 4.5, 0.5), 1e-6)
    assert torch.equal(table.weight[:2], head)
