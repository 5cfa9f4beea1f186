"""RWKV-4: against transformers' block, and the softmax form against the running mean."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from nexus.zoo.parity import Renaming, compare, token_by_token
from nexus.zoo.proof import Comparison, Example, Mutation

ORACLE = ("transformers", "torch")
TOLERANCE = 1e-5

NAMES = Renaming(
    (
        ("time_norm", "ln1"),
        ("channel_norm", "ln2"),
        ("time_mixing.", "attention."),
        ("channel_mixing.", "feed_forward."),
        ("decay_log", "time_decay"),
        ("bonus", "time_first"),
        ("mix_k", "time_mix_key"),
        ("mix_v", "time_mix_value"),
        ("mix_r", "time_mix_receptance"),
        ("k_proj", "key"),
        ("v_proj", "value"),
        ("r_proj", "receptance"),
        ("out_proj", "output"),
    )
)

MUTATIONS = (
    Mutation("bonus forgotten", "torch.where(now, (bonus + k).unsqueeze(1)", "torch.where(now, (0 * bonus + k).unsqueeze(1)"),
    Mutation("decay counted one step too many", "age = (step[:, None] - 1 - step[:length]).unsqueeze(-1)", "age = (step[:, None] - step[:length]).unsqueeze(-1)"),
    Mutation("decay not exponential", "self.decay_log.exp(), self.bonus", "self.decay_log.abs(), self.bonus"),
    Mutation("shift mixes the wrong way", "proj(shifted + mix * (x - shifted))", "proj(x + mix * (shifted - x))"),
    Mutation("square of the ReLU forgotten", "F.relu(k).square()", "F.relu(k)"),
    Mutation("receptance without sigmoid", "self.out_proj(torch.sigmoid(r) * y)", "self.out_proj(r * y)"),
    Mutation("what came before the chunk doesn't fade", "before = state.log_weight.unsqueeze(1) - step.unsqueeze(-1) * decay", "before = state.log_weight.unsqueeze(1) - 0 * step.unsqueeze(-1) * decay"),
)  # fmt: skip


def example(seed: int = 0) -> Example:
    """A block of width 8."""
    from nexus.layers.ssm.rwkv import RWKV

    torch.manual_seed(seed)
    return Example(RWKV(8, 12, chunk_size=4), (torch.randn(2, 11, 8),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """The block beside transformers', token by token; the chunked mean beside the running one."""
    from transformers.models.rwkv.configuration_rwkv import RwkvConfig
    from transformers.models.rwkv.modeling_rwkv import RwkvBlock

    from nexus.layers.ssm.rwkv import RWKV, wkv_chunked, wkv_recurrent

    torch.manual_seed(seed)
    theirs = RwkvBlock(RwkvConfig(hidden_size=8, intermediate_size=12, num_hidden_layers=2), layer_id=1)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.5)
    ours = RWKV(8, 12, chunk_size=4)
    NAMES.load(ours, theirs.state_dict())
    theirs.load_state_dict(NAMES.export(ours, theirs.state_dict()))
    x = torch.randn(2, 13, 8)
    z = theirs(x)[0]
    yield from compare(ours, ours(x)[0], theirs, z, NAMES, seed)
    yield Comparison("token by token", token_by_token(ours, x), z)
    k, v = (torch.randn(2, 13, 3, dtype=torch.float64) * 20 for _ in range(2))
    decay, bonus = torch.rand(3, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    slow = wkv_recurrent(k, v, decay, bonus)[0]
    for chunk in (1, 5, 13):
        yield Comparison(f"chunks of {chunk}, large keys", wkv_chunked(k, v, decay, bonus, chunk=chunk)[0], slow)
