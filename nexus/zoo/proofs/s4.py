"""S4: against the reference's block (frozen), and its kernel against dense matrix powers and the recurrence."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from nexus.zoo.parity import Golden, Renaming, randomise
from nexus.zoo.proof import Comparison, Example, Mutation

ORACLE = ("torch",)  # and state-spaces/s4, frozen in tests/golden/s4.safetensors
TOLERANCE = 1e-9

NAMES = Renaming(
    (
        ("out_proj", "output_linear.0"),
        ("log_dt", "layer.kernel.inv_dt"),
        ("log_A_real", "layer.kernel.A_real"),
        ("A_imag", "layer.kernel.A_imag"),
    ),
    exact={"B": "layer.kernel.B", "C": "layer.kernel.C", "P": "layer.kernel.P", "D": "layer.D"},
)
MUTATIONS = (
    Mutation("low-rank correction forgotten", "2 * (product(c, b) - r)", "2 * product(c, b)"),
    Mutation("factor of the bilinear transform left in the correction", "product(c, p) * (1 + omega) / (1 +", "product(c, p) / (1 +"),
    Mutation("eigenvalues not multiplied by the step", "(dt * diagonal).unsqueeze(-1))  # (D, N, F)", "diagonal.unsqueeze(-1))  # (D, N, F)"),
    Mutation("conjugates forgotten", "torch.cat((one, one.conj()), dim=-1)", "torch.cat((one, one), dim=-1)"),
    Mutation("kernel wraps round: C not truncated", "c = c - self._row_times_power(c, self._dense()[0], length)", "c = c + 0"),
    Mutation("Euler in place of the bilinear transform", "solved = torch.linalg.solve(eye - half, right)", "solved = right"),
)  # fmt: skip


def example(seed: int = 0) -> Example:
    """Three channels with eight states each."""
    from nexus.layers.ssm.s4 import S4

    torch.manual_seed(seed)
    return Example(S4(3, d_state=8), (torch.randn(2, 11, 3),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """The frozen block; the kernel beside ``C A^l B``; the convolution beside the recurrence."""
    from nexus.layers.ssm.s4 import S4

    golden = Golden.load("s4", seed)
    ours = S4(3, d_state=8).double()
    ours.stored_length = 12
    NAMES.load(ours, golden.weights)
    yield from golden.compare(ours, ours(golden.inputs["x"])[0], NAMES)

    torch.manual_seed(seed)
    layer, length = S4(4, d_state=8).double(), 13 + seed
    randomise(layer, seed)
    a, b, c = layer.system()
    powers = torch.stack([torch.linalg.matrix_power(a, i) for i in range(length)], dim=1)
    dense = torch.einsum("dn,dlnm,dm->dl", c, powers, b)
    yield Comparison("imaginary part of the dense kernel", dense.imag, torch.zeros_like(dense.imag))
    yield Comparison("kernel beside dense matrix powers", layer.kernel(length), dense.real)
    u = torch.randn(2, length, 4, dtype=torch.float64)
    yield Comparison("convolution beside recurrence", layer(u)[0], layer(u, layer.init_state(2))[0])
