"""What a frozen language model makes of a text: its hidden states at some depths, each averaged over the text.

The one idea: no second model is needed to tell intents apart; the middle of the student knows them already, and running
only the layers up to there costs half an answer's first token. Every token's state is brought to one length before
averaging, because a few tokens carry activations hundreds of times as large as all others, and the first place, on
which all attention rests, is taken by a token that is not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.core.state_space import HybridBackbone, HybridLM
from nexus.inference.batching import pad_left

BATCH_TOKENS = 1_024


class Encoder(Protocol):
    """The part of a tokenizer that is needed; `nexus.inference.text.TextTokenizer` is one."""

    def encode(self, text: str, /) -> list[int]:
        """Ids of a text, without special tokens around it."""


class TextFeatures:
    """Averaged hidden states of texts.

    Args:
        model: any `HybridLM`; it is read, never changed.
        tokenizer: the model's.
        depths: after how many blocks to look: 0 is the embedding, ``n_layers`` the last block.
        max_tokens: of a longer text the first and the last half of these are read; what is asked stands at an end.
        start_id: id of the token put in front.

    Raises:
        ValueError: a depth that the model does not have.
    """

    def __init__(
        self, model: HybridLM, tokenizer: Encoder, depths: Sequence[int], max_tokens: int = 48, start_id: int = 0
    ) -> None:
        n = model.config.n_layers
        if not depths or min(depths) < 0 or max(depths) > n:
            raise ValueError(f"depths={tuple(depths)}: give numbers of blocks from 0 to {n}")
        self.model, self.tokenizer, self.depths = model, tokenizer, tuple(depths)
        self.max_tokens, self.start_id = max_tokens, start_id
        self._prefix = _first_blocks(model, max(depths)) if max(depths) else None

    def ids(self, text: str) -> list[int]:
        """The ids that are read of a text: the start token and both ends."""
        ids = self.tokenizer.encode(text)
        if len(ids) > self.max_tokens:
            head = (self.max_tokens + 1) // 2
            ids = ids[:head] + ids[len(ids) - (self.max_tokens - head) :]
        return [self.start_id, *ids]

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str], advance: Callable[[int], object] | None = None) -> Tensor:
        """Features (N, depths, d_model), float32 on the CPU, whatever way the texts are batched.

        ``advance`` is told after each batch how many texts it held.
        """
        rows = [self.ids(text) for text in texts]
        out = torch.empty(len(rows), len(self.depths), self.model.config.d_model)
        for places in _batches([len(row) for row in rows]):
            out[places] = self._batch([rows[i] for i in places]).float().cpu()
            if advance is not None:
                advance(len(places))
        return out

    def _batch(self, rows: Sequence[Sequence[int]]) -> Tensor:
        ids, mask = pad_left(rows, self.model.device)
        real = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask
        counted = real & (real.cumsum(1) > 1)  # all but the start token
        weight = counted.to(self.model.dtype) / counted.sum(1, keepdim=True).clamp(min=1)
        found: dict[int, Tensor] = {}

        def average(depth: int, x: Tensor) -> None:
            unit = F.rms_norm(x, x.shape[-1:])
            found[depth] = torch.einsum("btd,bt->bd", unit, weight)

        embedded = self.model.embed(ids)
        if 0 in self.depths:
            average(0, embedded)
        if self._prefix is not None:
            wanted = [depth for depth in self.depths if depth]
            hooks = [
                self._prefix.blocks[depth - 1].register_forward_hook(
                    lambda module, args, output, depth=depth: average(depth, output[0])
                )
                for depth in set(wanted)
            ]
            try:
                self._prefix(embedded, None, mask)
            finally:
                for hook in hooks:
                    hook.remove()
        return torch.stack([found[depth] for depth in self.depths], dim=1)


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices in batches of like length, so that little is padded."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _first_blocks(model: HybridLM, count: int) -> HybridBackbone:
    """A backbone of the model's first blocks, the very same modules."""
    config = model.config.replace(n_layers=count, plan=model.config.layers[:count])
    with torch.device("meta"):  # its own weights are thrown away
        prefix = HybridBackbone(config)
    prefix.blocks = nn.ModuleList(list(model.backbone.blocks)[:count])
    prefix.rotary, prefix.window = model.backbone.rotary, model.backbone.window
    prefix.norm = model.backbone.norm
    return prefix.eval()
