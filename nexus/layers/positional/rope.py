"""Rotary position embedding (RoPE).

The one idea: turn each pair of query and key channels by an angle that grows with the position, so that their
product depends on the distance only. Paper: Su et al. 2021 (arXiv:2104.09864), eq. 34. The pairs are channel i and
channel i + D/2 ("half split", as in Hugging Face's Llama), not neighbours.
"""

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn


class RotaryEmbedding(nn.Module):
    """Cosines and sines for given positions.

    Args:
        head_dim: channels of one head, even.
        theta: base of the geometric row of wave lengths.
        fraction: share of the pairs that turn, the first ones; the rest keep still (partial rotary, GPT-NeoX).
    """

    inv_freq: Tensor

    def __init__(self, head_dim: int, theta: float = 10_000.0, fraction: float = 1.0) -> None:
        super().__init__()
        turning = int(head_dim * fraction)
        if head_dim % 2 or turning % 2:
            raise ValueError(
                f"head_dim={head_dim}, fraction={fraction}: rotary embedding turns pairs of channels; use an even "
                "number of turning channels"
            )
        self.head_dim, self.theta, self.turning = head_dim, theta, turning
        self.register_buffer("inv_freq", self._frequencies(None), persistent=False)

    def _frequencies(self, device: torch.device | None) -> Tensor:
        exponent = torch.arange(0, self.turning, 2, dtype=torch.float32, device=device) / max(self.turning, 1)
        still = torch.zeros((self.head_dim - self.turning) // 2, device=device, dtype=torch.float32)
        # 1 / theta^e, not theta^-e: at position 100,000 the last bit matters, and teachers learnt with this one.
        return torch.cat((1.0 / self.theta**exponent, still))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # Made anew after each move: `.to(bfloat16)` would round the frequencies, `.to_empty()` would lose them.
        super()._apply(fn, recurse)
        self.inv_freq = self._frequencies(self.inv_freq.device)
        return self

    def forward(self, positions: Tensor, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        """Angles of ``positions`` (B, T) as ``cos, sin``, each (B, 1, T, head_dim), sin with its first half negated."""
        # Angles of large positions lose their meaning in half precision, so they are made in (at least) float32.
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        angle = positions.to(wide)[:, None, :, None] * self.inv_freq.to(wide)
        cos, sin = angle.cos().to(dtype), angle.sin().to(dtype)
        return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)


def apply_rotary(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn ``x`` (B, H, T, D) by the angles of :class:`RotaryEmbedding`."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin)
