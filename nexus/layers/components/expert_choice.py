"""Expert choice: experts pick tokens.

The one idea: each expert takes the tokens with which it scores best, so the load is balanced by construction, and a
token may get none or many experts. Paper: Zhou et al. 2022 (arXiv:2202.09368), eq. 1 and 2. It looks at the whole
batch, later tokens included, so it is not for causal decoding.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ExpertChoiceMoE(nn.Module):
    """Feed-forward experts (GELU) that pick, in place of a feed-forward block.

    Args:
        d_model: width in and out. d_ff: width of one expert. n_experts: experts.
        capacity_factor: experts a token gets on average.
    """

    def __init__(self, d_model: int, d_ff: int, n_experts: int, capacity_factor: float = 2.0) -> None:
        super().__init__()
        self.n_experts, self.capacity_factor = n_experts, capacity_factor
        self.router = nn.Linear(d_model, n_experts, bias=False)
        self.up = nn.Parameter(torch.empty(n_experts, d_ff, d_model).uniform_(-1, 1) * d_model**-0.5)
        self.down = nn.Parameter(torch.empty(n_experts, d_model, d_ff).uniform_(-1, 1) * d_ff**-0.5)

    def picks(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Weights G and tokens I, each (E, k), for tokens ``x`` (N, d_model) (eq. 1 and 2)."""
        count = min(len(x), max(1, int(len(x) * self.capacity_factor / self.n_experts)))
        return self.router(x).softmax(-1).mT.topk(count, dim=-1)  # softmax over experts, picks over tokens

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` (..., d_model) to the same shape; all tokens of the call compete."""
        flat = x.flatten(0, -2)
        weights, tokens = self.picks(flat)
        answers = F.gelu(flat[tokens] @ self.up.mT) @ self.down.mT * weights.unsqueeze(-1)
        return torch.zeros_like(flat).index_add(0, tokens.flatten(), answers.flatten(0, 1)).view(x.shape)
