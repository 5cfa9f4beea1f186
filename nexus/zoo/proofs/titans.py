"""Titans memory: against titans-pytorch (frozen), and against the rule written out with automatic differentiation."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from nexus.zoo.parity import Golden, Renaming, randomise
from nexus.zoo.proof import Comparison, Example, Mutation

ORACLE = ("torch",)  # and titans-pytorch 0.5.5, frozen in tests/golden/titans.safetensors
TOLERANCE = 1e-10

NAMES = Renaming(
    (
        ("memory.", "memory_model_parameters."),
        ("q_proj", "to_queries"),
        ("k_proj", "to_keys"),
        ("v_proj", "to_values"),
        ("step_proj", "to_adaptive_step.0"),
        ("momentum_proj", "to_momentum.0"),
        ("decay_proj", "to_decay_factor.0"),
        ("gate_proj", "retrieve_gate.0"),
        ("out_proj", "combine_heads"),
    )
)

MUTATIONS = (
    Mutation("gradient's factor two forgotten", "errors = [2 * scale *", "errors = [scale *"),
    Mutation("memory forgets by alpha, not by 1 - alpha", "F.logsigmoid(-self.decay_proj(x))", "F.logsigmoid(self.decay_proj(x))"),
    Mutation("momentum not carried over", "y = a.unsqueeze(-1) * (y @ m) + b.unsqueeze(-1) * (y @ s)", "y = a.unsqueeze(-1) * (y @ m)"),
    Mutation("anchor never moves on", "state._replace(anchor=state.weights, offset=0)", "state._replace(offset=0)"),
    Mutation("ascends", "- ((y @ x.mT) * mix) @ error", "+ ((y @ x.mT) * mix) @ error"),
    Mutation("slope of GELU without its second term", "+ z * torch.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)", ""),
    Mutation("forgetting and momentum swapped", "mix = forget @ fade", "mix = fade @ forget"),
)  # fmt: skip


def example(seed: int = 0) -> Example:
    """Two memories of width 4."""
    from nexus.layers.ssm.titans import TitansMemory

    torch.manual_seed(seed)
    return Example(TitansMemory(8, n_heads=2, chunk_size=4), (torch.randn(2, 11, 8),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """The frozen oracle (depth 1, 2 or 3 by seed), then the sequential rule, over chunk borders and from a state."""
    from nexus.layers.ssm.titans import TitansMemory, titans_chunked, titans_sequential

    golden = Golden.load("titans", seed)
    depth = sum(name.startswith("memory_model") for name in golden.weights)
    ours = TitansMemory(8, 2, depth=depth, chunk_size=4, max_step=0.5, normalise=False, reduction="mean").double()
    NAMES.load(ours, golden.weights)
    yield from golden.compare(ours, ours(golden.inputs["x"])[0], NAMES)

    torch.manual_seed(seed)
    memory = TitansMemory(8, 2, depth=2, chunk_size=5).double()
    randomise(memory, seed)
    tokens = memory.tokens(torch.randn(2, 13, 8, dtype=torch.float64))
    state = titans_sequential(tokens.part(0, 3), memory.init_state(2), 5)[1]
    fast, after = titans_chunked(tokens.part(3, 13), state, 5)
    slow, wanted = titans_sequential(tokens.part(3, 13), state, 5)
    yield Comparison("chunked beside the explicit gradient steps", fast, slow)
    for i, (m, s) in enumerate(zip(after.weights, wanted.weights, strict=True)):
        yield Comparison(f"weights of layer {i} afterwards", m, s)
