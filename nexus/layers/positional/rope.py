"""Rotary position embedding (RoPE).

The one idea: turn each pair of query and key channels by an angle that grows with the position, so that their
product depends on the distance only. Paper: Su et al. 2021 (arXiv:2104.09864), eq. 34. The pairs are channel i and
channel i + D/2 ("half split", as in Hugging Face's Llama); the paper's are neighbours ("interleaved"), and
:func:`to_half_split` leads from one to the other. Longer texts: :mod:`nexus.layers.positional.rope_scaling`.
"""

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

from nexus.layers.positional.rope_scaling import RopeScaling, plain_frequencies


class RotaryEmbedding(nn.Module):
    """Cosines and sines for given positions.

    Args:
        head_dim: channels of one head, even.
        theta: base of the geometric row of wave lengths.
        fraction: share of the pairs that turn, the first ones; the rest keep still (partial rotary, GPT-NeoX).
        scaling: how to go beyond the trained length; None for plain angles.
    """

    inv_freq: Tensor

    def __init__(
        self, head_dim: int, theta: float = 10_000.0, fraction: float = 1.0, scaling: RopeScaling | None = None
    ) -> None:
        super().__init__()
        turning = int(head_dim * fraction)
        if head_dim % 2 or turning % 2:
            raise ValueError(
                f"head_dim={head_dim}, fraction={fraction}: rotary embedding turns pairs of channels; use an even "
                "number of turning channels"
            )
        self.head_dim, self.theta, self.turning, self.scaling = head_dim, theta, turning, scaling
        self.register_buffer("inv_freq", self._frequencies(None), persistent=False)

    def _frequencies(self, device: torch.device | None, length: int = 0) -> Tensor:
        if self.scaling is None:
            turning = plain_frequencies(self.turning, self.theta, device)
        else:
            turning = self.scaling.frequencies(self.turning, self.theta, length, device)
        still = torch.zeros((self.head_dim - self.turning) // 2, device=device, dtype=torch.float32)
        return torch.cat((turning, still))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # Made anew after each move: `.to(bfloat16)` would round the frequencies, `.to_empty()` would lose them.
        super()._apply(fn, recurse)
        self.inv_freq = self._frequencies(self.inv_freq.device)
        return self

    def forward(self, positions: Tensor, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        """Angles of ``positions`` (B, T) as ``cos, sin``, each (B, 1, T, head_dim), sin with its first half negated."""
        # Angles of large positions lose their meaning in half precision, so they are made in (at least) float32.
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        inv_freq, magnitude = self.inv_freq, 1.0
        if self.scaling is not None:
            magnitude = self.scaling.magnitude
            if self.scaling.by_length:
                inv_freq = self._frequencies(inv_freq.device, int(positions.max()) + 1)
        angle = positions.to(wide)[:, None, :, None] * inv_freq.to(wide)
        cos, sin = angle.cos(), angle.sin()
        if magnitude != 1.0:
            cos, sin = cos * magnitude, sin * magnitude
        cos, sin = cos.to(dtype), sin.to(dtype)
        return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)


def apply_rotary(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn ``x`` (B, H, T, D) by the angles of :class:`RotaryEmbedding`."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin)


def to_half_split(x: Tensor) -> Tensor:
    """Channels (..., D) whose pairs are neighbours, so ordered that pairs are D/2 apart."""
    return x.unflatten(-1, (-1, 2)).mT.flatten(-2)


def to_interleaved(x: Tensor) -> Tensor:
    """The way back from :func:`to_half_split`."""
    return x.unflatten(-1, (2, -1)).mT.flatten(-2)


def rows_to_half_split(weight: Tensor, n_heads: int) -> Tensor:
    """Rows (H D, ...) of a query or key projection made for interleaved pairs, ordered for half-split ones."""
    heads = weight.unflatten(0, (n_heads, -1))
    return to_half_split(heads.movedim(1, -1)).movedim(-1, 1).flatten(0, 1)
