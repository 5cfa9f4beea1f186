"""Flash Attention: exact attention without the T x K matrix.

The one idea: go through the keys in tiles and keep, for each query, only a running maximum, a running sum and a running
output; in backward make each tile's weights again from the saved log of the sum. Papers: Dao et al. 2022
(arXiv:2205.14135), algorithms 1 to 4; Dao 2023 (arXiv:2307.08691), whose loop order (queries outside) is used here.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nexus.layers.attention.multi_head import MultiHeadAttention

BLOCK = 256  # rows and columns of a tile: large enough for the matrix product, small enough for the cache


class FlashAttention(MultiHeadAttention):
    """:class:`MultiHeadAttention` in memory linear in the length.

    Masks are masks of keys, (B, 1, 1, K); biases have as many numbers as the matrix that is never made, so they are
    refused.
    """

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, bias: Tensor | None, causal: bool) -> Tensor:
        if bias is not None:
            raise ValueError("bias=...: Flash Attention takes none; use MultiHeadAttention, or rotary positions")
        return flash_attention(q, k, v, key_mask(mask, len(q), k.shape[-2]), causal)


def key_mask(mask: Tensor | None, batch: int, keys: int) -> Tensor | None:
    """A mask that is the same for all heads and queries, as (B, 1, 1, K)."""
    if mask is None:
        return None
    if mask.dim() == 4 and mask.shape[1:3] == (1, 1):
        return mask.expand(batch, 1, 1, keys)
    raise ValueError(f"mask of shape {tuple(mask.shape)}: only keys can be masked here; use the shape (B, 1, 1, K)")


def flash_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, causal: bool = False, block: int = BLOCK
) -> Tensor:
    """``softmax(q k^T / sqrt(d)) v``, tile by tile.

    Args:
        q: (B, H, T, D). k, v: (B, H, K, D).
        mask: (B, 1, 1, K) True for the keys that exist.
        causal: as in :class:`MultiHeadAttention`.
        block: rows and columns of a tile.
    """
    return _Flash.apply(q, k, v, mask, causal, block)


class _Flash(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool, block: int) -> Tensor:
        out, log_sum = flash_forward(q, k, v, mask, causal, block)
        ctx.save_for_backward(q, k, v, mask, out, log_sum)
        ctx.causal, ctx.block = causal, block
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, mask, out, log_sum = ctx.saved_tensors
        found = flash_backward(grads[0], q, k, v, mask, out, log_sum, ctx.causal, ctx.block)
        return *found, None, None, None


def flash_forward(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool, block: int = BLOCK
) -> tuple[Tensor, Tensor]:
    """Output, and the log of each query's sum (B, H, T, 1): plus infinity for a query that sees nothing."""
    outputs, sums = [], []
    for start, q_tile in _tiles(q, block):
        top = q_tile.new_full((*q_tile.shape[:-1], 1), float("-inf"))
        total, y = torch.zeros_like(top), torch.zeros_like(q_tile)
        for first, k_tile in _tiles(k, block):
            reach = _reach(q, k, start) if causal else None
            if reach is not None and first >= reach + q_tile.shape[-2]:
                break  # all later keys lie in the future of the whole tile
            scores = _scores(q_tile, k_tile, mask, reach, first)
            new_top = torch.maximum(top, scores.amax(-1, keepdim=True))
            safe = new_top.masked_fill(new_top == float("-inf"), 0.0)
            weights = scores.sub_(safe).exp_()
            shrink = (top - safe).exp()  # what has been summed was relative to the old maximum
            total = total * shrink + weights.sum(-1, keepdim=True)
            y = torch.addcmul(weights @ v[..., first : first + block, :], y, shrink)
            top = new_top
        blind = total == 0
        outputs.append(y / total.masked_fill(blind, 1.0))
        sums.append((top + total.log()).masked_fill(blind, float("inf")))
    return torch.cat(outputs, dim=-2), torch.cat(sums, dim=-2)


def flash_backward(
    dout: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    out: Tensor,
    log_sum: Tensor,
    causal: bool,
    block: int = BLOCK,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v; the weights are made again, one tile at a time (algorithm 4)."""
    dq, dk, dv = torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v)
    along = (dout * out).sum(-1, keepdim=True)  # D: what softmax takes off, without the weights
    scale = q.shape[-1] ** -0.5
    for start, q_tile in _tiles(q, block):
        rows = slice(start, start + block)
        for first, k_tile in _tiles(k, block):
            reach = _reach(q, k, start) if causal else None
            if reach is not None and first >= reach + q_tile.shape[-2]:
                break
            columns = slice(first, first + block)
            weights = _scores(q_tile, k_tile, mask, reach, first).sub_(log_sum[..., rows, :]).exp_()
            dv[..., columns, :] += weights.mT @ dout[..., rows, :]
            dscores = (dout[..., rows, :] @ v[..., columns, :].mT).sub_(along[..., rows, :])
            dscores.mul_(weights).mul_(scale)
            dq[..., rows, :] += dscores @ k_tile
            dk[..., columns, :] += dscores.mT @ q_tile
    return dq, dk, dv


def _tiles(x: Tensor, block: int) -> list[tuple[int, Tensor]]:
    """Start and content of the tiles of (B, H, T, D) along T."""
    return [(i * block, tile) for i, tile in enumerate(x.split(block, dim=-2))]


def _reach(q: Tensor, k: Tensor, start: int) -> int:
    """The last key that the query at ``start`` sees; the last query stands at the last key."""
    return start + k.shape[-2] - q.shape[-2]


def _scores(q: Tensor, k: Tensor, mask: Tensor | None, reach: int | None, first: int) -> Tensor:
    """One tile of scores, minus infinity where a query may not look; ``first`` is the tile's first key."""
    scores = (q * q.shape[-1] ** -0.5) @ k.mT
    if mask is not None:
        scores.masked_fill_(~mask[..., first : first + k.shape[-2]], float("-inf"))
    if reach is not None and first + k.shape[-2] > reach + 1:
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu_(reach - first + 1)
        scores.masked_fill_(future, float("-inf"))
    return scores
