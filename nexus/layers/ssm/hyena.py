"""Hyena: long convolutions with implicit filters, and products between them.

The one idea: a filter as long as the text needs no parameter for each lag if a small network makes it from the lag;
with element-wise gates between such convolutions they stand in for attention. Paper: Poli et al. 2023
(arXiv:2302.10866), definition 3.1, section 3.3 and appendix D.3.
"""

import math
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.layers.ssm.long_conv import fft_conv


class HyenaState(NamedTuple):
    """What one layer carries over. There is no recurrence: it grows with the text, as a cache of keys does."""

    short: Tensor  # (B, 2, (order + 1) d_model), the last inputs of the short convolution
    past: tuple[Tensor, ...]  # for each long convolution its inputs so far, (B, t, d_model)


class ImplicitFilter(nn.Module):
    """Filters (channels, length) from a network over the lag, fading at a rate of its own for each channel (eq. 7).

    Args:
        channels: filters. max_length: lag at which time is 1. width, depth: of the network. bands: frequencies that the
            lag is turned into. frequency: of the sines at the start.
    """

    features: Tensor
    rate: Tensor

    def __init__(
        self, channels: int, max_length: int, width: int = 64, depth: int = 2, bands: int = 1, frequency: float = 1.0
    ) -> None:
        super().__init__()
        self.max_length = max_length
        sizes = [1 + 2 * bands, *[width] * (depth + 1)]
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(sizes))
        self.last = nn.Linear(width, channels, bias=False)
        self.frequency = nn.Parameter(torch.full((width,), frequency))  # shared by all layers
        lag = torch.arange(max_length, dtype=torch.float64)
        angle = 2 * math.pi * lag[:, None] / max_length * torch.linspace(1e-4, bands - 1, bands, dtype=torch.float64)
        time = torch.linspace(0, 1, max_length, dtype=torch.float64)[:, None]
        features = torch.cat((time, angle.cos(), -angle.sin()), dim=-1)
        self.register_buffer("features", features.float(), persistent=False)
        slow, fast = (-math.log(1e-2) / share for share in (1.5, 0.3))  # down to 1 % after so many lengths
        self.register_buffer("rate", torch.linspace(slow, fast, channels), persistent=False)

    def forward(self, length: int) -> Tensor:
        """The first ``length`` values of each filter.

        Raises:
            ValueError: longer than ``max_length``.
        """
        if length > self.max_length:
            raise ValueError(f"max_length={self.max_length}: the text has {length} tokens; build with a larger one")
        x = self.features[:length]
        for layer in self.layers:
            x = torch.sin(self.frequency * layer(x))
        return (self.last(x) * torch.exp(-self.features[:length, :1] * self.rate)).mT


class Hyena(nn.Module):
    """Hyena operator, (B, T, d_model) to (B, T, d_model).

    Args:
        d_model: width in and out. max_length: longest text. order: gates, of which all but one are followed by a long
            convolution. filter_width, filter_depth, bands: of :class:`ImplicitFilter`.
    """

    def __init__(
        self,
        d_model: int,
        max_length: int,
        order: int = 2,
        filter_width: int = 64,
        filter_depth: int = 2,
        bands: int = 1,
    ) -> None:
        super().__init__()
        if order < 2:
            raise ValueError(f"order={order}: must be 2 or more; 2 is one long convolution between two gates")
        self.d_model, self.order = d_model, order
        self.in_proj = nn.Linear(d_model, (order + 1) * d_model)
        self.short_weight = nn.Parameter(torch.empty((order + 1) * d_model, 3).uniform_(-(3**-0.5), 3**-0.5))
        self.short_bias = nn.Parameter(torch.zeros((order + 1) * d_model))
        self.filter = ImplicitFilter((order - 1) * d_model, max_length, filter_width, filter_depth, bands)
        self.skip = nn.Parameter(torch.randn((order - 1) * d_model))
        self.out_proj = nn.Linear(d_model, d_model)

    def init_state(self, batch_size: int) -> HyenaState:
        """The state before the first token."""
        like = self.short_weight
        past = tuple(like.new_zeros(batch_size, 0, self.d_model) for _ in range(self.order - 1))
        return HyenaState(like.new_zeros(batch_size, 2, len(like)), past)

    def forward(self, u: Tensor, state: HyenaState | None = None) -> tuple[Tensor, HyenaState | None]:
        """Without a state it starts afresh and returns none."""
        before = self.init_state(u.shape[0]) if state is None else state
        padded = torch.cat((before.short, self.in_proj(u)), dim=1)
        *gates, v = self._short(padded).split(self.d_model, dim=-1)
        length = before.past[0].shape[1] + u.shape[1]
        filters = self.filter(length).split(self.d_model)
        past = []
        for gate, kernel, skip, seen in zip(
            reversed(gates[1:]), filters, self.skip.split(self.d_model), before.past, strict=True
        ):
            v = v * gate
            past.append(torch.cat((seen, v), dim=1))
            v = self._long(past[-1], kernel, u.shape[1]) + skip * v
        y = self.out_proj(v * gates[0])
        return y, None if state is None else HyenaState(padded[:, u.shape[1] :], tuple(past))

    def _short(self, padded: Tensor) -> Tensor:
        """Causal depthwise convolution over three tokens; ``padded`` has two more in front."""
        return F.conv1d(padded.mT, self.short_weight.unsqueeze(1), self.short_bias, groups=len(self.short_bias)).mT

    @staticmethod
    def _long(x: Tensor, kernel: Tensor, new: int) -> Tensor:
        """The last ``new`` outputs of a long convolution: one product where it is one."""
        if new == 1:
            return (x * kernel.flip(-1).mT).sum(1, keepdim=True)
        return fft_conv(x, kernel)[:, -new:]
