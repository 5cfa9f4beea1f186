"""S4D: against the reference's small file (frozen), and its kernel against powers taken one by one."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from nexus.zoo.parity import Golden, Renaming, randomise
from nexus.zoo.proof import Comparison, Example, Mutation

ORACLE = ("torch",)  # and state-spaces/s4, frozen in tests/golden/s4d.safetensors
TOLERANCE = 1e-9

NAMES = Renaming((("ssm.", "kernel."), ("out_proj", "output_linear.0")))

MUTATIONS = (
    Mutation("conjugates forgotten", "return 2 * ((b * c).unsqueeze(1)", "return ((b * c).unsqueeze(1)"),
    Mutation("zero-order hold of B forgotten", "enter = (decay - 1) / a", "enter = dt + 0 * a"),
    Mutation("step size not applied", "decay = (dt * a).exp()", "decay = a.exp()"),
    Mutation("eigenvalues may grow", "torch.complex(-self.log_A_real.exp()", "torch.complex(self.log_A_real.exp()"),
    Mutation("kernel starts one step late", "torch.arange(length, device=a.device)", "torch.arange(1, length + 1, device=a.device)"),
    Mutation("bilinear without its half", "(1 + dt * a / 2) / (1 - dt * a / 2)", "(1 + dt * a) / (1 - dt * a)"),
)  # fmt: skip


def example(seed: int = 0) -> Example:
    """Three channels with eight states each."""
    from nexus.layers.ssm.s4d import S4D

    torch.manual_seed(seed)
    return Example(S4D(3, d_state=8), (torch.randn(2, 11, 3),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """The frozen layer; both discretisations beside the continuous system's exact answer to a step."""
    from nexus.layers.ssm.s4d import S4D, DiagonalSSM

    golden = Golden.load("s4d", seed)
    ours = S4D(3, d_state=8).double()
    NAMES.load(ours, golden.weights)
    yield from golden.compare(ours, ours(golden.inputs["x"])[0], NAMES)

    torch.manual_seed(seed)
    for way in ("zoh", "bilinear"):
        system = DiagonalSSM(3, 8, discretization=way).double()
        randomise(system, seed)
        dt, a = system.log_dt.exp().unsqueeze(-1), torch.complex(-system.log_A_real.exp(), system.A_imag)
        matrix, column = torch.diag_embed(dt * a), torch.ones_like(a).unsqueeze(-1)
        eye = torch.eye(4, dtype=a.dtype)
        if way == "zoh":  # the matrix exponential of [[dt A, dt B], [0, 0]]
            whole = torch.zeros(3, 5, 5, dtype=a.dtype)
            whole[:, :4, :4], whole[:, :4, 4:] = matrix, dt.unsqueeze(-1) * column
            whole = torch.linalg.matrix_exp(whole)
            decay, enter = whole[:, :4, :4], whole[:, :4, 4]
        else:
            decay = torch.linalg.solve(eye - matrix / 2, eye + matrix / 2)
            enter = torch.linalg.solve(eye - matrix / 2, dt.unsqueeze(-1) * column).squeeze(-1)
        powers = torch.stack([torch.linalg.matrix_power(decay, i) for i in range(9)], dim=1)
        dense = 2 * torch.einsum("dn,dlnm,dm->dl", torch.view_as_complex(system.C), powers, enter).real
        yield Comparison(f"kernel beside dense powers, {way}", system.kernel(9), dense)
