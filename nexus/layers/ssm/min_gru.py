"""minGRU and minLSTM: the old gated recurrences, cut down until they can be trained in parallel.

The one idea: let the gates look at the input only, not at the last state, and drop the tanh; what is left is a linear
recurrence, so it is scanned in training and stepped in decode. Paper: Feng et al. 2024 (arXiv:2410.01201), sections 3.1
and 3.2; log-space form: appendix B.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.layers.ssm.linear_scan import linear_scan


def positive(x: Tensor) -> Tensor:
    """``g(x)``: x + 1/2 above zero, sigmoid below: continuous, and never negative (appendix B.1)."""
    return torch.where(x >= 0, x + 0.5, torch.sigmoid(x))


def log_positive(x: Tensor) -> Tensor:
    """``log g(x)`` without underflow."""
    return torch.where(x >= 0, (F.relu(x) + 0.5).log(), -F.softplus(-x))


def log_space_scan(log_a: Tensor, log_b: Tensor, state: Tensor | None = None) -> Tensor:
    """``h_t = a_t h_{t-1} + b_t`` for positive terms, from their logarithms (appendix B): the paper's form.

    Args:
        log_a, log_b: (B, T, D). state: (B, D), not negative; None is zero.
    """
    total = log_a.cumsum(1)
    terms = log_b - total
    if state is not None:
        terms = torch.cat((state.clamp(min=torch.finfo(state.dtype).tiny).log().unsqueeze(1), terms), dim=1)
        total = F.pad(total, (0, 0, 1, 0))
    h = (total + terms.logcumsumexp(1)).exp()
    return h if state is None else h[:, 1:]


class _MinRNN(nn.Module):
    """What both share: projections of the input only, and a scan."""

    def __init__(self, d_model: int, d_hidden: int | None, gates: int, log_space: bool) -> None:
        super().__init__()
        self.d_hidden, self.log_space = d_hidden or d_model, log_space
        self.in_proj = nn.Linear(d_model, (1 + gates) * self.d_hidden)  # candidate | gates

    def init_state(self, batch_size: int) -> Tensor:
        """The state before the first token (B, d_hidden): zero, or g(0) = 1/2 in log space."""
        zero = self.in_proj.weight.new_zeros(batch_size, self.d_hidden)
        return positive(zero) if self.log_space else zero

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """(B, T, d_model) to states (B, T, d_hidden); without a state it starts afresh and returns none."""
        candidate, *gates = self.in_proj(x).split(self.d_hidden, dim=-1)
        keep, write = self._weights(*gates)
        start = self.init_state(x.shape[0]) if state is None else state
        h = linear_scan(keep, write * (positive(candidate) if self.log_space else candidate), start)
        return h, None if state is None else h[:, -1]

    def _weights(self, *gates: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError


class MinGRU(_MinRNN):
    """``z = sigmoid(W x)``, ``h_t = (1 - z_t) h_{t-1} + z_t h~_t`` with ``h~ = W' x`` (section 3.1).

    Args:
        d_model: width in. d_hidden: width of the state; None is d_model.
        log_space: candidates go through ``g``, so that everything is positive (appendix B); False: the plain vanilla.
    """

    def __init__(self, d_model: int, d_hidden: int | None = None, log_space: bool = False) -> None:
        super().__init__(d_model, d_hidden, 1, log_space)

    def _weights(self, *gates: Tensor) -> tuple[Tensor, Tensor]:
        return torch.sigmoid(-gates[0]), torch.sigmoid(gates[0])


class MinLSTM(_MinRNN):
    """``h_t = f' h_{t-1} + i' h~_t`` with ``f' = f / (f + i)``, ``i' = i / (f + i)`` (section 3.2).

    Args:
        d_model: width in. d_hidden: width of the state; None is d_model. log_space: as for :class:`MinGRU`.
    """

    def __init__(self, d_model: int, d_hidden: int | None = None, log_space: bool = False) -> None:
        super().__init__(d_model, d_hidden, 2, log_space)

    def _weights(self, *gates: Tensor) -> tuple[Tensor, Tensor]:
        # f / (f + i) is the sigmoid of log f - log i: no division, nothing to overflow.
        odds = F.logsigmoid(gates[0]) - F.logsigmoid(gates[1])
        return torch.sigmoid(odds), torch.sigmoid(-odds)
