"""Losses against a vocabulary, without ever holding (tokens, vocabulary) numbers: divergence from a teacher, and text.

The one idea: the gradient of both losses by the logits is ``softmax - target`` with a sparse target, so a chunk of
tokens needs one softmax in place and a scatter. Logits are made once, chunk by chunk, and the gradients by hidden
states and head are taken there and then; nothing is left to recompute in backward. Forward divergence against sparse
targets: arXiv:2503.16870; fused linear losses: Liger Kernel (arXiv:2410.10989).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from nexus.training.sparse_targets import SparseTargets

IGNORE = -100  # label of a position without a next token
_CHUNK_BYTES = 128 * 2**20  # logits held at once (measured: larger wins nothing, smaller reads the head too often)
_FAINT = 1e-30  # a softmax entry below this is too close to nothing to take a logarithm of


class SparseLoss(NamedTuple):
    """``total = kl + ce_weight * ce``; only ``total`` carries gradients. Means over their positions, in nats."""

    total: Tensor
    kl: Tensor
    ce: Tensor


def sparse_kl(
    hidden: Tensor,
    head_weight: Tensor,
    targets: SparseTargets,
    labels: Tensor | None = None,
    ce_weight: float = 0.0,
    temperature: float = 1.0,
    *,
    mask: Tensor | None = None,
    chunk: int = 0,
) -> Tensor:
    """Total of :func:`sparse_kl_parts`: one scalar to call ``backward`` on."""
    return sparse_kl_parts(hidden, head_weight, targets, labels, ce_weight, temperature, mask=mask, chunk=chunk).total


def sparse_kl_parts(
    hidden: Tensor,
    head_weight: Tensor,
    targets: SparseTargets | None,
    labels: Tensor | None = None,
    ce_weight: float = 0.0,
    temperature: float = 1.0,
    *,
    mask: Tensor | None = None,
    chunk: int = 0,
) -> SparseLoss:
    """``T^2 KL(teacher || student) + ce_weight * CE(labels)`` of a student with logits ``hidden @ head_weight.T``.

    Args:
        hidden: (..., D) last hidden states. head_weight: (V, D).
        targets: the teacher at the same positions, sparsified at the same ``temperature``; None for none.
        labels: (...) next tokens (see :func:`next_token_labels`), ``IGNORE`` where there is none; None for none.
        ce_weight: weight of the text. With weight 0 ``ce`` is reported all the same, at temperature 1 (else NaN).
        temperature: softens the student as it did the teacher; the labels see the student as it is.
        mask: (...) positions where the teacher counts; None for all.
        chunk: tokens worked on at once; 0 chooses.

    Positions that count for neither cost nothing, so a sparse mask saves its share of the work.

    Raises:
        ValueError: shapes that don't fit each other, or nothing to learn from.
    """
    _check(hidden, head_weight, targets, labels, mask, temperature)
    flat = hidden.reshape(-1, hidden.shape[-1])
    rows = _rows(flat, head_weight, targets, labels, mask, ce_weight, temperature, chunk)
    if rows.keep is not None:
        flat = flat.index_select(0, rows.keep)
    # Mixed precision may leave the head in another type than the hidden states; the cast carries its gradient back.
    total, kl, ce = _SparseLoss.apply(flat, head_weight.to(flat.dtype), rows)
    return SparseLoss(total, kl, ce)


def linear_cross_entropy(hidden: Tensor, head_weight: Tensor, labels: Tensor, *, chunk: int = 0) -> Tensor:
    """Mean cross-entropy of ``labels`` under ``hidden @ head_weight.T``: the text alone, same memory and speed."""
    return sparse_kl_parts(hidden, head_weight, None, labels, 1.0, chunk=chunk).total


def next_token_labels(ids: Tensor, mask: Tensor | None = None) -> Tensor:
    """What comes after each of ``ids`` (B, T); ``IGNORE`` at the end and around padding (``mask`` False)."""
    labels = F.pad(ids[:, 1:], (0, 1), value=IGNORE)
    if mask is None:
        return labels
    both = mask & F.pad(mask[:, 1:], (0, 1), value=False)
    return labels.masked_fill(~both, IGNORE)


@dataclass(frozen=True)
class _Rows:
    """What is to be learnt at each of N kept positions, as J weighted tokens: head, draws, and last the label.

    Attributes:
        keep: positions that count, out of all; None for all.
        ids, teacher: (N, J) tokens, and the teacher's weight of each, 0 for the label.
        is_text: (N,) 1 where there is a label, else 0.
        is_kl: (N,) 1 where the teacher counts, else 0.
        entropy: (N,) the teacher's.
    """

    keep: Tensor | None
    ids: Tensor
    teacher: Tensor
    is_text: Tensor
    is_kl: Tensor
    entropy: Tensor
    ce_weight: float
    temperature: float
    chunk: int


def _rows(
    hidden: Tensor,
    head_weight: Tensor,
    targets: SparseTargets | None,
    labels: Tensor | None,
    mask: Tensor | None,
    ce_weight: float,
    temperature: float,
    chunk: int,
) -> _Rows:
    count, wide = len(hidden), torch.float64 if hidden.dtype == torch.float64 else torch.float32
    device = hidden.device
    label = torch.full((count,), IGNORE, device=device) if labels is None else labels.reshape(-1).to(device)
    is_text = (label != IGNORE).to(wide)
    columns, weights = label.clamp(min=0).unsqueeze(1), torch.zeros(count, 1, dtype=wide, device=device)
    is_kl, entropy = torch.zeros_like(is_text), torch.zeros_like(is_text)
    if targets is not None:
        teacher = targets.flatten()
        columns = torch.cat((teacher.ids(), columns), dim=1)
        weights = torch.cat((teacher.weights().to(wide), weights), dim=1)
        is_kl = torch.ones_like(is_text) if mask is None else mask.reshape(-1).to(wide)
        entropy = teacher.entropy.to(wide)
    counts = (is_kl + (is_text if ce_weight else 0)) > 0
    keep = None if bool(counts.all()) else counts.nonzero().squeeze(1)
    if keep is not None:
        if not len(keep):
            raise ValueError("mask, labels: no position counts; leave such a batch out")
        columns, weights, is_text, is_kl, entropy = (t[keep] for t in (columns, weights, is_text, is_kl, entropy))
        count = len(keep)
    chunk = chunk or _chunk(count, head_weight.shape[0] * wide.itemsize)
    return _Rows(keep, columns, weights, is_text, is_kl, entropy, ce_weight, temperature, chunk)


def _chunk(count: int, row_bytes: int) -> int:
    """Tokens a chunk, so that all are about equal."""
    pieces = -(-count * row_bytes // _CHUNK_BYTES)
    return -(-count // max(pieces, 1))


class _SparseLoss(torch.autograd.Function):
    """Loss and gradients in one go over chunks of tokens."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, rows: _Rows) -> tuple[Tensor, Tensor, Tensor]:
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        grad_hidden = torch.empty_like(hidden) if wants_hidden else None
        grad_weight = torch.zeros_like(weight) if wants_weight else None
        chunks = _Chunks(hidden, weight, rows)
        kl, ce = (torch.zeros((), dtype=torch.float64, device=hidden.device) for _ in range(2))
        for start in range(0, len(hidden), rows.chunk):
            part = slice(start, start + rows.chunk)
            gradient, scale, part_kl, part_ce = chunks.work(part, wants_hidden or wants_weight)
            kl, ce = kl + part_kl, ce + part_ce
            if grad_hidden is not None:
                torch.mm(gradient, weight, out=grad_hidden[part]).mul_(scale)
            if grad_weight is not None:
                grad_weight.addmm_(gradient.t(), hidden[part] * scale)
        ctx.gradients = grad_hidden, grad_weight
        kl, ce = kl / chunks.kl_count, ce / chunks.text_count
        total = kl + rows.ce_weight * ce if rows.ce_weight else kl.clone()
        total, kl, ce = (value.to(rows.teacher.dtype) for value in (total, kl, ce))
        ctx.mark_non_differentiable(kl, ce)
        return total, kl, ce

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        first, second = ctx.gradients
        if bool(grad == 1):  # the usual case; a pass over a head's worth of numbers is not free
            return first, second, None
        first, second = (None if g is None else g * grad.to(g.dtype) for g in (first, second))
        return first, second, None


class _Chunks:
    """Works on chunks of tokens in one buffer of (chunk, V)."""

    def __init__(self, hidden: Tensor, weight: Tensor, rows: _Rows) -> None:
        self.hidden, self.weight, self.rows = hidden, weight, rows
        self.buffer = hidden.new_empty(min(rows.chunk, len(hidden)), len(weight))
        self.kl_count = rows.is_kl.sum().clamp(min=1)
        self.text_count = rows.is_text.sum().clamp(min=1)
        self.kl_weight = rows.is_kl / self.kl_count
        self.ce_weight = rows.ce_weight * rows.is_text / self.text_count

    def work(self, part: slice, with_gradient: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Gradient by the logits (C, V) up to a row scale (C, 1), and the sums of divergence and cross-entropy."""
        rows, hidden = self.rows, self.hidden[part]
        z = torch.mm(hidden, self.weight.t(), out=self.buffer[: len(hidden)]).to(rows.teacher.dtype)
        picked = z.gather(1, rows.ids[part])
        text = None
        if rows.temperature != 1:
            text = self._softened(z, part) if rows.ce_weight else None
            z.div_(rows.temperature)
        tempered = picked / rows.temperature
        torch.softmax(z, dim=1, out=z)  # row by row, so that a row is read from memory once
        lse = self._log_sum(z, tempered, part, rows.temperature)
        teacher = rows.teacher[part]
        kl = teacher.sum(1) * lse - (teacher * tempered).sum(1) - rows.entropy[part]
        kl_sum = (kl * rows.is_kl[part]).double().sum() * rows.temperature**2
        text_lse = lse if text is None else text[1]
        ce_sum = ((text_lse - picked[:, -1]) * rows.is_text[part]).double().sum()
        if rows.temperature != 1 and text is None:
            ce_sum = ce_sum * float("nan")  # the logits as they are have not been looked at
        if not with_gradient:
            return z, lse, kl_sum, ce_sum
        scale = self._subtract(z, part, None if text is None else text[0])
        return z.to(hidden.dtype), scale.to(hidden.dtype), kl_sum, ce_sum

    def _softened(self, z: Tensor, part: slice) -> tuple[Tensor, Tensor]:
        """Softmax and log-sum of the logits as they are, for the labels; costs a second buffer."""
        plain = torch.softmax(z, dim=1)
        return plain, self._log_sum(plain, z.gather(1, self.rows.ids[part]), part, 1.0)

    def _subtract(self, softmax: Tensor, part: slice, text: Tensor | None) -> Tensor:
        """Turn the softmax into the gradient by the logits, in place; returns a scale (C, 1) still to be multiplied."""
        rows = self.rows
        kl_weight, ce_weight = self.kl_weight[part] * rows.temperature, self.ce_weight[part]
        teacher = rows.teacher[part]
        own = kl_weight * teacher.sum(
            1
        )  # weight of the softmax itself; the teacher's weights sum to 1 but for rounding
        wanted = teacher * kl_weight.unsqueeze(1)
        wanted[:, -1] += ce_weight
        if text is not None:
            softmax.mul_(own.unsqueeze(1)).addcmul_(text, ce_weight.unsqueeze(1))
            softmax.scatter_add_(1, rows.ids[part], -wanted)
            return torch.ones_like(own).unsqueeze(1)
        # One softmax serves both: its weight is left to the (C, D) results, which are so much smaller.
        scale = (own + ce_weight).unsqueeze(1)
        softmax.scatter_add_(1, rows.ids[part], -wanted / scale)
        return scale

    def _log_sum(self, softmax: Tensor, picked: Tensor, part: slice, temperature: float) -> Tensor:
        """Log of the sum over exp(logits), (C,), from the strongest of the picked entries: no pass over the row."""
        best, at = softmax.gather(1, self.rows.ids[part]).max(1)
        lse = picked.gather(1, at.unsqueeze(1)).squeeze(1) - best.clamp(min=_FAINT).log()
        faint = (best < _FAINT).nonzero().squeeze(1)
        if len(faint):  # teacher and student agree on nothing here: look at all logits again
            again = (self.hidden[part][faint] @ self.weight.t()).to(lse.dtype) / temperature
            lse[faint] = torch.logsumexp(again, dim=1)
        return lse


def _check(
    hidden: Tensor,
    head_weight: Tensor,
    targets: SparseTargets | None,
    labels: Tensor | None,
    mask: Tensor | None,
    temperature: float,
) -> None:
    positions = hidden.shape[:-1]
    if head_weight.dim() != 2 or head_weight.shape[1] != hidden.shape[-1]:
        raise ValueError(
            f"head_weight: has shape {tuple(head_weight.shape)}, hidden states are {hidden.shape[-1]} wide; "
            "pass (vocabulary, width)"
        )
    if targets is None and labels is None:
        raise ValueError("targets, labels: both are None; pass at least one to learn from")
    shapes = {"targets": targets, "labels": labels, "mask": mask}
    for name, value in shapes.items():
        if value is not None and value.shape.numel() != positions.numel():
            raise ValueError(
                f"{name}: has positions {tuple(value.shape)}, hidden states have {tuple(positions)}; pass the same"
            )
    if temperature <= 0:
        raise ValueError(f"temperature={temperature}: is not positive; give 1 for none")
