"""LSH attention: attend only to keys that a random hash puts near the query (Reformer).

The one idea: queries and keys are the same vectors; hash them by the nearest of some random directions, sort by hash,
and attend inside short chunks of the sorted row. Several rounds of hashing are joined by the softmax's own weights.
Paper: Kitaev et al. 2020 (arXiv:2001.04451), section 2. Paper and code differ: the paper's chunks attend within a
bucket only (eq. 3 and figure 2), the released code and its ports attend across buckets; ``same_bucket`` picks.
"""

import torch
from torch import Tensor, nn

SELF = -1e5  # score of a position with itself: only where there is nothing else to look at (section 2)


class LSHAttention(nn.Module):
    """Shared-QK attention in time ``T log T``, (B, T, d_model) to (B, T, d_model).

    Args:
        d_model: width in and out. n_heads: divides it.
        n_buckets: even. n_rounds: rounds of hashing. chunk: length of the chunks of the sorted row.
        causal: no look at later positions.
        same_bucket: the paper's rule, see above; else the released code's.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        n_buckets: int = 8,
        n_rounds: int = 2,
        chunk: int = 16,
        causal: bool = False,
        same_bucket: bool = False,
    ) -> None:
        super().__init__()
        if d_model % n_heads or n_buckets % 2:
            raise ValueError(
                f"n_heads={n_heads}, n_buckets={n_buckets}: heads must divide d_model={d_model}, buckets come in pairs"
            )
        self.n_heads, self.head_dim = n_heads, d_model // n_heads
        self.n_buckets, self.n_rounds, self.chunk = n_buckets, n_rounds, chunk
        self.causal, self.same_bucket = causal, same_bucket
        self.qk_proj = nn.Linear(d_model, d_model, bias=False)
        self.v_proj = nn.Linear(d_model, d_model, bias=False)
        self.o_proj = nn.Linear(d_model, d_model, bias=False)

    def draw(self, generator: torch.Generator | None = None) -> Tensor:
        """Random directions (H, D, rounds, buckets / 2)."""
        shape = self.n_heads, self.head_dim, self.n_rounds, self.n_buckets // 2
        return torch.randn(
            shape, generator=generator, dtype=self.qk_proj.weight.dtype, device=self.qk_proj.weight.device
        )

    def forward(self, x: Tensor, rotations: Tensor | None = None) -> Tensor:
        """Attend over ``x`` (B, T, d_model), T a multiple of the chunk; ``rotations`` from :meth:`draw` if given."""
        qk, v = (f(x).unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for f in (self.qk_proj, self.v_proj))
        rotations = self.draw() if rotations is None else rotations
        y = lsh_attention(qk, v, hash_vectors(qk, rotations), self.chunk, self.causal, self.same_bucket)
        return self.o_proj(y.transpose(1, 2).flatten(-2))


def hash_vectors(x: Tensor, rotations: Tensor) -> Tensor:
    """Buckets (B, H, rounds, T) of ``x`` (B, H, T, D): ``argmax([x R; -x R])``."""
    turned = torch.einsum("bhtd,hdnr->bhntr", x.detach(), rotations)
    return torch.cat((turned, -turned), dim=-1).argmax(-1)


def lsh_attention(
    qk: Tensor, v: Tensor, buckets: Tensor, chunk: int, causal: bool = False, same_bucket: bool = False
) -> Tensor:
    """Attention over chunks of the row sorted by bucket, each chunk also looking at the one before it.

    Args:
        qk, v: (B, H, T, D). buckets: (B, H, rounds, T).
    """
    rounds, length = buckets.shape[2:]
    if length % chunk:
        raise ValueError(f"{length} positions: the chunk, {chunk}, must divide them; pad the text")
    numbered = buckets + torch.arange(rounds, device=qk.device)[:, None] * (int(buckets.max()) + 1)
    order = numbered.flatten(2).argsort(dim=-1, stable=True)  # (B, H, rounds T), earlier positions first in a bucket
    at = order % length
    keys = qk / qk.norm(dim=-1, keepdim=True).clamp(min=1e-6)  # a query is unlike itself in length only
    q, k, v = (_chunks(_pick(t, at), chunk) for t in (qk, keys, v))
    query = at.unflatten(-1, (-1, chunk))
    key, k, v = (_with_previous(t) for t in (query, k, v))
    scores = q @ k.mT
    if causal:
        scores = scores.masked_fill(query.unsqueeze(-1) < key.unsqueeze(-2), -1e9)
    if same_bucket:
        bucket = numbered.flatten(2).gather(-1, order).unflatten(-1, (-1, chunk))
        scores = scores.masked_fill(bucket.unsqueeze(-1) != _with_previous(bucket).unsqueeze(-2), -1e9)
    scores = scores.masked_fill(query.unsqueeze(-1) == key.unsqueeze(-2), SELF)
    log_sum = scores.logsumexp(-1, keepdim=True)
    y = (scores - log_sum).exp() @ v
    back = order.argsort(-1)  # where in the sorted row each position of each round went
    y, log_sum = (_pick(t.flatten(2, 3), back).unflatten(2, (rounds, length)) for t in (y, log_sum))
    return (y * log_sum.softmax(2)).sum(2)  # rounds weigh as much as what they found (eq. 6)


def _pick(x: Tensor, index: Tensor) -> Tensor:
    """Rows ``index`` (B, H, N) of ``x`` (B, H, T, D)."""
    return x.gather(2, index.unsqueeze(-1).expand(-1, -1, -1, x.shape[-1]))


def _chunks(x: Tensor, chunk: int) -> Tensor:
    """(B, H, N, D) as (B, H, N / chunk, chunk, D)."""
    return x.unflatten(2, (-1, chunk))


def _with_previous(x: Tensor) -> Tensor:
    """Each chunk behind the one before it (the first behind the last), (B, H, C, 2 chunk, ...)."""
    return torch.cat((x.roll(1, dims=2), x), dim=3)
