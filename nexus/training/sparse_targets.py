"""A teacher's next-token distribution in a few numbers per position, without bias.

The one idea: keep the head (the most likely tokens) exactly and stand in for the rest by a few random draws from it,
each carrying an equal share of the rest's mass. Top-k alone cuts the tail off and so teaches overconfidence; with the
draws the expected gradient is that of the full distribution. Random sampling distillation: arXiv:2503.16870.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

ROWS = 64  # positions worked on at once: fewer pay for calls, more fall out of the cache (measured)
_BLOCK = 64  # tokens summed up as one when looking for the head and when drawing from the tail


@dataclass(frozen=True)
class SparseTargets:
    """Distributions at positions of any shape (...): the estimate ``p_hat`` has ``K + S`` entries and sums to one.

    Attributes:
        head_ids: (..., K) int64, the K most likely tokens, most likely first.
        head_probs: (..., K) their exact probabilities.
        tail_ids: (..., S) int64, draws from the other tokens in proportion to their probability, with replacement. A
            token drawn twice stands twice, so every draw weighs ``residual / S``; any prefix is a fair sample too.
        residual: (...) mass of all tokens outside the head.
        entropy: (...) ``-sum p_hat log p``, the teacher's entropy estimated on the same draws, in nats. A student equal
            to its teacher then has a divergence of exactly 0, whatever was drawn.
    """

    head_ids: Tensor
    head_probs: Tensor
    tail_ids: Tensor
    residual: Tensor
    entropy: Tensor

    @property
    def shape(self) -> torch.Size:
        """Shape of the positions."""
        return self.residual.shape

    def ids(self) -> Tensor:
        """(..., K + S): head and tail tokens."""
        return torch.cat((self.head_ids, self.tail_ids), dim=-1)

    def weights(self) -> Tensor:
        """(..., K + S): ``p_hat`` at :meth:`ids`; a token that stands twice has the sum of its entries."""
        count = self.tail_ids.shape[-1]
        share = (self.residual / max(count, 1)).unsqueeze(-1).expand(*self.shape, count)
        return torch.cat((self.head_probs, share), dim=-1)

    def map(self, change: Callable[[Tensor], Tensor]) -> SparseTargets:
        """The same with ``change`` applied to every tensor, for example ``lambda t: t.to(device)``."""
        return SparseTargets(*(change(getattr(self, field.name)) for field in fields(self)))

    def __getitem__(self, index: object) -> SparseTargets:
        """Pick positions: the index applies to the leading dimensions."""
        return self.map(lambda t: t[index])  # type: ignore[index]

    @staticmethod
    def cat(parts: Sequence[SparseTargets]) -> SparseTargets:
        """Put targets one behind the other along the first dimension."""
        return SparseTargets(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(SparseTargets)))

    def flatten(self) -> SparseTargets:
        """The same with all position dimensions in one."""
        return self.reshape(self.residual.numel())

    def reshape(self, *shape: int) -> SparseTargets:
        """The same with positions of another shape."""
        lead = self.residual.dim()
        return self.map(lambda t: t.reshape(*shape, *t.shape[lead:]))

    def nbytes(self) -> int:
        """Bytes in memory (on disk they are packed tighter, see the Librarian)."""
        return sum(t.numel() * t.element_size() for t in (getattr(self, field.name) for field in fields(self)))


@torch.no_grad()
def sparsify(
    logits: Tensor,
    k: int = 8,
    samples: int = 12,
    generator: torch.Generator | None = None,
    temperature: float = 1.0,
) -> SparseTargets:
    """Keep ``k`` tokens of each distribution exactly and draw ``samples`` from the rest.

    Args:
        logits: (..., V), left as they are.
        generator: source of the draws; the same seed gives the same draws.
        temperature: the distribution is ``softmax(logits / temperature)``.

    Raises:
        ValueError: k, samples or temperature out of range.
    """
    check_sparsity(k, samples, temperature)
    flat = logits.reshape(-1, logits.shape[-1])
    if flat.dtype in (torch.float16, torch.bfloat16):
        flat = flat.float()
    # All draws at once, so that they don't depend on how many rows are worked on together.
    device = flat.device if generator is None else generator.device
    uniform = torch.rand(len(flat), samples, generator=generator, device=device, dtype=torch.float64).to(flat.device)
    k = min(k, flat.shape[1])
    scratch = flat.new_empty(min(ROWS, len(flat)), flat.shape[1])
    parts = []
    for z, u in zip(flat.split(ROWS), uniform.split(ROWS), strict=True):
        p = torch.softmax(z if temperature == 1 else z / temperature, dim=1, out=scratch[: len(z)])
        parts.append(_sparse_rows(p, k, u))
    return SparseTargets.cat(parts).reshape(*logits.shape[:-1])


def check_sparsity(k: int, samples: int, temperature: float = 1.0) -> None:
    """Raise ValueError unless there is a head or a tail, and a positive temperature."""
    if k < 1:
        raise ValueError(f"k={k}: the head needs a token; give 1 or more, 8 is usual")
    if samples < 0:
        raise ValueError(f"samples={samples}: is negative; give 0 (no tail, biased) or more, 12 is usual")
    if temperature <= 0:
        raise ValueError(f"temperature={temperature}: is not positive; 1 is the teacher's own distribution")


def _sparse_rows(p: Tensor, k: int, uniform: Tensor) -> SparseTargets:
    """Targets of a few rows; zeroes the head in ``p``."""
    head, ids = top(p, k)
    p.scatter_(1, ids, 0)
    tail_ids, tail, mass = draw(p, uniform)
    residual = mass.to(p.dtype)
    share = residual / max(uniform.shape[1], 1)
    entropy = -(torch.xlogy(head, head).sum(1) + share * tail.clamp(min=torch.finfo(p.dtype).tiny).log().sum(1))
    return SparseTargets(ids, head, tail_ids, residual, entropy)


def top(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The ``k`` largest of each row (N, V) and their columns, largest first.

    Much faster than ``topk`` on a long row: the k largest lie in the k blocks with the largest maxima.
    """
    width = x.shape[1] // _BLOCK * _BLOCK
    if width <= k * _BLOCK:
        return torch.topk(x, k, dim=1)
    blocks = x[:, :width].unflatten(1, (-1, _BLOCK)).amax(-1).topk(k, dim=1, sorted=False).indices
    columns = (blocks.unsqueeze(-1) * _BLOCK + torch.arange(_BLOCK, device=x.device)).flatten(1)
    if width < x.shape[1]:  # what is left over of the last block stands for election as it is
        rest = torch.arange(width, x.shape[1], device=x.device).expand(len(x), -1)
        columns = torch.cat((columns, rest), dim=1)
    values, picked = x.gather(1, columns).topk(k, dim=1)
    return values, columns.gather(1, picked)


def draw(mass: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Draw columns of ``mass`` (N, V), not negative, in proportion to it, by inverting the cumulated mass.

    Args:
        uniform: (N, S) float64 in [0, 1).

    Returns:
        Columns (N, S), their mass (N, S), and the total (N,) in float64. Where the total is 0 the columns mean nothing.
    """
    width = mass.shape[1]
    # Two steps, blocks and then tokens, both summed up in float64: one float32 sum over the row would round small
    # tokens away.
    sums = mass[:, : width // _BLOCK * _BLOCK].unflatten(1, (-1, _BLOCK)).sum(-1)
    if width % _BLOCK:
        sums = torch.cat((sums, mass[:, width // _BLOCK * _BLOCK :].sum(1, keepdim=True)), dim=1)
    ends = sums.double().cumsum(1)
    target = uniform * ends[:, -1:]
    block = torch.searchsorted(ends, target, right=True).clamp_(max=ends.shape[1] - 1)
    size = sums.gather(1, block).double()
    share = ((target - ends.gather(1, block) + size) / size.clamp(min=torch.finfo(torch.float64).tiny)).clamp_(0, 1)
    columns = block.unsqueeze(-1) * _BLOCK + torch.arange(_BLOCK, device=mass.device)  # (N, S, block)
    inside = mass.gather(1, columns.clamp(max=width - 1).flatten(1)).view(columns.shape)
    inside = inside.masked_fill(columns >= width, 0)
    steps = inside.double().cumsum(-1)
    # Strictly below the end, or rounding could pick a token without mass behind the last one.
    goal = (share * (1 - 2**-50)).unsqueeze(-1) * steps[..., -1:]
    place = (steps <= goal).sum(-1, keepdim=True).clamp_(max=_BLOCK - 1)
    picked = columns.gather(-1, place).squeeze(-1).clamp_(max=width - 1)
    return picked, inside.gather(-1, place).squeeze(-1), ends[:, -1]
