"""Rows of different length in one batch: ids padded on the left, states taken apart, copied and put together.

The one idea: a state is nothing but tensors with one row a text, so rows that were read apart can go on together;
caches of different length are filled up on the left with slots that hold nothing.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from nexus.core.lm_state import LayerState, LMState
from nexus.core.memory import MemoryState
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


def batches(order: Sequence[int], lengths: Sequence[int], tokens: int, rows: int) -> Iterator[list[int]]:
    """Cut ``order``, indices into ``lengths``, into batches.

    Args:
        tokens: bound on rows times longest length of a batch; at least one row goes in.
        rows: bound on the rows of a batch.
    """
    batch: list[int] = []
    longest = 0
    for i in order:
        longest = max(longest, lengths[i])
        if batch and (len(batch) >= rows or (len(batch) + 1) * longest > tokens):
            yield batch
            batch, longest = [], lengths[i]
        batch.append(i)
    if batch:
        yield batch


def families(rows: Sequence[Sequence[int]], least: int) -> list[tuple[int, list[int]]]:
    """Rows that begin alike: for each family the number of first ids its members share, and their indices.

    At least ``least`` ids make a family, and at least one of each member is left over; other rows are in families of
    their own, which share 0.
    """
    lists = [list(row) for row in rows]
    order = sorted(range(len(lists)), key=lists.__getitem__)  # in dictionary order families stand together
    found, start = [], 0
    for end in range(1, len(order) + 1):
        if end < len(order) and _common(lists[order[start]], lists[order[end]]) >= least:
            continue
        members = order[start:end]
        shared = min(_common(lists[members[0]], lists[members[-1]]), min(len(lists[i]) for i in members) - 1)
        if len(members) > 1 and shared >= least:
            found.append((shared, members))
        else:
            found += [(0, [i]) for i in members]
        start = end
    return found


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many first ids two rows share."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def take_rows(state: LMState, places: Tensor) -> LMState:
    """The state of the rows at ``places`` (indices), copied; bookkeeping that all rows share stays shared."""
    rows = count_rows(state)
    return state.map(lambda t: t if t.shape[0] == 1 < rows else t[places])


def merge(states: Sequence[LMState]) -> LMState:
    """One state of all rows of several, in order; each may have read a different number of tokens.

    A copy, unless there is only one.
    """
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
    if isinstance(first, MemoryState):
        return MemoryState(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))
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
