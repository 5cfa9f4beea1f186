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
WIDEST = 16  # bytes of the largest type of numbers


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
    """An independent copy without spare room, for keeping.

    All of it lies in one piece of memory: many small ones, dropped one by one, would leave as many holes in the heap.
    """
    grows = EVERYTHING in state.seen
    layers = tuple(_cut(layer, 0) if grows else layer for layer in state.layers)
    state, piece = replace(state, layers=layers), _Piece()
    state.map(piece.count)
    return state.map(piece.copy)


class _Piece:
    """Memory for several tensors: first all are counted, then all are copied, in the same order."""

    def __init__(self) -> None:
        self._size = self._at = 0
        self._bytes: Tensor | None = None

    def count(self, tensor: Tensor) -> Tensor:
        self._size += _room(tensor)
        return tensor

    def copy(self, tensor: Tensor) -> Tensor:
        if self._bytes is None:
            self._bytes = torch.empty(self._size, dtype=torch.uint8, device=tensor.device)
        place = self._bytes[self._at : self._at + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
        self._at += _room(tensor)
        return place.copy_(tensor)


def _room(tensor: Tensor) -> int:
    """Bytes, so that what comes behind may be of any type."""
    return -(-tensor.nbytes // WIDEST) * WIDEST


def _cut(layer: LayerState, first: int) -> LayerState:
    if not isinstance(layer, AttentionState):
        return layer
    key, value = layer.key[:, :, first : layer.length], layer.value[:, :, first : layer.length]
    return AttentionState(key, value, layer.length - first)
