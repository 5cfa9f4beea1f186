"""Text that is said twice."""

import numpy as np
import pytest
import torch

from nexus.data.blocks import echo


@pytest.mark.parametrize("length", [2, 7, 8])
def test_an_echo_says_its_beginning_again(length):
    blocks = np.arange(3 * length).reshape(3, length)
    half = -(-length // 2)
    heard = echo(blocks)
    assert heard.shape == blocks.shape
    assert (heard[:, :half] == blocks[:, :half]).all()
    assert (heard[:, half:] == blocks[:, : length - half]).all()
    assert (echo(torch.from_numpy(blocks)).numpy() == heard).all()


def test_the_text_itself_stays():
    blocks = torch.arange(8).view(1, 8)
    echo(blocks)
    assert blocks.tolist() == [list(range(8))]
