"""Sparse targets from logits that come in slices of the vocabulary, each looked at once.

The one idea: tokens only ever leave the running head, so the set of all others seen so far only grows; a draw from it
stays a fair draw if it is replaced, with probability new mass over all mass, by one from what has been added (reservoir
sampling). So neither the head's weights nor a row of logits need be held whole: what a streamed teacher needs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nexus.training.sparse_targets import SparseTargets, check_sparsity, draw, top


class SparseAccumulator:
    """Collects slices for N positions; the outcome is distributed as :func:`sparsify` of the whole rows.

    Args:
        positions: N. vocab_size: of the whole vocabulary. device: where the logits live.
        k, samples, generator, temperature: as for :func:`nexus.training.sparse_targets.sparsify`.
    """

    def __init__(
        self,
        positions: int,
        vocab_size: int,
        k: int = 8,
        samples: int = 12,
        generator: torch.Generator | None = None,
        temperature: float = 1.0,
        device: torch.device | str = "cpu",
    ) -> None:
        check_sparsity(k, samples, temperature)
        self._generator, self._temperature = generator, temperature
        self._k, self._seen, self._vocab_size = min(k, vocab_size), 0, vocab_size
        none = float("-inf")
        self._head = torch.full((positions, self._k), none, device=device)
        self._head_ids = torch.zeros(positions, self._k, dtype=torch.long, device=device)
        self._tail = torch.full((positions, samples), none, device=device)
        self._tail_ids = torch.zeros(positions, samples, dtype=torch.long, device=device)
        self._peak = torch.full((positions, 1), none, device=device)  # largest logit so far; masses are relative to it
        self._mass = torch.zeros(positions, dtype=torch.float64, device=device)  # of all but the head

    @torch.no_grad()
    def add(self, logits: Tensor) -> None:
        """Take the next slice (N, W) of the vocabulary; slices come in order and without gaps."""
        z = logits.float() / self._temperature
        best, columns = top(z, min(self._k, z.shape[1]))
        values = torch.cat((self._head, best), dim=1)
        ids = torch.cat((self._head_ids, columns + self._seen), dim=1)
        head, kept = values.topk(self._k, dim=1)
        peak = torch.maximum(self._peak, head[:, :1])
        # Everything that is new outside the head: the slice without its candidates, and the candidates that lost.
        others = (z - peak).exp_().scatter_(1, columns, 0)
        losers = (values - peak).exp_().scatter_(1, kept, 0)
        self._mass *= (self._peak - peak).squeeze(1).double().exp()
        self._replace(torch.cat((others, losers), dim=1), ids, peak)
        self._head, self._head_ids, self._peak = head, ids.gather(1, kept), peak
        self._seen += z.shape[1]

    def _replace(self, pool: Tensor, candidates: Tensor, peak: Tensor) -> None:
        """Let draws from ``pool`` (N, W + candidates) take the place of earlier ones by their share of the mass."""
        width, count = pool.shape[1] - candidates.shape[1], self._tail.shape[1]
        device = pool.device if self._generator is None else self._generator.device
        uniform = torch.rand(2, len(pool), count, generator=self._generator, device=device, dtype=torch.float64)
        uniform = uniform.to(pool.device)
        columns, mass, total = draw(pool, uniform[0])
        fresh = torch.where(columns < width, columns + self._seen, candidates.gather(1, (columns - width).clamp(min=0)))
        self._mass += total
        won = uniform[1] * self._mass.unsqueeze(1) < total.unsqueeze(1)
        self._tail_ids = torch.where(won, fresh, self._tail_ids)
        self._tail = torch.where(won, mass.log() + peak, self._tail)

    def finish(self) -> SparseTargets:
        """The targets, once every slice has been added.

        Raises:
            ValueError: part of the vocabulary has not been seen.
        """
        if self._seen != self._vocab_size:
            raise ValueError(
                f"logits: {self._seen} of {self._vocab_size} columns have been added; add every slice exactly once"
            )
        inside = (self._head - self._peak).double().exp()
        total = inside.sum(1) + self._mass
        log_total = (total.log() + self._peak.squeeze(1)).unsqueeze(1)
        head, residual = (inside / total.unsqueeze(1)).float(), (self._mass / total).float()
        share = residual / max(self._tail.shape[1], 1)
        surprise = torch.where(self._tail.isfinite(), log_total - self._tail, 0).sum(1)
        entropy = (share * surprise).float() - torch.xlogy(head, head).sum(1)
        return SparseTargets(self._head_ids, head, self._tail_ids, residual, entropy)
