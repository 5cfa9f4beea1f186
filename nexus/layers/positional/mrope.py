"""Multimodal RoPE (M-RoPE).

The one idea: a position has three numbers, time, row and column; some pairs of channels turn by each. For text all
three are equal, and it is plain RoPE. Paper: Wang et al. 2024, Qwen2-VL (arXiv:2409.12191), section 2.1.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nexus.layers.positional.rope import RotaryEmbedding


class MRoPE(nn.Module):
    """Cosines and sines for three-part positions; use them with ``apply_rotary``.

    Args:
        head_dim: channels of one head, even.
        sections: pairs that turn by time, row and column; their sum is ``head_dim / 2``.
        theta: as in :class:`RotaryEmbedding`.
    """

    def __init__(self, head_dim: int, sections: Sequence[int] = (16, 24, 24), theta: float = 10_000.0) -> None:
        super().__init__()
        if len(sections) != 3 or 2 * sum(sections) != head_dim:
            raise ValueError(f"sections={tuple(sections)}: need three that add up to head_dim / 2 = {head_dim / 2:g}")
        self.rotary = RotaryEmbedding(head_dim, theta)
        self.sections = tuple(sections)

    def forward(self, positions: Tensor, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        """Angles of ``positions`` (3, B, T) as ``cos, sin``, each (B, 1, T, head_dim)."""
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        part = torch.arange(3).repeat_interleave(torch.tensor(self.sections))  # which number turns each pair
        angle = positions[part].movedim(0, -1).unsqueeze(1).to(wide) * self.rotary.inv_freq.to(wide)
        cos, sin = angle.cos().to(dtype), angle.sin().to(dtype)
        return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)


def multimodal_positions(
    kinds: Sequence[int], grids: Sequence[tuple[int, int, int]], merge: int = 2, count_time: bool = False
) -> Tensor:
    """Positions (3, T) of one text with pictures and films.

    Args:
        kinds: of each token: 0 for text, other numbers for vision; each run of one of them is one grid.
        grids: (time, height, width) in patches, in the order of the runs.
        merge: patches to a side that make one token.
        count_time: what follows a film goes on behind the largest of its positions, time included, as the paper says;
            else behind its longer side, as transformers 5 does. For pictures both are the same.
    """
    parts: list[Tensor] = []
    at, start, used = 0, 0, 0
    while start < len(kinds):
        end = start
        while end < len(kinds) and kinds[end] == kinds[start]:
            end += 1
        if kinds[start] == 0:
            parts.append((torch.arange(end - start) + at).expand(3, -1))
            at += end - start
        else:
            time, height, width = grids[used]
            sides = time, height // merge, width // merge
            if (tokens := math.prod(sides)) != end - start:
                raise ValueError(f"grids[{used}]={grids[used]}: makes {tokens} tokens, its run has {end - start}")
            parts.append(torch.stack(torch.meshgrid(*map(torch.arange, sides), indexing="ij")).flatten(1) + at)
            at, used = at + max(sides if count_time else sides[1:]), used + 1
        start = end
    return torch.cat(parts, dim=1) if parts else torch.zeros(3, 0, dtype=torch.long)
