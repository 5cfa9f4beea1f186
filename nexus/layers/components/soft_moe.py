"""Soft mixture of experts.

The one idea: no token is picked or dropped; every slot of every expert gets a weighted mean of all tokens, and every
token a weighted mean of all slots' answers, so the whole layer is smooth. Paper: Puigcerver et al. 2023
(arXiv:2308.00951), section 2.1 and algorithm 1. The means are over the whole sequence: not for causal decoding.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SoftMoE(nn.Module):
    """Feed-forward experts (GELU) on slots, in place of a feed-forward block.

    Args:
        d_model: width in and out. d_ff: width of one expert. n_experts: experts.
        slots: of each expert.
        normalise: logits are a cosine times a learnt scale (section 2.3), which wide models need.
    """

    def __init__(self, d_model: int, d_ff: int, n_experts: int, slots: int = 1, normalise: bool = True) -> None:
        super().__init__()
        self.normalise = normalise
        self.phi = nn.Parameter(torch.randn(n_experts, slots, d_model) * d_model**-0.5)
        self.scale = nn.Parameter(torch.ones(())) if normalise else None
        self.up = nn.Parameter(torch.empty(n_experts, d_ff, d_model).uniform_(-1, 1) * d_model**-0.5)
        self.down = nn.Parameter(torch.empty(n_experts, d_model, d_ff).uniform_(-1, 1) * d_ff**-0.5)

    def logits(self, x: Tensor) -> Tensor:
        """(B, T, E, S) match of tokens ``x`` (B, T, d_model) and slots."""
        phi: Tensor = self.phi
        if self.scale is not None:
            x, phi = F.normalize(x, dim=-1), self.scale * F.normalize(phi, dim=-1)
        return torch.einsum("btd,esd->btes", x, phi)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` (B, T, d_model) to the same shape."""
        logits = self.logits(x).flatten(2)  # (B, T, E S)
        dispatch, combine = logits.softmax(1), logits.softmax(2)  # D over tokens, C over slots
        slots = (dispatch.mT @ x).unflatten(1, self.phi.shape[:2])  # (B, E, S, D)
        by_expert = slots.transpose(0, 1).flatten(1, 2)  # (E, B S, D): a product for each expert, no copy for each row
        answers = F.gelu(by_expert @ self.up.mT) @ self.down.mT
        return combine @ answers.unflatten(1, (len(x), -1)).transpose(0, 1).flatten(1, 2)
