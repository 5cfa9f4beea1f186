"""Which keys each query may see, and which of them the cache keeps.

The one idea: give every cached key its position; causality, padding, a sliding window and attention sinks are then one
comparison of positions, made once per call and shared by all layers of the same window. Sinks (the first few tokens,
kept for ever): Xiao et al. 2023 (arXiv:2309.17453).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

EMPTY = -1  # position of padding and of cache slots that hold nothing yet


@dataclass(frozen=True)
class Visibility:
    """What one call of attention sees.

    Attributes:
        mask: (B or 1, 1, T, K) True where a query may look (or a number to add to its score: 0 or minus infinity), over
            [cached | new] keys; None if ``causal`` says it all.
        causal: plain causal attention over new tokens only.
        keep: columns of [cached | new] keys that the cache keeps, (K',) or (B, K'); None keeps all.
        positions: (B or 1, K') positions of the kept keys, for the next call.
        slot: (B or 1, 1) where in the cache the one new key goes, see :func:`look_once`; None puts new keys behind it.
    """

    mask: Tensor | None
    causal: bool
    keep: Tensor | None
    positions: Tensor
    slot: Tensor | None = None


def empty_positions(window: int | None, sinks: int, device: torch.device) -> Tensor:
    """Positions (1, K) of a fresh cache: none without a window, ``sinks + window`` empty slots with one."""
    return torch.full((1, 0 if window is None else sinks + window), EMPTY, dtype=torch.long, device=device)


def look(new: Tensor, cached: Tensor | None, window: int | None, sinks: int, ragged: bool = False) -> Visibility:
    """Work out the visibility of new tokens.

    Args:
        new: (B or 1, T) positions of the new tokens, ``EMPTY`` at padding.
        cached: (B or 1, K) positions of the cached keys; None when there is no cache.
        window: how many last positions a query sees, itself included; None is all.
        sinks: how many first positions stay visible beside the window.
        ragged: rows differ (there is padding), so that every comparison has to be made.
    """
    length = new.shape[1]
    if cached is None:
        known = new
    else:
        rows = max(cached.shape[0], new.shape[0])
        known = torch.cat((cached.expand(rows, -1), new.expand(rows, -1)), dim=1)
    nothing_before = known.shape[1] == length
    if not ragged and nothing_before and (window is None or length <= window):
        mask, causal = None, True
    elif not ragged and window is None and length == 1:
        mask, causal = None, False
    else:
        mask, causal = _mask(new, known, window, sinks, ragged).unsqueeze(1), False
    if cached is None or window is None:
        return Visibility(mask, causal, None, known)
    return Visibility(mask, causal, *_kept(known, window, sinks))


def look_once(new: Tensor, cached: Tensor, sinks: int, dtype: torch.dtype) -> Visibility:
    """Visibility of one new token a row, no padding, whose key takes the slot of the oldest: nothing else moves.

    What is overwritten lies outside of the new token's window and of all later ones, so a call that was broken off may
    be made again from the positions before it, and so may any other.

    Args:
        new: (B or 1, 1) positions. cached: (B or 1, K) positions in a windowed cache.
        dtype: of the scores that the mask will be added to.
    """
    rows = max(cached.shape[0], new.shape[0])
    new, cached = new.expand(rows, -1), cached.expand(rows, -1)
    oldest = cached[:, sinks:].argmin(1, keepdim=True) + sinks  # an empty slot, where there is one
    slot = torch.where(new < sinks, new, oldest)
    positions = cached.scatter(1, slot, new)
    mask = torch.zeros_like(positions, dtype=dtype).masked_fill_(positions < 0, float("-inf"))
    return Visibility(mask[:, None, None], False, None, positions, slot)


def _mask(new: Tensor, known: Tensor, window: int | None, sinks: int, ragged: bool) -> Tensor:
    """(B or 1, T, K): a query sees keys that are real, not later than itself, and in its window or a sink."""
    gap = new.unsqueeze(2) - known.unsqueeze(1)
    seen = (gap >= 0) & (known >= 0).unsqueeze(1)
    if window is not None:
        seen &= (gap < window) | (known < sinks).unsqueeze(1)
    if ragged:  # a padded query sees itself: softmax over nothing is not a number
        columns = torch.arange(known.shape[1], device=known.device)
        own = columns[known.shape[1] - new.shape[1] :, None] == columns
        seen |= (new == EMPTY).unsqueeze(2) & own
    return seen


def _kept(known: Tensor, window: int, sinks: int) -> tuple[Tensor, Tensor]:
    """Columns and positions that a windowed cache keeps: one slot per sink, then the last ``window`` keys."""
    first = torch.arange(sinks, device=known.device)
    match = known.unsqueeze(1) == first[:, None]  # (B, sinks, K)
    sink_positions = torch.where(match.any(-1), first, EMPTY)
    columns = known.argsort(dim=1, stable=True)[:, known.shape[1] - window :]  # what is empty comes first
    last = known.gather(1, columns)
    # A sink is seen through its slot only, so that no key is counted twice.
    positions = torch.cat((sink_positions, torch.where(last < sinks, EMPTY, last)), dim=1)
    keep = torch.cat((match.long().argmax(-1), columns), dim=1)
    return (keep[0] if keep.shape[0] == 1 else keep), positions
