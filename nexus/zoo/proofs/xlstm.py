"""xLSTM: the block against transformers', the sLSTM cell against the package xlstm (frozen), the forms of mLSTM."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from nexus.zoo.parity import Golden, Renaming, compare, randomise
from nexus.zoo.proof import Comparison, Example, Mutation

ORACLE = ("transformers", "torch")  # and xlstm 2.0.6, frozen in tests/golden/slstm.safetensors
TOLERANCE = 1e-5

NAMES = Renaming(
    (
        ("mixers.0.", "mlstm_layer."),
        ("ffns.0.", "ffn."),
        ("mixer_norms.0.", "norm_mlstm."),
        ("ffn_norms.0.", "norm_ffn."),
        ("norm_weight", "multihead_norm.weight"),
        ("q_proj", "q"),
        ("k_proj", "k"),
        ("v_proj", "v"),
        ("o_gate", "ogate_preact"),
        ("i_gate", "igate_preact"),
        ("f_gate", "fgate_preact"),
        ("ffn.gate_proj", "ffn.proj_up_gate"),
        ("ffn.up_proj", "ffn.proj_up"),
        ("ffn.down_proj", "ffn.proj_down"),
    )
)
CELL = Renaming((("recurrent", "_recurrent_kernel_"), ("bias", "_bias_")))

MUTATIONS = (
    Mutation("forget gate without log-sigmoid", "F.logsigmoid(log_f), before", "log_f, before"),
    Mutation("gates not capped", "self.soft_cap * torch.tanh(gate(x) / self.soft_cap)", "gate(x)"),
    Mutation("denominator without its floor", "torch.maximum(norm.abs(), (-top).exp())", "norm.abs()"),
    Mutation("scores not scaled", "(weight - top.unsqueeze(-1)).exp() * q.shape[-1] ** -0.5", "(weight - top.unsqueeze(-1)).exp()"),
    Mutation("memory not carried between chunks", "value = scores @ v + asked @ state.memory", "value = scores @ v"),
    Mutation("norm over all heads at once", "y = F.layer_norm(y, y.shape[-1:], eps=self.eps).flatten(-2) * self.norm_weight\n        return self.out_proj(torch.sigmoid(self.o_gate(x)) * y)", "y = F.layer_norm(y, y.shape[-2:], eps=self.eps).flatten(-2) * self.norm_weight\n        return self.out_proj(torch.sigmoid(self.o_gate(x)) * y)"),
    Mutation("sLSTM: cell not divided by its norm", "torch.sigmoid(o) * cell / norm", "torch.sigmoid(o) * cell"),
    Mutation("sLSTM: forget gate is exponential without sigmoid", "past = F.logsigmoid(f) + state.top", "past = f + state.top"),
    Mutation("sLSTM: no mixing", "given + mixed + self.bias", "given + 0 * mixed + self.bias"),
)  # fmt: skip


def example(seed: int = 0) -> Example:
    """One block of each kind, width 8."""
    from nexus.layers.ssm.xlstm import XLSTM

    torch.manual_seed(seed)
    return Example(XLSTM(8, 2, d_ff=16, chunk_size=4), (torch.randn(2, 11, 8),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """mLSTM block, sLSTM cell, and mLSTM's chunks beside its steps."""
    from nexus.layers.ssm.xlstm import XLSTM, MatrixState, SLSTMCell, mlstm_chunked, mlstm_recurrent

    theirs, x = _their_block(seed), torch.randn(2, 32, 128)
    ours = XLSTM(128, 4, plan="m", d_ff=theirs.ffn.up_proj_dim, chunk_size=10)
    NAMES.load(ours, theirs.state_dict())
    theirs.load_state_dict(NAMES.export(ours, theirs.state_dict()))
    yield from compare(ours, ours(x)[0], theirs, theirs(x)[0], NAMES, seed)

    golden = Golden.load("slstm", seed)
    cell = SLSTMCell(8, 2)
    CELL.load(cell, golden.weights)
    yield from golden.compare(cell, cell(golden.inputs["x"], cell.init_state(2))[0], CELL)

    torch.manual_seed(seed)
    q, k, v = (torch.randn(2, 13, 2, n, dtype=torch.float64) for n in (3, 3, 5))
    log_i, log_f = (torch.randn(2, 13, 2, dtype=torch.float64) * 4 for _ in range(2))
    log_f = nn.functional.logsigmoid(log_f)
    zero = torch.zeros(2, 2, 3, 5, dtype=torch.float64)
    state = MatrixState(zero, zero[..., 0], zero[..., 0, 0])
    slow = mlstm_recurrent(q, k, v, log_i, log_f, state)[0]
    for chunk in (4, 13):
        fast = mlstm_chunked(q, k, v, log_i, log_f, state, chunk=chunk)[0]
        yield Comparison(f"mLSTM in chunks of {chunk}", fast, slow)


def _their_block(seed: int) -> Any:
    from transformers.models.xlstm.configuration_xlstm import xLSTMConfig
    from transformers.models.xlstm.modeling_xlstm import xLSTMBlock

    torch.manual_seed(seed)
    config = xLSTMConfig(hidden_size=128, num_heads=4, num_blocks=1, chunk_size=16, mode="train")
    block = xLSTMBlock(config)
    randomise(block, seed, 0.05)
    return block
