"""Sparse attention: softmax attention over a pattern of pairs, computed block by block.

The one idea: gather for each block of queries the few blocks of keys that its pattern needs, and mask single pairs
inside; the cost is that of the pattern. Papers: see :mod:`nexus.layers.attention.patterns`.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from nexus.layers.attention.flash import key_mask
from nexus.layers.attention.multi_head import MultiHeadAttention, softmax_attention
from nexus.layers.attention.patterns import Fixed, Global, Pattern, RandomBlocks, Strided, Window

__all__ = ["Fixed", "Global", "Pattern", "RandomBlocks", "SparseAttention", "Strided", "Window", "sparse_attention"]


class SparseAttention(MultiHeadAttention):
    """:class:`MultiHeadAttention` over a pattern.

    Args:
        d_model, n_heads, bias: as in :class:`MultiHeadAttention`.
        pattern: for instance ``Window(256, 256) | Global(4)``; the call's ``causal`` takes the future off it.
        block: queries and keys that are handled together; what suits is about the window's width.
    """

    def __init__(self, d_model: int, n_heads: int, pattern: Pattern, bias: bool = True, block: int = 64) -> None:
        super().__init__(d_model, n_heads, bias)
        self.pattern, self.block = pattern, block

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, bias: Tensor | None, causal: bool) -> Tensor:
        if bias is not None:
            raise ValueError("bias=...: sparse attention takes none; use MultiHeadAttention, or rotary positions")
        if q.shape[-2] != k.shape[-2]:
            raise ValueError(f"{q.shape[-2]} queries, {k.shape[-2]} keys: a pattern is over one text; use as many")
        return sparse_attention(q, k, v, self.pattern, causal, key_mask(mask, len(q), k.shape[-2]), self.block)


def sparse_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    pattern: Pattern,
    causal: bool = False,
    mask: Tensor | None = None,
    block: int = 64,
) -> Tensor:
    """Attention of q, k, v (B, H, T, D) over the pairs of ``pattern``; ``mask`` (B, 1, 1, T) is of keys that exist."""
    length = q.shape[-2]
    q, k, v = (F.pad(t, (0, 0, 0, -length % block)).unflatten(-2, (-1, block)) for t in (q, k, v))
    n_blocks = q.shape[2]
    groups = rows_by_width(pattern, block, n_blocks, causal)
    outputs = []
    for rows, columns in groups:  # rows that need equally many blocks are one batched product
        rows, columns = rows.to(q.device), columns.to(q.device)
        keys, values = (t[:, :, columns].flatten(3, 4) for t in (k, v))  # (B, H, R, n block, D)
        query, key = (_positions(t, block) for t in (rows[:, None], columns))
        seen = pattern.seen(query.unsqueeze(-1), key.unsqueeze(-2))  # (R, block, n block)
        seen = seen & (key < length).unsqueeze(-2)
        if causal:
            seen &= query.unsqueeze(-1) >= key.unsqueeze(-2)
        if mask is not None:
            real = F.pad(mask[:, 0, 0], (0, n_blocks * block - length))
            seen = seen & real[:, key][:, None, :, None]
        outputs.append(softmax_attention(q[:, :, rows], keys, values, seen))
    order = torch.cat([rows for rows, _ in groups]).argsort().to(q.device)
    return torch.cat(outputs, dim=2)[:, :, order].flatten(2, 3)[..., :length, :]


def rows_by_width(pattern: Pattern, block: int, n_blocks: int, causal: bool) -> list[tuple[Tensor, Tensor]]:
    """Block rows (R,) that need the same number n of blocks, and the blocks they need (R, n), for every such n."""
    found: dict[int, tuple[list[int], list[list[int]]]] = {}
    for row in range(n_blocks):
        columns = [c for c in pattern.columns(row, block, n_blocks) if not causal or c <= row] or [row]
        rows, lists = found.setdefault(len(columns), ([], []))
        rows.append(row)
        lists.append(columns)
    return [(torch.tensor(rows), torch.tensor(lists)) for rows, lists in found.values()]


def _positions(blocks: Tensor, block: int) -> Tensor:
    """Positions (R, n block) of the elements of blocks (R, n)."""
    return (blocks.unsqueeze(-1) * block + torch.arange(block, device=blocks.device)).flatten(1)
