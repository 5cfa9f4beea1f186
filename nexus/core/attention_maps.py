"""Who looks at whom, in any module: attention weights caught where they are used.

The one idea: fused attention never writes its weights down, but all of it goes through one function of torch. While a
module runs, that function is watched and the weights are computed a second time, the plain way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

__all__ = ["attention_maps"]


@torch.no_grad()
def attention_maps(module: nn.Module, *inputs: Any, **options: Any) -> list[Tensor]:
    """Call ``module(*inputs, **options)`` and return the weights of every attention in it, in the order of use.

    ::

        maps = attention_maps(model, ids)                        # each (B, H, T, S), rows sum to 1
        HierarchicalVisualizer().draw_attention(maps[-1][0], "attention.png")

    Attention with persistent tokens or a cache has these in its columns first. A row that sees nothing is zeros.

    Raises:
        ValueError: nothing in the module attends (through ``torch.nn.functional.scaled_dot_product_attention``).
    """
    with _Watch() as watch:
        module(*inputs, **options)
    if not watch.maps:
        raise ValueError(
            f"module: no attention was used in {type(module).__name__}; give one with attention layers, not compiled"
        )
    return watch.maps


class _Watch(TorchFunctionMode):
    """Lets everything pass and keeps the weights of attention."""

    def __init__(self) -> None:
        super().__init__()
        self.maps: list[Tensor] = []

    def __torch_function__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is F.scaled_dot_product_attention:
            self.maps.append(_weights(*args, **(kwargs or {})))
        return func(*args, **(kwargs or {}))


def _weights(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """The weights (..., T, S) that torch's function uses with these arguments, before dropout."""
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], dim=-3)
    scores = (query @ key.mT).float() * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, float("-inf"))
    elif attn_mask is not None:
        scores = scores + attn_mask
    return scores.softmax(-1).nan_to_num()
