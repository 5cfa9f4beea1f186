"""SwiGLU beside transformers' Llama block; GEGLU beside T5's; the others beside x-transformers."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._shared import compare, drawn, noise, oracle, parameters, run

ORACLE = ("transformers", "x-transformers")
TOLERANCE = 1e-10
MUTATIONS = (
    Mutation("gate and up swapped forward", "    gate, up = both.chunk(2, dim=-1)\n    return", "    up, gate = both.chunk(2, dim=-1)\n    return"),
    Mutation("gate and up swapped in the family", "gate, up = self.gate_up_proj(x).chunk", "up, gate = self.gate_up_proj(x).chunk"),
    Mutation("gradient of gate without its slope", "        torch.ops.aten.silu_backward.grad_input(grad_gate, gate, grad_input=grad_gate)\n", ""),
    Mutation("gradient of up through the gate's input", "torch.mul(F.silu(gate), grads[0], out=grad_up)", "torch.mul(gate, grads[0], out=grad_up)"),
    Mutation("tanh form for the exact one", '"gelu": F.gelu,', '"gelu": lambda x: F.gelu(x, approximate="tanh"),'),
    Mutation("sigmoid is silu", '"sigmoid": torch.sigmoid', '"sigmoid": F.silu'),
    Mutation("bilinear is linear", '"identity": lambda x: x', '"identity": torch.ones_like'),
)  # fmt: skip


def example(seed: int = 0) -> Example:
    """Width 8, 12 between, and a text."""
    from nexus.layers.components.swiglu import SwiGLU

    return Example(drawn(SwiGLU(8, 12), seed, dtype=torch.float32), (noise(seed, 2, 7, 8, dtype=torch.float32),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """The fast SwiGLU and every member of the family."""
    from transformers.models.llama import modeling_llama as llama
    from transformers.models.t5 import modeling_t5 as t5

    from nexus.layers.components.swiglu import GatedFeedForward, SwiGLU

    x = noise(seed, 2, 7, 8)
    ours = drawn(SwiGLU(8, 12), seed)
    gate, up = ours.gate_up_proj.weight.chunk(2)
    weights = {"gate_proj.weight": gate, "up_proj.weight": up, "down_proj.weight": ours.down_proj.weight}
    config = llama.LlamaConfig(hidden_size=8, intermediate_size=12, num_attention_heads=2)
    y = run(llama.LlamaMLP(config).double(), weights, x)
    yield from compare(ours(x), y, {**parameters(ours), "x": x}, "SwiGLU, Llama")
    for name in ("gelu", "gelu_tanh"):
        family = drawn(GatedFeedForward(8, 12, name), seed)
        gate, up = family.gate_up_proj.weight.chunk(2)
        weights = {"wi_0.weight": gate, "wi_1.weight": up, "wo.weight": family.down_proj.weight}
        act = "gelu" if name == "gelu" else "gelu_new"
        block = t5.T5DenseGatedActDense(t5.T5Config(d_model=8, d_ff=12, dense_act_fn=act, dropout_rate=0.0)).double()
        yield from compare(family(x), run(block, weights, x), {**parameters(family), "x": x}, f"{name}, T5")
    for name, gate_fn in {
        "silu": nn.SiLU(),
        "relu": nn.ReLU(),
        "sigmoid": nn.Sigmoid(),
        "identity": nn.Identity(),
    }.items():
        family = drawn(GatedFeedForward(8, 12, name), seed)
        gate, up = family.gate_up_proj.weight.chunk(2)
        weights = {"proj.weight": torch.cat((up, gate)), "proj.bias": torch.zeros(24).double()}
        y = nn.functional.linear(
            run(oracle("x_transformers.x_transformers").GLU(8, 12, gate_fn).double(), weights, x),
            family.down_proj.weight,
        )
        yield from compare(family(x), y, {**parameters(family), "x": x}, f"{name}, x-transformers")
