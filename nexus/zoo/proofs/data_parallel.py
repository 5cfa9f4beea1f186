"""Data parallel in two gloo processes beside torch's DistributedDataParallel there, and one process with all samples."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._processes import in_processes

ORACLE = ("torch",)
TOLERANCE = 1e-6  # half of the network is float32
WORLD, STEPS = 2, 4
MUTATIONS = (
    Mutation("a sum, not a mean", "(flat / world).split", "flat.split"),
    Mutation("weights differ at the start", "            dist.broadcast(tensor.detach(), 0)\n", "                pass\n"),
    Mutation("buffers differ at the start", "(*module.parameters(), *module.buffers())", "module.parameters()"),
    Mutation("the last process's weights", "dist.broadcast(tensor.detach(), 0)",
             "dist.broadcast(tensor.detach(), dist.get_world_size() - 1)"),
    Mutation("the last bucket stays behind", "    if bucket:\n", "    if False:\n"),
    Mutation("the mean is not written back", "gradient.view_as(parameter).clone()", "parameter.grad"),
    Mutation("types mixed in a bucket", "size >= BUCKET or parameter.dtype != bucket[0].dtype", "size >= BUCKET"),
    Mutation("the exchange is always held back", "isinstance(model, DistributedDataParallel) and not last",
             "isinstance(model, DistributedDataParallel)"),
)  # fmt: skip


class Net(nn.Module):
    """Two types of numbers, a buffer, a frozen layer, and a branch that only batches with a flag take."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.frozen = nn.Linear(4, 6), nn.Linear(6, 6).requires_grad_(False)
        self.branch, self.last = nn.Linear(6, 6), nn.Linear(6, 3).double()
        self.register_buffer("shift", torch.randn(6))

    def forward(self, x: Tensor, through_branch: bool = True) -> Tensor:
        x = torch.tanh(self.frozen(self.first(x)) + self.shift)
        x = x + self.branch(x) if through_branch else x
        return self.last(x.double())


def example(seed: int = 0) -> Example:
    """A wrapped layer in one process, and a batch."""
    from nexus.training.data_parallel import DataParallel

    torch.manual_seed(seed)
    return Example(DataParallel(nn.Linear(4, 3)), (torch.randn(5, 4),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Gradients and weights of steps, with a branch that one process does not take, and with held-back exchanges."""
    parts = in_processes(lambda rank, world: _work(seed, rank, world), WORLD)
    alone = _alone(seed)
    for rank, part in enumerate(parts):
        for name in (name for name in part if name.startswith("ours/")):
            what = f"{name.removeprefix('ours/')} in process {rank}"
            yield Comparison(f"{what}, beside torch's engine", part[name], part[name.replace("ours/", "theirs/")])
            yield Comparison(f"{what}, beside one process", part[name], alone[name])
        for name in (name for name in part if name.startswith("held/")):
            yield Comparison(
                f"{name.removeprefix('held/')} in process {rank}, two batches a step", part[name], alone[name]
            )


def _batch(seed: int, step: int, rank: int) -> tuple[Tensor, Tensor, bool]:
    draw = torch.Generator().manual_seed(1_000 * seed + 10 * step + rank)
    return torch.randn(5, 4, generator=draw), torch.randint(3, (5,), generator=draw), rank == 0 or step % 2 == 0


def _work(seed: int, rank: int, world: int) -> dict[str, Tensor]:
    """What one process sees: our engine and torch's from the same start, and torch's with exchanges held back."""
    from nexus.training import data_parallel

    data_parallel.BUCKET = 64  # several buckets
    answer: dict[str, Tensor] = {}
    ours = data_parallel.DataParallel(Net(seed + rank))
    theirs = DistributedDataParallel(Net(seed + rank), find_unused_parameters=True)
    for prefix, engine in (("ours", ours), ("theirs", theirs)):
        optimizer = torch.optim.SGD([p for p in engine.parameters() if p.requires_grad], lr=0.1, momentum=0.9)
        for step in range(STEPS):
            inputs, labels, branch = _batch(seed, step, rank)
            optimizer.zero_grad()
            F.cross_entropy(engine(inputs, branch), labels).backward()
            if engine is ours:
                ours.exchange()
            optimizer.step()
            answer |= {f"{prefix}/{name}": value for name, value in _seen(engine.module, step)}
    held = data_parallel.distributed(Net(seed + rank))
    optimizer = torch.optim.SGD([p for p in held.parameters() if p.requires_grad], lr=0.1)
    for step in range(STEPS):
        optimizer.zero_grad()
        for part in range(2):
            inputs, labels, _ = _batch(seed, 2 * step + part, rank)
            with data_parallel.exchange_only_if(held, last=part == 1):
                (F.cross_entropy(held(inputs), labels) / 2).backward()
        optimizer.step()
        answer |= {f"held/{name}": value for name, value in _seen(held.module, step)}
    assert dist.get_world_size() == world
    return answer


def _alone(seed: int) -> dict[str, Tensor]:
    """The same steps in one process, which takes the mean over all shares."""
    answer: dict[str, Tensor] = {}
    for prefix, parts, momentum in (("ours", 1, 0.9), ("held", 2, 0.0)):
        net = Net(seed)
        optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1, momentum=momentum)
        for step in range(STEPS):
            optimizer.zero_grad()
            for index in range(parts):
                for rank in range(WORLD):
                    inputs, labels, branch = _batch(seed, parts * step + index, rank)
                    (F.cross_entropy(net(inputs, branch or parts > 1), labels) / (WORLD * parts)).backward()
            optimizer.step()
            answer |= {f"{prefix}/{name}": value for name, value in _seen(net, step)}
    return answer


def _seen(net: nn.Module, step: int) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in (*net.named_parameters(), *net.named_buffers()):
        yield f"{name} after step {step}", tensor.detach().clone()
        if tensor.grad is not None:
            yield f"gradient of {name} at step {step}", tensor.grad.clone()
