"""H3: against the authors' layer (frozen), and its convolutions against the recurrence."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from nexus.zoo.parity import Golden, Renaming, randomise, token_by_token
from nexus.zoo.proof import Comparison, Example, Mutation

ORACLE = ("torch",)  # and HazyResearch/safari, frozen in tests/golden/h3.safetensors
TOLERANCE = 1e-5

MUTATIONS = (
    Mutation("shift forgotten", "fft_conv(keys, self.shift_kernel())[:, -u.shape[1] :] + self.shift_D * k", "k + self.shift_D * k"),
    Mutation("convolved in place of correlated", "torch.fft.rfft(self.shift_B, n=size).conj()", "torch.fft.rfft(self.shift_B, n=size)"),
    Mutation("keys and values swapped in the heads", '"bthi,bthj->bijth", k, v', '"bthi,bthj->bijth", v, k'),
    Mutation("skip of the state space forgotten", "kept + self.D * stored", "kept + 0 * self.D"),
    Mutation("skip of the shift forgotten", " + self.shift_D * k\n", " + 0 * self.shift_D\n"),
    Mutation("queries read the wrong axis", '"bthi,bijth->btjh"', '"bthj,bijth->btih"'),
)  # fmt: skip

NAMES = Renaming(
    (("ssm.", "kernel.kernel."), ("out_proj", "output_linear")),
    exact={
        "shift_B": "ssm_k_kernel.kernel.B",
        "shift_C": "ssm_k_kernel.kernel.C",
        "shift_D": "ssm_k_D",
        "ssm.log_A_real": "kernel.kernel.inv_A_real",
    },
)


def example(seed: int = 0) -> Example:
    """Width 4, heads of 2."""
    from nexus.layers.ssm.h3 import H3

    torch.manual_seed(seed)
    return Example(H3(4, d_state=6, head_dim=2), (torch.randn(2, 11, 4),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """The frozen layer with heads of 1 and of 2, then token by token."""
    from nexus.layers.ssm.h3 import H3

    for run in (seed, 1):
        golden = Golden.load("h3", run)
        ours = H3(4, d_state=6, head_dim=1 + run % 3 % 2, learn_inputs=True)
        NAMES.load(ours, golden.weights)
        yield from golden.compare(ours, ours(golden.inputs["x"])[0], NAMES)

    torch.manual_seed(seed)
    layer = H3(4, d_state=6, head_dim=2, learn_inputs=True).double()
    randomise(layer, seed)
    u = torch.randn(2, 13, 4, dtype=torch.float64)
    yield Comparison("token by token", token_by_token(layer, u), layer(u)[0])
