"""RetNet: retention, attention whose weights fade with distance at a fixed rate for each head.

The one idea: replace the softmax by ``gamma^(i-j)`` and the same sum is a matrix product in training, a recurrence in
decode, and a mixture of both in chunks. Paper: Sun et al. 2023 (arXiv:2307.08621), eqs. 5 to 8. The decay is a state
space's with one constant rate a head, so the fast form is :func:`nexus.layers.ssm.ssd.ssd_chunked`.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.layers.ssm.ssd import ssd_chunked, ssd_step


class RetNetState(NamedTuple):
    """What one layer carries over: constant in the length of the text."""

    memory: Tensor  # (B, H, key channels, value channels)
    position: int


class RetNet(nn.Module):
    """Multi-scale retention, (B, T, d_model) to (B, T, d_model).

    Scores are not normalised by their sums: the norm of each head that follows undoes any such factor (the paper's
    section 2.4 adds three for the sake of half precision).

    Args:
        d_model: width in and out. n_heads: heads; head h decays by ``1 - 2^(-5-h)`` a token (eq. 8).
        value_dim: width of all values together; None is 2 d_model. chunk_size: of the fast form.
        eps: of the norm.
    """

    angle: Tensor
    log_decay: Tensor

    def __init__(
        self, d_model: int, n_heads: int, value_dim: int | None = None, chunk_size: int = 64, eps: float = 1e-6
    ) -> None:
        super().__init__()
        if d_model % (2 * n_heads):
            raise ValueError(f"d_model={d_model}: must be a multiple of 2 n_heads = {2 * n_heads}: pairs are turned")
        self.n_heads, self.key_dim, self.chunk_size, self.eps = n_heads, d_model // n_heads, chunk_size, eps
        self.value_dim = value_dim or 2 * d_model
        self.q_proj, self.k_proj = (nn.Linear(d_model, d_model, bias=False) for _ in range(2))
        self.v_proj, self.g_proj = (nn.Linear(d_model, self.value_dim, bias=False) for _ in range(2))
        self.out_proj = nn.Linear(self.value_dim, d_model, bias=False)
        self.register_buffer("angle", 1e4 ** -torch.linspace(0, 1, self.key_dim // 2), persistent=False)
        heads = torch.arange(n_heads, dtype=torch.float32)
        self.register_buffer("log_decay", torch.log1p(-(2.0 ** (-5 - heads))), persistent=False)

    def init_state(self, batch_size: int) -> RetNetState:
        """The zero state for ``batch_size`` rows."""
        width = self.value_dim // self.n_heads
        return RetNetState(self.q_proj.weight.new_zeros(batch_size, self.n_heads, self.key_dim, width), 0)

    def forward(self, x: Tensor, state: RetNetState | None = None) -> tuple[Tensor, RetNetState | None]:
        """Without a state it starts from zero, at position 0, and returns none."""
        before = self.init_state(x.shape[0]) if state is None else state
        q, k, v = self.heads(x, before.position)
        log_decay = self.log_decay.expand(*v.shape[:3])
        if x.shape[1] == 1 and state is not None:
            y, memory = ssd_step(v[:, 0], log_decay[:, 0], k[:, 0], q[:, 0], before.memory)
            y = y.unsqueeze(1)
        else:
            y, memory = ssd_chunked(v, log_decay, k, q, self.chunk_size, before.memory)
        out = self.out_proj(F.silu(self.g_proj(x)) * F.rms_norm(y, y.shape[-1:], eps=self.eps).flatten(-2))
        return out, None if state is None else RetNetState(memory, before.position + x.shape[1])

    def heads(self, x: Tensor, position: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys turned by their positions, and values, each (B, T, H, channels)."""
        q, k, v = (proj(x).unflatten(-1, (self.n_heads, -1)) for proj in (self.q_proj, self.k_proj, self.v_proj))
        turn = torch.arange(position, position + x.shape[1], device=x.device)[:, None, None] * self.angle
        return turn_pairs(q, turn), turn_pairs(k, turn) / math.sqrt(self.key_dim), v


def retention(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor) -> Tensor:
    """The parallel form, ``(Q K^T * D) V`` with ``D_ij = gamma^(i-j)`` (eq. 5); (B, T, H, ...), log_decay (H,)."""
    step = torch.arange(q.shape[1], device=q.device)
    age = step[:, None] - step
    fade = (age * log_decay[:, None, None]).masked_fill(age < 0, float("-inf")).exp()
    return torch.einsum("bihn,bjhn,hij,bjhp->bihp", q, k, fade, v)


def turn_pairs(x: Tensor, angle: Tensor) -> Tensor:
    """Turn neighbouring channels ``x`` (..., 2 m) by ``angle`` (..., m): times ``e^{i n theta}`` (eq. 3)."""
    even, odd, cos, sin = x[..., ::2], x[..., 1::2], angle.cos(), angle.sin()
    return torch.stack((even * cos - odd * sin, odd * cos + even * sin), dim=-1).flatten(-2)
