"""Attention heads and MLP channels as components that can be scored and switched off.

The one idea: both are columns of a layer's way back into the residual stream (`o_proj` for heads, `down_proj` for
channels). What a component says beyond its mean is the size of its activation around the mean times its columns' norm;
switching it off is feeding those columns their mean. Scores: Wanda (arXiv:2306.11695), Minitron (arXiv:2408.11796);
mean instead of zero: a zero is a value the later layers never see.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from nexus.core.files import atomic_file
from nexus.core.state_space import Block, HybridLM
from nexus_final.profiling.probe import Probe

Part = Literal["attention", "mlp"]
Site = tuple[int, Part]  # layer and part: one linear map back into the residual stream
Columns = Mapping[Site, Tensor]
KEPT = 1  # the first token of a row is left alone: all heads rest on it, so its activations are unlike all others


def way_back(model: HybridLM, site: Site) -> nn.Linear:
    """The linear map whose input columns are this site's components."""
    block = model.backbone.blocks[site[0]]
    assert isinstance(block, Block)
    linear: object = block.mixer.o_proj if site[1] == "attention" else block.mlp.down_proj
    assert isinstance(linear, nn.Linear)
    return linear


def sites(model: HybridLM) -> list[Site]:
    """All sites, from the first layer up."""
    parts: tuple[Part, Part] = ("attention", "mlp")
    return [(layer, part) for layer in range(model.config.n_layers) for part in parts]


@dataclass(frozen=True)
class Calibration:
    """What one pass over text says about every component.

    Attributes:
        influence: (L,) block influence, 1 - mean cos(input, output) (arXiv:2403.03853, eq. 1).
        heads: (L, H) size of each head's contribution around its mean, as a share of the residual stream's size.
        channels: (L, F) the same for each MLP channel.
        means: mean input of each site's linear map.
    """

    influence: Tensor
    heads: Tensor
    channels: Tensor
    means: Mapping[Site, Tensor]

    def save(self, path: Path) -> None:
        """Write one safetensors file, whole or not at all."""
        tensors = {"influence": self.influence, "heads": self.heads, "channels": self.channels}
        tensors |= {f"mean.{layer}.{part}": mean for (layer, part), mean in self.means.items()}
        with atomic_file(path) as temporary:
            save_file({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, str(temporary))

    @classmethod
    def load(cls, path: Path, device: torch.device) -> Calibration:
        """Read what :meth:`save` wrote."""
        tensors = load_file(str(path), device=str(device))
        means: dict[Site, Tensor] = {}
        for name, tensor in tensors.items():
            kind, _, rest = name.partition(".")
            if kind == "mean":
                layer, part = rest.split(".")
                means[int(layer), "attention" if part == "attention" else "mlp"] = tensor
        return cls(tensors["influence"], tensors["heads"], tensors["channels"], means)


@torch.no_grad()
def calibrate(probe: Probe) -> Calibration:
    """Score every component from one full pass over the probe's text."""
    size = probe.model.config.head_dim
    seen = {site: _Moments(size if site[1] == "attention" else 0) for site in sites(probe.model)}
    with ExitStack() as stack:
        for site, moments in seen.items():
            stack.callback(way_back(probe.model, site).register_forward_pre_hook(moments.add).remove)
        last = probe.start()
    streams = [*probe.layer_inputs(), last]
    # The median, because a few tokens carry activations hundreds of times as large as all others.
    scale = torch.stack([stream[:, KEPT:].norm(dim=-1).median() for stream in streams[:-1]])
    cosines = [torch.cosine_similarity(a[:, KEPT:], b[:, KEPT:], dim=-1).mean() for a, b in pairwise(streams)]
    layers = range(probe.model.config.n_layers)
    heads = [_head_sizes(way_back(probe.model, (i, "attention")), seen[i, "attention"]) for i in layers]
    channels = [_channel_sizes(way_back(probe.model, (i, "mlp")), seen[i, "mlp"]) for i in layers]
    return Calibration(
        influence=1 - torch.stack(cosines),
        heads=torch.stack(heads) / scale[:, None],
        channels=torch.stack(channels) / scale[:, None],
        means={site: moments.mean for site, moments in seen.items()},
    )


class _Moments:
    """Mean, and moments around it, of the inputs of one linear map during one pass."""

    mean: Tensor  # (columns,)
    variance: Tensor  # (columns,)
    covariance: Tensor  # (H, size, size), of each head's columns; empty for an MLP

    def __init__(self, head_dim: int) -> None:
        self.head_dim = head_dim

    def add(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        rows = args[0][:, KEPT:].flatten(0, 1)
        self.mean = rows.mean(0)
        centred = rows - self.mean
        self.variance = centred.pow(2).mean(0)
        if self.head_dim:
            z = centred.unflatten(-1, (-1, self.head_dim)).transpose(0, 1)  # (H, N, size)
            self.covariance = z.transpose(1, 2) @ z / z.shape[1]


def _head_sizes(linear: nn.Linear, moments: _Moments) -> Tensor:
    """Root mean square over tokens of |W_h (z_h - mean)| for each head: trace(W_h C_h W_h') under the root."""
    weight = linear.weight.unflatten(-1, (-1, moments.head_dim)).permute(1, 0, 2)  # (H, D, size)
    return ((weight @ moments.covariance) * weight).sum((1, 2)).clamp(min=0).sqrt()


def _channel_sizes(linear: nn.Linear, moments: _Moments) -> Tensor:
    return moments.variance.sqrt() * linear.weight.norm(dim=0)


def head_columns(model: HybridLM, heads: Sequence[int] | Tensor) -> Tensor:
    """The columns of ``o_proj`` that the given heads of a layer feed."""
    size = model.config.head_dim
    device = model.device
    return (torch.as_tensor(heads, device=device)[:, None] * size + torch.arange(size, device=device)).flatten()


@contextmanager
def switched_off(model: HybridLM, columns: Columns, means: Mapping[Site, Tensor]) -> Iterator[int]:
    """Within the block the given columns carry their means, at all tokens but the first of a row.

    Yields the lowest layer touched: everything below it is as in the full model.
    """
    with ExitStack() as stack:
        for site, index in columns.items():
            hook = _Replace(index, means[site][index])
            stack.callback(way_back(model, site).register_forward_pre_hook(hook).remove)
        yield min(layer for layer, _ in columns)


class _Replace:
    def __init__(self, index: Tensor, values: Tensor) -> None:
        self.index, self.values = index, values

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        changed = args[0].clone()
        changed[:, KEPT:, self.index] = self.values
        return (changed, *args[1:])
