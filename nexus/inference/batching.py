"""Rows of different length in one batch: ids padded on the left, states taken apart, copied and put together.

The one idea: a state is nothing but tensors with one row a text, so rows that were read apart can go on together;
caches of different length are filled up on the left with slots that hold nothing.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from nexus.core.lm_state import LayerState, LMState
from nexus.layers.attention import AttentionState
from nexus.layers.attention.visibility import EMPTY
from nexus.layers.ssm import Mamba2State, WindowedMamba2State


def pad_left(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Rows of ids as one tensor (B, T) and the mask of its real tokens, None if all are real."""
    longest = max(map(len, rows))
    ids = torch.tensor([[0] * (longest - len(row)) + list(row) for row in rows], device=device)
    if all(len(row) == longest for row in rows):
        return ids, None
    lengths = torch.tensor([len(row) for row in rows], device=device)
    return ids, torch.arange(longest, device=device) >= longest - lengths[:, None]


def batches(lengths: Sequence[int], new: int, tokens: int, rows: int) -> Iterator[list[int]]:
    """Indices of prompts in batches, the longest first.

    Args:
        lengths: of the prompts. new: tokens to come for each.
        tokens: bound on rows times (longest prompt + ``new``) of a batch; at least one row goes in.
        rows: bound on the rows of a batch.
    """
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and (len(batch) >= rows or (len(batch) + 1) * (lengths[batch[0]] + new) > tokens):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def shared_prefix(rows: Sequence[Sequence[int]]) -> int:
    """How many first ids all rows have in common, at least one of each left over; 0 for fewer than two rows."""
    if len(rows) < 2:
        return 0
    lists = [list(row) for row in rows]
    first, last = min(lists), max(lists)  # all others lie between them in dictionary order
    common = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return min(common, min(map(len, rows)) - 1)


def take_rows(state: LMState, places: Tensor) -> LMState:
    """The state of the rows at ``places`` (indices), copied; bookkeeping that all rows share stays shared."""
    rows = count_rows(state)
    return state.map(lambda t: t if t.shape[0] == 1 < rows else t[places])


def copies(state: LMState, rows: int) -> LMState:
    """A state of one row, copied to ``rows`` rows."""
    return state.map(lambda t: t.repeat(rows, *[1] * (t.dim() - 1)))


def merge(states: Sequence[LMState]) -> LMState:
    """One state of all rows of several, in order; each may have read a different number of tokens."""
    if len(states) == 1:
        return states[0]
    counts = [count_rows(state) for state in states]
    layers = tuple(_merge_layer(parts) for parts in zip(*(state.layers for state in states), strict=True))
    positions = torch.cat([state.next_position.expand(n) for state, n in zip(states, counts, strict=True)])
    seen = {}
    for window in states[0].seen:
        slots = max(state.seen[window].shape[1] for state in states)
        known = [state.seen[window].expand(n, -1) for state, n in zip(states, counts, strict=True)]
        seen[window] = torch.cat([F.pad(k, (slots - k.shape[1], 0), value=EMPTY) for k in known])
    return LMState(layers, positions, seen, ragged=True)


def count_rows(state: LMState) -> int:
    """Number of texts that a state is of."""
    layer = state.layers[0]
    if isinstance(layer, WindowedMamba2State):
        layer = layer.mamba
    return layer[0].shape[0]


def _merge_layer(parts: Sequence[LayerState]) -> LayerState:
    first = parts[0]
    if isinstance(first, AttentionState):
        return _merge_caches([part for part in parts if isinstance(part, AttentionState)])
    if isinstance(first, Mamba2State):
        return Mamba2State(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))
    pairs = [part for part in parts if isinstance(part, WindowedMamba2State)]
    mamba = _merge_layer([pair.mamba for pair in pairs])
    window = None if first.window is None else _merge_caches([pair.window for pair in pairs if pair.window])
    assert isinstance(mamba, Mamba2State)
    return WindowedMamba2State(mamba, window)


def _merge_caches(parts: Sequence[AttentionState]) -> AttentionState:
    length = max(part.length for part in parts)

    def filled(cache: Tensor, own: int) -> Tensor:
        return F.pad(cache[:, :, :own], (0, 0, length - own, 0))

    key = torch.cat([filled(part.key, part.length) for part in parts])
    value = torch.cat([filled(part.value, part.length) for part in parts])
    return AttentionState(key, value, length)
