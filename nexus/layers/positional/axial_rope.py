"""Axial RoPE: rotary positions in a picture.

The one idea: half of the pairs turn by the row, half by the column. Paper: Heo et al. 2024 (arXiv:2403.13298), eq. 9
and 10 (indices of patches); DINOv3 2025 (arXiv:2508.10104) uses places of patches between -1 and 1 instead, so that
angles do not depend on the resolution. Both are selectable.
"""

import math

import torch
from torch import Tensor, nn


class AxialRoPE(nn.Module):
    """Cosines and sines for a grid of patches; use them with ``apply_rotary``.

    Args:
        head_dim: channels of one head, a multiple of 4.
        theta: base of the wave lengths; 100 in both papers, pictures being short.
        places: "index" (row and column numbers) or "normalised" (-1 to 1, times 2 pi).
    """

    def __init__(self, head_dim: int, theta: float = 100.0, places: str = "index") -> None:
        super().__init__()
        if head_dim % 4:
            raise ValueError(f"head_dim={head_dim}: two axes of pairs need a multiple of 4")
        if places not in ("index", "normalised"):
            raise ValueError(f"places={places!r}: use 'index' or 'normalised'")
        self.head_dim, self.theta, self.places = head_dim, theta, places

    def forward(
        self, height: int, width: int, prefix: int = 0, dtype: torch.dtype = torch.float32
    ) -> tuple[Tensor, Tensor]:
        """``cos, sin`` (1, 1, prefix + height width, head_dim), rows first; ``prefix`` tokens do not turn."""
        places = torch.stack(torch.meshgrid(self._axis(height), self._axis(width), indexing="ij"), -1).flatten(0, 1)
        exponent = torch.arange(0, 1, 4 / self.head_dim, dtype=torch.float64)
        angle = (places[..., None] / self.theta**exponent).flatten(-2)  # (H W, D / 2): by row, then by column
        angle = nn.functional.pad(angle, (0, 0, prefix, 0))[None, None]
        cos, sin = angle.cos().to(dtype), angle.sin().to(dtype)
        return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)

    def _axis(self, size: int) -> Tensor:
        index = torch.arange(size, dtype=torch.float64)
        return index if self.places == "index" else 2 * math.pi * ((index + 0.5) / size * 2 - 1)
