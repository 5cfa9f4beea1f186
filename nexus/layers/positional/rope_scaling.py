"""Ways to use RoPE beyond the length it was trained at.

The one idea: turn slower. They differ in which pairs of channels: all alike (linear), the slow ones more by a larger
base (NTK), only those that never made a full turn in training (YaRN, Llama 3), or by searched factors (LongRoPE).
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class RopeScaling:
    """A rule for the angles per step; this one changes nothing.

    Attributes:
        by_length: the angles depend on the length of the text, so they are made at every call.
    """

    by_length: ClassVar[bool] = False

    def frequencies(self, dim: int, theta: float, length: int = 0, device: torch.device | None = None) -> Tensor:
        """Angles per step of ``dim / 2`` pairs, float32; ``length`` is that of the text."""
        return plain_frequencies(dim, theta, device)

    @property
    def magnitude(self) -> float:
        """Factor of the cosines and sines, so its square of the scores."""
        return 1.0


@dataclass(frozen=True)
class LinearScaling(RopeScaling):
    """Positions divided by ``factor``: position interpolation, Chen et al. 2023 (arXiv:2306.15595), eq. 4."""

    factor: float

    def frequencies(self, dim: int, theta: float, length: int = 0, device: torch.device | None = None) -> Tensor:
        return plain_frequencies(dim, theta, device) / self.factor


@dataclass(frozen=True)
class NTKScaling(RopeScaling):
    """A larger base: the slowest pair turns ``factor`` times slower, the fastest as before (arXiv:2309.00071, 3.1)."""

    factor: float

    def frequencies(self, dim: int, theta: float, length: int = 0, device: torch.device | None = None) -> Tensor:
        return plain_frequencies(dim, theta * self.factor ** (dim / (dim - 2)), device)


@dataclass(frozen=True)
class DynamicNTKScaling(RopeScaling):
    """The same with a factor that grows with the text, from the trained length on (arXiv:2309.00071, appendix B)."""

    factor: float
    trained_length: int
    by_length: ClassVar[bool] = True

    def frequencies(self, dim: int, theta: float, length: int = 0, device: torch.device | None = None) -> Tensor:
        ratio = max(length, self.trained_length) / self.trained_length
        return plain_frequencies(dim, theta * (self.factor * ratio - (self.factor - 1)) ** (dim / (dim - 2)), device)


@dataclass(frozen=True)
class YaRNScaling(RopeScaling):
    """Pairs with many turns in training stay, those with less than one are interpolated, between them a ramp.

    Peng et al. 2023 (arXiv:2309.00071), definitions 2 and 3.

    Attributes:
        fast, slow: turns at which the ramp starts and ends (beta and alpha).
        truncate: round the ramp's ends to whole pairs, as the released code does; the paper does not.
        attention: the magnitude; None for ``0.1 log(factor) + 1`` (eq. 22).
    """

    factor: float
    trained_length: int
    fast: float = 32.0
    slow: float = 1.0
    truncate: bool = True
    attention: float | None = None

    def frequencies(self, dim: int, theta: float, length: int = 0, device: torch.device | None = None) -> Tensor:
        low, high = (self._pair(turns, dim, theta) for turns in (self.fast, self.slow))
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, dim - 1)
        pairs = torch.arange(dim // 2, dtype=torch.float32, device=device)
        ramp = ((pairs - low) / (high - low if high > low else 0.001)).clamp(0, 1)
        plain = plain_frequencies(dim, theta, device)
        return plain / self.factor * ramp + plain * (1 - ramp)

    def _pair(self, turns: float, dim: int, theta: float) -> float:
        """The pair that makes so many turns in the trained length."""
        return dim * math.log(self.trained_length / (turns * 2 * math.pi)) / (2 * math.log(theta))

    @property
    def magnitude(self) -> float:
        if self.attention is not None:
            return self.attention
        return 0.1 * math.log(self.factor) + 1 if self.factor > 1 else 1.0


@dataclass(frozen=True)
class Llama3Scaling(RopeScaling):
    """Like YaRN with a ramp over wave lengths and no magnitude (Llama 3.1's released code; no paper gives it)."""

    factor: float = 8.0
    trained_length: int = 8_192
    low: float = 1.0
    high: float = 4.0

    def frequencies(self, dim: int, theta: float, length: int = 0, device: torch.device | None = None) -> Tensor:
        plain = plain_frequencies(dim, theta, device)
        turns = self.trained_length * plain / (2 * math.pi)
        keep = ((turns - self.low) / (self.high - self.low)).clamp(0, 1)
        return plain * (keep + (1 - keep) / self.factor)


@dataclass(frozen=True)
class LongRoPEScaling(RopeScaling):
    """A searched factor for each pair, one row for short texts and one for long. Ding et al. 2024 (arXiv:2402.13753).

    Attributes:
        short, long: factors of the pairs, as many as pairs turn.
        trained_length: texts longer than this use ``long``. factor: length aimed at over the trained one.
    """

    short: tuple[float, ...]
    long: tuple[float, ...]
    trained_length: int
    factor: float
    by_length: ClassVar[bool] = True

    def frequencies(self, dim: int, theta: float, length: int = 0, device: torch.device | None = None) -> Tensor:
        chosen = self.long if length > self.trained_length else self.short
        if len(chosen) != dim // 2:
            raise ValueError(f"LongRoPE has {len(chosen)} factors for {dim // 2} pairs; give one for each pair")
        exponent = torch.arange(0, dim, 2, dtype=torch.float32, device=device) / dim
        return 1.0 / (torch.tensor(chosen, dtype=torch.float32, device=device) * theta**exponent)

    @property
    def magnitude(self) -> float:
        return math.sqrt(1 + math.log(self.factor) / math.log(self.trained_length)) if self.factor > 1 else 1.0


@dataclass(frozen=True)
class ProportionalScaling(RopeScaling):
    """Only the first ``fraction`` of the pairs turn, at the speeds they have in the whole head (Gemma's p-RoPE).

    Barbero et al. 2024 (arXiv:2410.06205). ``RotaryEmbedding(fraction=...)`` instead spreads all speeds over them.
    """

    fraction: float
    factor: float = 1.0

    def frequencies(self, dim: int, theta: float, length: int = 0, device: torch.device | None = None) -> Tensor:
        plain = plain_frequencies(dim, theta, device)
        turning = torch.arange(dim // 2, device=device) < int(self.fraction * dim // 2)
        return plain * turning / self.factor


def plain_frequencies(dim: int, theta: float, device: torch.device | None = None) -> Tensor:
    """``theta^(-2i / dim)``, float32."""
    # 1 / theta^e, not theta^-e: at position 100,000 the last bit matters, and teachers learnt with this one.
    return 1.0 / theta ** (torch.arange(0, dim, 2, dtype=torch.float32, device=device) / max(dim, 1))
