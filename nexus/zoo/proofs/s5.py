"""S5: against s5-pytorch (frozen), and the scan against the loop over complex matrices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from nexus.zoo.parity import Golden, Renaming, randomise
from nexus.zoo.proof import Comparison, Example, Mutation

ORACLE = ("torch",)  # and s5-pytorch 0.2.1, frozen in tests/golden/s5.safetensors
TOLERANCE = 2e-6

MUTATIONS = (
    Mutation("conjugates not doubled", "2 * y if self.conj_sym else y", "y"),
    Mutation("doubled without conjugates", "2 * y if self.conj_sym else y", "2 * y"),
    Mutation("zero-order hold of B forgotten", "((decay - 1) / a).unsqueeze(-1) * b", "b"),
    Mutation("skip forgotten", " + self.D * u, None if", ", None if"),
    Mutation("C conjugated", "torch.view_as_complex(self.C).mT).real", "torch.view_as_complex(self.C).conj().mT).real"),
    Mutation("steps' rate forgotten", "dt, a, b = rate * self.log_step.exp()", "dt, a, b = self.log_step.exp()"),
)


NAMES = Renaming(exact={name: f"seq.{name}" for name in ("Lambda", "B", "C", "D", "log_step")})


def example(seed: int = 0) -> Example:
    """Eight states for three channels."""
    from nexus.layers.ssm.s5 import S5

    torch.manual_seed(seed)
    return Example(S5(3, 8), (torch.randn(2, 11, 3),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """The frozen layer (all states kept), then half the states beside a loop over the whole system."""
    from nexus.layers.ssm.s5 import S5

    golden = Golden.load("s5", seed)
    ours = S5(3, 8, conj_sym=False)
    NAMES.load(ours, golden.weights)
    yield from golden.compare(ours, ours(golden.inputs["x"])[0], NAMES)

    torch.manual_seed(seed)
    layer = S5(4, 8, blocks=2, discretization=("zoh", "bilinear")[seed % 2]).double()
    randomise(layer, seed)
    u, rate = torch.randn(2, 9, 4, dtype=torch.float64), 1.5
    yield Comparison("half the states beside a loop over all", layer(u, rate=rate)[0], _loop(layer, u, rate))


def _loop(layer: Any, u: torch.Tensor, rate: float) -> torch.Tensor:
    """Both of each pair, discretised as matrices, step by step."""

    def whole(pairs: torch.Tensor, dim: int) -> torch.Tensor:
        one = torch.view_as_complex(pairs)
        return torch.cat((one, one.conj()), dim=dim)

    get = layer.get_parameter
    a, b, c = whole(get("Lambda"), 0), whole(get("B"), 0), whole(get("C"), 1)
    dt = rate * get("log_step").exp().repeat(2)
    if layer.discretization == "zoh":
        decay = torch.linalg.matrix_exp(torch.diag(dt * a))
        enter = torch.linalg.solve(torch.diag(a), (decay - torch.eye(len(a))) @ b)
    else:
        half, eye = torch.diag(dt * a / 2), torch.eye(len(a), dtype=a.dtype)
        decay, enter = torch.linalg.solve(eye - half, eye + half), torch.linalg.solve(eye - half, dt[:, None] * b)
    x = torch.zeros(len(u), len(a), dtype=a.dtype)
    outputs: list[torch.Tensor] = []
    for value in u.unbind(1):
        x = x @ decay.mT + value.to(b.dtype) @ enter.mT
        outputs.append((x @ c.mT).real + get("D") * value)
    return torch.stack(outputs, dim=1)
