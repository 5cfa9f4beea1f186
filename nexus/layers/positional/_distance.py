"""What the relative encodings share: distances, and picking a table's column by distance."""

import torch
from torch import Tensor


def positions(length: int, keys: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Positions (T,) and (K,) of queries and keys; the last query stands at the last key."""
    key = torch.arange(keys, device=device)
    return key[keys - length :], key


def distances(length: int, keys: int, device: torch.device | None = None) -> Tensor:
    """(T, K) query position minus key position: positive for keys in the past."""
    query, key = positions(length, keys, device)
    return query[:, None] - key


def pick(table: Tensor, index: Tensor) -> Tensor:
    """Entries ``index`` (T, K) of the rows of ``table`` (B, H, T, N)."""
    return table.gather(-1, index.expand(*table.shape[:-1], -1))
