"""One block of a teacher's sparse distributions as one small file.

The one idea: probabilities as 16-bit logarithms (relative error at most 2.5e-4 from 1 down to e^-32), token ids in two
or three bytes, and the SHA-256 of everything in front, checked before anything is looked at.

Layout: magic, SHA-256 of the rest, length of the header (4 bytes, little-endian), header (JSON), arrays in order.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nexus.core.files import atomic_write_bytes
from nexus.training.sparse_targets import SparseTargets
from nexus_final.errors import UserError

MAGIC = b"NXSHARD1"
_DIGEST = hashlib.sha256().digest_size
_TWO_BYTES = 2**16
_RANGE = 32.0  # nats; what is rarer counts as 0
_STEPS = 2**16 - 1  # this code means 0

Array = NDArray[Any]


def id_bytes(vocab_size: int) -> int:
    """Bytes of one token id."""
    return 2 if vocab_size <= _TWO_BYTES else 3


def bytes_per_token(k: int, samples: int, vocab_size: int) -> int:
    """Bytes of one position: its token, ``k`` head tokens with their probabilities, draws, residual and entropy."""
    return id_bytes(vocab_size) * (1 + k + samples) + 2 * k + 4


def write_shard(path: Path, ids: Tensor, targets: SparseTargets, vocab_size: int, about: Mapping[str, Any]) -> int:
    """Write ``ids`` (B, T) and ``targets`` at (B, T), whole or not at all; returns the bytes written.

    Args:
        about: JSON-ready; comes back from :func:`read_shard`.
    """
    arrays = _encode(ids, targets, vocab_size)
    table = [[name, array.dtype.str, list(array.shape)] for name, array in arrays.items()]
    header = json.dumps({"about": dict(about), "arrays": table}, sort_keys=True).encode()
    body = b"".join([len(header).to_bytes(4, "little"), header, *(a.tobytes() for a in arrays.values())])
    data = MAGIC + hashlib.sha256(body).digest() + body
    atomic_write_bytes(path, data)
    return len(data)


def read_shard(path: Path) -> tuple[Tensor, SparseTargets, dict[str, Any]]:
    """Return ids (B, T) int64, targets at (B, T), and what was written about them.

    Raises:
        UserError: the file is missing, damaged, or not a shard; names it, and the cure.
    """
    body = _verified(path)
    length = int.from_bytes(body[:4], "little")
    header = json.loads(bytes(body[4 : 4 + length]))
    arrays: dict[str, Array] = {}
    offset = 4 + length
    for name, kind, shape in header["arrays"]:
        count = int(np.prod(shape))
        arrays[name] = np.frombuffer(body, kind, count, offset).reshape(shape)
        offset += arrays[name].nbytes
    return *_decode(arrays), header["about"]


def shard_fault(path: Path) -> str | None:
    """None for a whole shard, else what is wrong with it."""
    try:
        _verified(path)
    except UserError as error:
        return error.what
    return None


def _verified(path: Path) -> memoryview:
    cure = "run the extraction again: it writes this block anew and keeps the others"
    try:
        data = memoryview(path.read_bytes())
    except FileNotFoundError:
        raise UserError(str(path), "the block is missing", cure) from None
    start = len(MAGIC) + _DIGEST
    if len(data) < start or data[: len(MAGIC)] != MAGIC:
        raise UserError(str(path), "is cut short or not a block of a teacher's distributions", cure)
    if hashlib.sha256(data[start:]).digest() != data[len(MAGIC) : start]:
        raise UserError(str(path), "is damaged (its SHA-256 differs from the one it carries)", cure)
    return data[start:]


def _encode(ids: Tensor, targets: SparseTargets, vocab_size: int) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    for name, tensor in (("ids", ids), ("head_ids", targets.head_ids), ("tail_ids", targets.tail_ids)):
        whole = tensor.cpu().numpy()
        arrays[name] = whole.astype("<u2")  # the lower two bytes
        if id_bytes(vocab_size) == 3:
            arrays[f"{name}_high"] = (whole >> 16).astype("|u1")
    arrays["head"] = _log_code(targets.head_probs)
    arrays["residual"] = _log_code(targets.residual)
    arrays["entropy"] = targets.entropy.cpu().numpy().astype("<f2")
    return arrays


def _decode(arrays: Mapping[str, Array]) -> tuple[Tensor, SparseTargets]:
    def whole(name: str) -> Tensor:
        low = arrays[name].astype(np.int64)
        return torch.from_numpy(
            low | arrays[f"{name}_high"].astype(np.int64) << 16 if f"{name}_high" in arrays else low
        )

    head, residual = _from_log_code(arrays["head"]), _from_log_code(arrays["residual"])
    total = head.sum(-1) + residual  # 1 but for the rounding, which must not become a pull on all logits
    entropy = torch.from_numpy(arrays["entropy"].astype(np.float32))
    targets = SparseTargets(whole("head_ids"), head / total.unsqueeze(-1), whole("tail_ids"), residual / total, entropy)
    return whole("ids"), targets


def _log_code(p: Tensor) -> Array:
    scaled = -np.log(np.maximum(p.cpu().numpy().astype(np.float64), 1e-300)) * (_STEPS / _RANGE)
    return np.clip(np.rint(scaled), 0, _STEPS).astype("<u2")


def _from_log_code(code: Array) -> Tensor:
    return torch.from_numpy(_TABLE[code])


_TABLE = np.exp(-np.arange(_STEPS + 1) * (_RANGE / _STEPS)).astype(np.float32)
_TABLE[_STEPS] = 0
