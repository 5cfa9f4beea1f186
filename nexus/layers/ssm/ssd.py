"""State-space duality (SSD): one linear map over time in four equal forms.

The one idea: the recurrence ``h_t = exp(a_t) h_{t-1} + B_t x_t^T``, ``y_t = C_t h_t`` is multiplication by a
lower-triangular matrix whose blocks have low rank, so most of the work is plain matrix products.
Paper: Dao and Gu 2024, "Transformers are SSMs" (arXiv:2405.21060); chunked form: section 6.

Shapes everywhere: ``x`` (B, T, H, P) already multiplied by the step size; ``log_decay`` (B, T, H), not positive;
``b`` and ``c`` (B, T, G, N), group g serving heads g*H/G ... ; state (B, H, N, P).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from nexus.layers.ssm.scan import scan


def ssd_step(x: Tensor, log_decay: Tensor, b: Tensor, c: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """One step of the recurrence (eq. 1 of the paper): decode.

    Args:
        x: (B, H, P). log_decay: (B, H). b, c: (B, G, N). state: (B, H, N, P).

    Returns:
        ``y`` (B, H, P) and the new state; the one passed in is left as it was.
    """
    batch, heads, width = x.shape
    groups, n = b.shape[1:]
    grouped = (batch, groups, heads // groups)
    state = (state * log_decay.exp()[..., None, None]).view(*grouped, n, width)
    state.addcmul_(b[:, :, None, :, None], x.view(*grouped, 1, width))
    y = c[:, :, None, None, :] @ state
    return y.view(batch, heads, width), state.view(batch, heads, n, width)


def ssd_recurrent(
    x: Tensor, log_decay: Tensor, b: Tensor, c: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The recurrence, step after step: the truth that the fast forms are held against.

    Returns:
        ``y`` (B, T, H, P) and the state after the last step.
    """
    if state is None:
        state = empty_state(x, b)
    outputs = []
    for step in zip(x.unbind(1), log_decay.unbind(1), b.unbind(1), c.unbind(1), strict=True):
        y, state = ssd_step(*step, state)
        outputs.append(y)
    return torch.stack(outputs, dim=1), state


def ssd_quadratic(x: Tensor, log_decay: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The same map as one masked T x T matrix per head, the "attention" form (section 3 of the paper); no state."""
    heads_per_group = x.shape[2] // b.shape[2]
    scores = (c.transpose(1, 2) @ b.permute(0, 2, 3, 1)).repeat_interleave(heads_per_group, dim=1)  # (B, H, T, T)
    total = log_decay.transpose(1, 2).cumsum(-1)
    return ((scores * decay_matrix(total)) @ x.transpose(1, 2)).transpose(1, 2)


def ssd_chunked(
    x: Tensor,
    log_decay: Tensor,
    b: Tensor,
    c: Tensor,
    chunk: int = 64,
    state: Tensor | None = None,
    step: Tensor | None = None,
    skip: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Matrix products inside chunks, a short recurrence between them (section 6 of the paper).

    Args:
        chunk: chunk length; any T is taken, the last chunk is filled up with steps that change nothing.
        state: (B, H, N, P) to start from; None is zeros.
        step: (B, T, H) step sizes, if ``x`` has not been multiplied by them; a step of size 0 gets no gradient.
        skip: (H,) ``skip * x`` is added to ``y``. Here both are almost free, outside each costs passes over ``x``.

    Returns:
        ``y`` (B, T, H, P) and the state after the last step.
    """
    length = x.shape[1]
    chunk = min(chunk, length)
    step = torch.ones_like(log_decay) if step is None else step
    skip = x.new_zeros(x.shape[2]) if skip is None else skip
    state = empty_state(x, b) if state is None else state
    pad = -length % chunk
    if pad:  # x = 0 adds nothing and log_decay = 0 forgets nothing, so the filled-up steps keep the state
        x, b, c = (F.pad(t, (0, 0, 0, 0, 0, pad)) for t in (x, b, c))
        step, log_decay = (F.pad(t, (0, 0, 0, pad)) for t in (step, log_decay))
    y, final = scan(x, step, log_decay, b, c, skip, state, chunk)
    return y[:, :length], final


def empty_state(x: Tensor, b: Tensor) -> Tensor:
    """The zero state (B, H, N, P) that fits ``x`` (B, T, H, P) and ``b`` (B, T, G, N)."""
    return x.new_zeros(x.shape[0], x.shape[2], b.shape[3], x.shape[3])


def decay_matrix(total: Tensor) -> Tensor:
    """``L[i, j] = exp(total_i - total_j)`` for j <= i, else 0 (eq. 4 of the paper); ``total`` (..., Q)."""
    future = torch.ones(total.shape[-1], total.shape[-1], dtype=torch.bool, device=total.device).triu(1)
    # Masked before exp: above the diagonal the exponent is positive and may overflow, which would poison gradients.
    return (total.unsqueeze(-1) - total.unsqueeze(-2)).masked_fill(future, float("-inf")).exp()
