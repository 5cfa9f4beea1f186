"""minGRU and minLSTM: the scan against the recurrence as written, the log-space form, and the limits of torch's GRU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from nexus.zoo.parity import randomise, weighting
from nexus.zoo.proof import Comparison, Example, Mutation

ORACLE = ("torch",)
TOLERANCE = 1e-10

MUTATIONS = (
    Mutation("gate the wrong way round", "return torch.sigmoid(-gates[0]), torch.sigmoid(gates[0])", "return torch.sigmoid(gates[0]), torch.sigmoid(-gates[0])"),
    Mutation("gates of minLSTM don't add up to one", "return torch.sigmoid(odds), torch.sigmoid(-odds)", "return torch.sigmoid(gates[0]), torch.sigmoid(gates[1])"),
    Mutation("candidates not made positive", "write * (positive(candidate) if self.log_space else candidate)", "write * candidate"),
    Mutation("g without its half", "torch.where(x >= 0, x + 0.5", "torch.where(x >= 0, x"),
    Mutation("start of the log space is zero", "return positive(zero) if self.log_space else zero", "return zero"),
    Mutation("scan's backward forgets the past", "db[:, t - 1].addcmul_(a[:, t], db[:, t])", "pass", "nexus/layers/ssm/linear_scan.py"),
)  # fmt: skip


def example(seed: int = 0) -> Example:
    """Width 5, state 6."""
    from nexus.layers.ssm.min_gru import MinGRU

    torch.manual_seed(seed)
    return Example(MinGRU(5, 6), (torch.randn(2, 11, 5),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Every variant beside the paper's equations, one step at a time; torch.nn.GRU where it has no recurrence."""
    from nexus.layers.ssm.min_gru import MinGRU, MinLSTM, log_positive, log_space_scan

    torch.manual_seed(seed)
    x = torch.randn(2, 13, 5, dtype=torch.float64)
    for kind in (MinGRU, MinLSTM):
        for log_space in (False, True):
            layer = kind(5, 6, log_space).double()
            randomise(layer, seed, 0.5)
            yield from _beside_the_equations(layer, x, kind.__name__ + (" in log space" if log_space else ""), seed)
    layer = MinGRU(5, 6, log_space=True).double()
    candidate, gate = layer.in_proj(x).chunk(2, dim=-1)
    logs = nn.functional.logsigmoid(-gate), nn.functional.logsigmoid(gate) + log_positive(candidate)
    yield Comparison("the paper's scan of logarithms", log_space_scan(*logs, layer.init_state(2)), layer(x)[0])
    yield from _gru_limit(x)


def _beside_the_equations(layer: Any, x: Tensor, name: str, seed: int) -> Iterator[Comparison]:
    fast, _ = layer(x)
    slow = _equations(layer, x)
    yield Comparison(name, fast, slow)
    weights = weighting(slow, seed)
    ours, theirs = (torch.autograd.grad((y * weights).sum(), list(layer.parameters())) for y in (fast, slow))
    for (parameter, _), a, b in zip(layer.named_parameters(), ours, theirs, strict=True):
        yield Comparison(f"{name}: gradient of {parameter}", a, b)


def _equations(layer: Any, x: Tensor) -> Tensor:
    """Sections 3.1.3 and 3.2.4 of the paper, and appendix B.1 for the positive candidates."""
    log_space = layer.log_space
    h = torch.full((len(x), 6), 0.5 if log_space else 0.0, dtype=x.dtype)
    outputs = []
    for value in x.unbind(1):
        candidate, *gates = layer.in_proj(value).split(6, dim=-1)
        if log_space:
            candidate = torch.where(candidate >= 0, candidate + 0.5, 1 / (1 + torch.exp(-candidate)))
        if len(gates) == 1:
            z = torch.sigmoid(gates[0])
            h = (1 - z) * h + z * candidate
        else:
            f, i = torch.sigmoid(gates[0]), torch.sigmoid(gates[1])
            h = f / (f + i) * h + i / (f + i) * candidate
        outputs.append(h)
    return torch.stack(outputs, dim=1)


def _gru_limit(x: Tensor) -> Iterator[Comparison]:
    """torch.nn.GRU without weights on the state and with small candidates (tanh x = x) is minGRU, to third order."""
    from nexus.layers.ssm.min_gru import MinGRU

    gru, small = nn.GRU(5, 6, batch_first=True).double(), 1e-5
    layer = MinGRU(5, 6).double()
    with torch.no_grad():
        for name in ("weight_hh_l0", "bias_hh_l0"):
            gru.get_parameter(name).zero_()
        candidate, gate = (t.clone() for t in layer.in_proj.weight.chunk(2))
        candidate_bias, gate_bias = (t.clone() for t in layer.in_proj.bias.chunk(2))
        zero = torch.zeros_like(gate)
        # torch's z keeps the state, minGRU's writes it: the sign turns.
        gru.get_parameter("weight_ih_l0").copy_(torch.cat((zero, -gate, small * candidate)))
        gru.get_parameter("bias_ih_l0").copy_(torch.cat((zero[:, 0], -gate_bias, small * candidate_bias)))
    yield Comparison("torch.nn.GRU without its recurrence", layer(x)[0] * small, gru(x)[0])
