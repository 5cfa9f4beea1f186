"""No position encoding (NoPE).

The one idea: under a causal mask order is not lost: what a token can see tells where it stands, so a decoder can learn
positions by itself. Paper: Kazemnejad et al. 2023 (arXiv:2305.19466), theorem 1.
"""

import torch
from torch import Tensor, nn


class NoPE(nn.Module):
    """The bias of an attention without positions: zeros, (1, 1, T, K), so that it can stand where others stand."""

    zero: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("zero", torch.zeros(()), persistent=False)

    def forward(self, length: int, keys: int) -> Tensor:
        """Zeros for ``length`` queries and ``keys`` keys; takes no memory."""
        return self.zero.expand(1, 1, length, keys)


def recover_positions(length: int) -> Tensor:
    """Theorem 1's construction: causal attention that looks equally at all, and a value that marks the first token.

    The head's output at position t (from 1) is 1 / t, an absolute position; returns those t, (T,).
    """
    equal = torch.zeros(length, length).masked_fill(torch.ones(length, length).triu(1).bool(), float("-inf"))
    is_first = torch.zeros(length)
    is_first[0] = 1
    return 1 / (equal.softmax(-1) @ is_first)
