"""Weight normalisation beside torch's parametrisation, and the start from data beside its own definition."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._shared import compare, drawn, noise, parameters, run

ORACLE = ("torch",)
TOLERANCE = 1e-10
MUTATIONS = (
    Mutation("direction not divided by its length", "direction * (length / self.lengths(direction))", "direction * length"),
    Mutation("length detached", "length / self.lengths(direction)", "length / self.lengths(direction.detach())"),
    Mutation("one length for all", "others = [i for i in range(weight.dim()) if i != self.dim % weight.dim()]", "others = list(range(weight.dim()))"),
    Mutation("lengths of the columns", "if i != self.dim % weight.dim()]", "if i == self.dim % weight.dim()]"),
    Mutation("length squared", "torch.linalg.vector_norm(weight, dim=others, keepdim=True)", "weight.square().sum(others, keepdim=True)"),
    Mutation("starts with lengths of 1", "return self.lengths(weight), weight", "return torch.ones_like(self.lengths(weight)), weight"),
    Mutation("start from data: variance for deviation", ".div_(variance.sqrt().unsqueeze(1))", ".div_(variance.unsqueeze(1))"),
    Mutation("start from data: bias not scaled", "(module.bias - mean) / variance.sqrt()", "module.bias - mean"),
)  # fmt: skip


def example(seed: int = 0) -> Example:
    """A linear layer, and a text."""
    from nexus.layers.components.weight_norm import weight_norm

    layer = weight_norm(nn.Linear(8, 6))
    return Example(drawn(layer, seed, dtype=torch.float32), (noise(seed, 2, 7, 8, dtype=torch.float32),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Linear layers and convolutions, by rows and by columns: the start, outputs and gradients under drawn weights."""
    from nexus.layers.components.weight_norm import start_from_data, weight_norm

    cases: tuple[tuple[type[nn.Module], tuple[int, ...], int, tuple[int, ...]], ...] = (
        (nn.Linear, (8, 6), 0, (2, 7, 8)),
        (nn.Linear, (8, 6), 1, (2, 7, 8)),
        (nn.Conv1d, (4, 6, 3), 0, (2, 4, 9)),
        (nn.ConvTranspose1d, (4, 6, 3), -2, (2, 4, 9)),
    )
    for kind, sizes, dim, shape in cases:
        torch.manual_seed(seed)
        plain = kind(*sizes).double()
        ours, theirs = (kind(*sizes).double() for _ in range(2))
        for module in (ours, theirs):
            module.load_state_dict(plain.state_dict())
        weight_norm(ours, dim=dim)
        parametrizations.weight_norm(theirs, dim=dim % 3 if kind is nn.ConvTranspose1d else dim)
        x = noise(seed, *shape)
        what = f"{kind.__name__}, dim={dim}"
        yield Comparison(f"start of {what}", ours(x), plain(x))
        for name, value in ours.state_dict().items():
            yield Comparison(f"{name} of {what}", value.clone(), theirs.state_dict()[name])  # ours are drawn below
            if value.shape != theirs.state_dict()[name].shape:
                return  # torch's kernel would read lengths of another shape from memory that is not theirs
        drawn(ours, seed)
        yield from compare(ours(x), run(theirs, parameters(ours), x), {**parameters(ours), "x": x}, what)
    layer = weight_norm(nn.Linear(8, 6).double())
    start_from_data(layer, noise(seed, 50, 8).detach())
    y: Tensor = layer(noise(seed, 50, 8)).detach()
    yield Comparison("start from data: mean", y.mean(0), torch.zeros(6).double())
    yield Comparison("start from data: variance", y.var(0, correction=0), torch.ones(6).double())
