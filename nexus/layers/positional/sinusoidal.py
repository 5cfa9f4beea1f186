"""Sinusoidal position encoding.

The one idea: a position is a row of clock hands, from fast to slow; moving on by k turns each hand by a fixed angle, so
a shift is a linear map. Paper: Vaswani et al. 2017 (arXiv:1706.03762), section 3.5. Paper and code: the paper
interleaves sine and cosine, the authors' tensor2tensor and diffusion models put all sines first, and tensor2tensor
spaces the wave lengths so that the last is the full period (``shift=1``); both are selectable.
"""

import torch
from torch import Tensor, nn

LAYOUTS = ("interleaved", "sin_cos", "cos_sin")


class SinusoidalEncoding(nn.Module):
    """Encodings of positions, whole or not; no parameters.

    Args:
        d_model: channels; an odd one gets a last channel of zeros.
        period: the longest wave is 2 pi times this.
        layout: "interleaved" (the paper), "sin_cos" or "cos_sin" (all of one first).
        shift: 0 for wave lengths ``period^(2i / d)`` (the paper), 1 to reach the period at the last one.
    """

    def __init__(self, d_model: int, period: float = 10_000.0, layout: str = "interleaved", shift: float = 0.0) -> None:
        super().__init__()
        if layout not in LAYOUTS:
            raise ValueError(f"layout={layout!r}: is no layout; use one of {', '.join(LAYOUTS)}")
        if d_model < 2 or d_model // 2 <= shift:
            raise ValueError(f"d_model={d_model}: too narrow for a wave with shift={shift}; use 4 or more")
        self.d_model, self.period, self.layout, self.shift = d_model, period, layout, shift

    def frequencies(self, device: torch.device | None = None) -> Tensor:
        """Angle per step of each pair (D / 2,), in float64."""
        pairs = self.d_model // 2
        exponent = torch.arange(pairs, dtype=torch.float64, device=device) / (pairs - self.shift)
        return torch.as_tensor(self.period, dtype=torch.float64) ** -exponent

    def forward(self, positions: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Encode ``positions`` (...) as (..., D)."""
        angle = positions.double().unsqueeze(-1) * self.frequencies(positions.device)
        sin, cos = angle.sin().to(dtype), angle.cos().to(dtype)
        pair = (cos, sin) if self.layout == "cos_sin" else (sin, cos)
        both = torch.stack(pair, dim=-1).flatten(-2) if self.layout == "interleaved" else torch.cat(pair, dim=-1)
        return both if self.d_model % 2 == 0 else nn.functional.pad(both, (0, 1))

    def shift_matrix(self, steps: float) -> Tensor:
        """The linear map (D, D), float64, with ``encode(p + steps) = shift_matrix(steps) @ encode(p)``, interleaved."""
        angle = steps * self.frequencies()
        cos, sin = angle.cos(), angle.sin()
        turns = torch.stack((torch.stack((cos, sin), -1), torch.stack((-sin, cos), -1)), -2)
        return torch.block_diag(*turns)
