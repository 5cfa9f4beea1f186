"""States of rows that come and go: as small as what they hold.

The one idea: rows of different length share one cache by padding on the left, so whenever rows leave, the columns that
hold nothing for any row that is left can go; a batch that never empties then stays as large as its longest row.
"""

from dataclasses import replace

import torch
from torch import Tensor

from nexus.core.lm_state import LayerState, LMState
from nexus.inference.batching import count_rows, merge, take_rows
from nexus.layers.attention import AttentionState
from nexus.layers.attention.visibility import EMPTY

EVERYTHING = 0  # the window of layers whose caches grow


def join(batch: LMState | None, row: LMState) -> LMState:
    """The batch with one more row behind the others; both states are used up."""
    return row if batch is None else merge([batch, row])


def leave(batch: LMState, stay: list[int]) -> LMState | None:
    """The batch with only the rows at these places, None if there are none."""
    if not stay:
        return None
    return trim(take_rows(batch, torch.tensor(stay, device=batch.next_position.device)))


def alone(batch: LMState, place: int) -> LMState:
    """A copy of one row's state."""
    state = leave(batch, [place])
    assert state is not None
    return state


def trim(state: LMState) -> LMState:
    """Without the first columns of growing caches, where these hold nothing for any row."""
    known = state.seen.get(EVERYTHING)
    ragged = state.ragged and count_rows(state) > 1  # padding is on the left: a row alone has none once it is cut off
    if known is None:
        return replace(state, ragged=ragged)
    empty = (known == EMPTY).all(0)
    first = int((~empty).int().argmax()) if not bool(empty.all()) else empty.shape[0]
    layers = tuple(_cut(layer, first) for layer in state.layers)
    return replace(state, layers=layers, seen={**state.seen, EVERYTHING: known[:, first:]}, ragged=ragged)


def compact(state: LMState) -> LMState:
    """An independent copy without spare room, for keeping."""
    grows = EVERYTHING in state.seen
    layers = tuple(_cut(layer, 0) if grows else layer for layer in state.layers)
    return replace(state, layers=layers).map(_copy)


def _cut(layer: LayerState, first: int) -> LayerState:
    if not isinstance(layer, AttentionState):
        return layer
    key, value = layer.key[:, :, first : layer.length], layer.value[:, :, first : layer.length]
    return AttentionState(key, value, layer.length - first)


def _copy(tensor: Tensor) -> Tensor:
    return tensor.clone(memory_format=torch.contiguous_format)
