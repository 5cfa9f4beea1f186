"""xPos: rotary positions that fade.

The one idea: beside turning, shrink each pair's product a little with the distance, so that far keys oscillate less and
attention stays stable beyond the trained length. Paper: Sun et al. 2022 (arXiv:2212.10554), eq. 10 to 12.
"""

import torch
from torch import Tensor, nn

from nexus.layers.positional.rope import RotaryEmbedding

GAMMA = 0.4  # section 2.2 and appendix: keeps the slowest fading pair at 0.4 / 1.4


class XPos(nn.Module):
    """Cosines and sines for queries, and others for keys; use them with ``apply_rotary``.

    Args:
        head_dim: channels of one head, even. theta: as in :class:`RotaryEmbedding`.
        scale_base: distance over which the pair with factor zeta shrinks by zeta.
    """

    def __init__(self, head_dim: int, theta: float = 10_000.0, scale_base: float = 512.0) -> None:
        super().__init__()
        self.rotary = RotaryEmbedding(head_dim, theta)
        self.scale_base = scale_base

    def zeta(self, device: torch.device | None = None) -> Tensor:
        """(D / 2,) how much each pair keeps over ``scale_base`` positions."""
        width = self.rotary.head_dim
        return (torch.arange(0, width, 2, device=device, dtype=torch.float64) / width + GAMMA) / (1 + GAMMA)

    def forward(
        self, positions: Tensor, dtype: torch.dtype = torch.float32, centre: int | None = None
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """(cos, sin) of queries and of keys at ``positions`` (B, T), each (B, 1, T, head_dim).

        Args:
            centre: position whose factor is 1. Products do not depend on it, but keys and queries grow apart from it as
                a power, so it should lie in the text: the middle if None. A cache needs a fixed one.
        """
        centre = (int(positions.max()) + 1) // 2 if centre is None else centre
        power = (positions - centre).double()[:, None, :, None] / self.scale_base
        scale = self.zeta(positions.device) ** power
        scale = torch.cat((scale, scale), dim=-1)
        cos, sin = self.rotary(positions, dtype)
        grow, fade = scale.to(dtype), (1 / scale).to(dtype)
        return (cos * grow, sin * grow), (cos * fade, sin * fade)
