"""RG-LRU: against transformers' RecurrentGemma; LRU against a loop over complex numbers."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from nexus.zoo.parity import Renaming, compare, randomise, token_by_token
from nexus.zoo.proof import Comparison, Example, Mutation

ORACLE = ("transformers", "torch")
TOLERANCE = 1e-5

NAMES = Renaming(
    (
        ("Lambda", "recurrent_param"),
        ("input_weight", "input_gate_weight"),
        ("input_bias", "input_gate_bias"),
        ("decay_weight", "recurrent_gate_weight"),
        ("decay_bias", "recurrent_gate_bias"),
    )
)

MUTATIONS = (
    Mutation("constant 8 forgotten", "log_a = -8 * F.softplus", "log_a = -F.softplus"),
    Mutation("input not scaled", "linear_scan(log_a.exp(), scale * entering", "linear_scan(log_a.exp(), entering + 0 * scale"),
    Mutation("1 - a in place of 1 - a squared", "torch.expm1(2 * log_a)", "torch.expm1(log_a)"),
    Mutation("gates swapped", "entering = x * torch.sigmoid(self._gate(x, self.input_weight", "entering = x * torch.sigmoid(self._gate(x, self.decay_weight"),
    Mutation("first token scaled like the others", "if self.first_unscaled and", "if False and"),
    Mutation("LRU: gamma forgotten", "written = self.gamma_log.exp() * (", "written = ("),
    Mutation("blocks' matrices transposed", '"btni,nij->btnj"', '"btni,nji->btnj"'),
)  # fmt: skip


def example(seed: int = 0) -> Example:
    """Width 8 in two blocks."""
    from nexus.layers.ssm.rg_lru import RGLRU

    torch.manual_seed(seed)
    return Example(RGLRU(8, blocks=2), (torch.randn(2, 11, 8),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """The unit beside transformers', step by step, and LRU beside its definition."""
    from transformers.models.recurrent_gemma.configuration_recurrent_gemma import RecurrentGemmaConfig
    from transformers.models.recurrent_gemma.modeling_recurrent_gemma import RecurrentGemmaRglru

    from nexus.layers.ssm.rg_lru import LRU, RGLRU

    torch.manual_seed(seed)
    theirs = RecurrentGemmaRglru(RecurrentGemmaConfig(hidden_size=8, num_attention_heads=2, lru_width=8))
    ours = RGLRU(8, blocks=2)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.5)
    NAMES.load(ours, theirs.state_dict())
    theirs.load_state_dict(NAMES.export(ours, theirs.state_dict()))
    x = torch.randn(2, 13, 8)
    z = theirs(x, torch.arange(13)[None])
    yield from compare(ours, ours(x)[0], theirs, z, NAMES, seed)
    yield Comparison("token by token", token_by_token(ours, x), z)

    lru = LRU(4, 6).double()
    randomise(lru, seed)
    u = torch.randn(2, 13, 4, dtype=torch.float64)
    yield Comparison("LRU beside a loop", lru(u)[0], _lru(lru, u))


def _lru(lru: torch.nn.Module, u: Tensor) -> Tensor:
    """Eqs. 7 and 9 of arXiv:2303.06349 in real arithmetic: a complex number is a turn and a stretch of the plane."""
    get = lru.get_parameter
    size, angle = (-get("nu_log").exp()).exp(), get("theta_log").exp()
    re, im = (torch.zeros(len(u), len(size), dtype=u.dtype) for _ in range(2))
    outputs = []
    for value in u.unbind(1):
        b_re, b_im = (get("gamma_log").exp() * (value @ get("B")[..., i].mT) for i in range(2))
        re, im = (
            size * (angle.cos() * re - angle.sin() * im) + b_re,
            size * (angle.sin() * re + angle.cos() * im) + b_im,
        )
        outputs.append(re @ get("C")[..., 0].mT - im @ get("C")[..., 1].mT + get("D") * value)
    return torch.stack(outputs, dim=1)
