"""Fully sharded data parallel in two gloo processes beside torch's `fully_shard` there, and one process without shards.

Ours chooses the units, and gathers and spreads whole states; torch's engine moves the shares on both sides, so the
process without shards is what tells whether the numbers are right.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._processes import in_processes

ORACLE = ("torch",)
TOLERANCE = 1e-10
WORLD, STEPS = 2, 3
MUTATIONS = (
    Mutation("the whole is not sharded", "    fully_shard(model, mesh=mesh)\n", ""),
    Mutation("blocks are no units", "                fully_shard(block, mesh=mesh)\n", "                pass\n"),
    Mutation("weights are not loaded", "    set_model_state_dict(model, dict(weights), options=_SPREAD)\n", ""),
    Mutation("moments are not loaded",
             "    set_optimizer_state_dict(model, optimizer, state, options=_SPREAD)\n", ""),
    Mutation("each process reads its own file", "full_state_dict=True, broadcast_from_rank0=True",
             "full_state_dict=True, broadcast_from_rank0=False"),
    Mutation("shares are saved, not the whole", "full_state_dict=True, cpu_offload=True", "full_state_dict=False"),
    Mutation("gradients not counted", "2 * weight_bytes + optimizer_bytes", "weight_bytes + optimizer_bytes"),
    Mutation("memory that no process shares", "(2 * weight_bytes + optimizer_bytes) / world",
             "(2 * weight_bytes + optimizer_bytes)"),
)  # fmt: skip


class Net(nn.Module):
    """Blocks in a list, one of which has a list of its own; every first axis can be halved."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first = nn.Linear(4, 6)
        self.blocks = nn.ModuleList([nn.Linear(6, 6), _Pair(), nn.Linear(6, 6)])
        self.last = nn.Linear(6, 4)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = x + torch.tanh(block(x))
        return self.last(x)


class _Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.Linear(6, 6) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = part(x)
        return x


def example(seed: int = 0) -> Example:
    """The small network that is sharded, and a batch."""
    return Example(Net(seed), (torch.randn(5, 4, dtype=torch.float64),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Weights and clipped norms of steps, again after a stop, how much a process holds, and what its units are."""
    parts = in_processes(lambda rank, world: _work(seed, rank), WORLD)
    alone = _alone(seed)
    for rank, part in enumerate(parts):
        for name, expected in alone.items():
            if rank == 0 or not name.startswith("weight"):  # whole weights come to the first process
                yield Comparison(f"{name} in process {rank}", part[name], expected)
        for name in (name for name in part if name.startswith("plain/")):
            what = name.removeprefix("plain/")
            yield Comparison(f"{what} in process {rank}, beside torch's one unit", part[what], part[name])
        yield Comparison(f"bytes of process {rank}", part["held"], part["bytes by the formula"])


def _work(seed: int, rank: int) -> dict[str, Tensor]:
    """Steps, the whole state, a fresh start in other weights, and as many steps again."""
    from torch.distributed.fsdp import fully_shard

    from nexus.training.fsdp import FullyShardedDataParallel, bytes_of_a_process, load_whole_state, whole_state

    parameters = sum(p.numel() for p in Net(seed).parameters())
    model = FullyShardedDataParallel(Net(seed))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    answer = _steps(model, optimizer, seed, 0, [rank])
    answer["units"] = torch.tensor(sum(hasattr(m, "unshard") for m in model.modules()))
    answer["held"] = torch.tensor(_bytes(model, optimizer), dtype=torch.float64)
    by_formula = bytes_of_a_process(parameters, WORLD, optimizer_bytes=16, weight_bytes=8)
    answer["bytes by the formula"] = torch.tensor(by_formula, dtype=torch.float64)
    plain = Net(seed)
    fully_shard(plain)
    norms = _steps(plain, torch.optim.AdamW(plain.parameters(), lr=1e-2), seed, 0, [rank])
    answer |= {f"plain/{name}": norm for name, norm in norms.items()}
    saved = whole_state(model, optimizer)
    again = FullyShardedDataParallel(Net(seed + 100 + rank))
    fresh = torch.optim.AdamW(again.parameters(), lr=1e-2)
    load_whole_state(again, fresh, *saved)
    answer |= _steps(again, fresh, seed, STEPS, [rank])
    weights, state = whole_state(again, fresh)
    answer |= {f"weight {name}": value for name, value in weights.items()}
    moments = state["state"] if rank == 0 else {}
    return answer | {f"weight {name}, its {kind}": moments[name][kind] for name in moments for kind in ("exp_avg",)}


def _alone(seed: int) -> dict[str, Tensor]:
    """The same steps in one process that never stops."""
    model = Net(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    answer = {"units": torch.tensor(1 + len(model.blocks))}
    for start in (0, STEPS):
        answer |= _steps(model, optimizer, seed, start, list(range(WORLD)))
    for name, parameter in model.named_parameters():
        answer[f"weight {name}"] = parameter.detach()
        answer[f"weight {name}, its exp_avg"] = optimizer.state[parameter]["exp_avg"]
    return answer


def _steps(
    model: nn.Module, optimizer: torch.optim.Optimizer, seed: int, start: int, ranks: list[int]
) -> dict[str, Tensor]:
    """Steps on the shares of some processes, and their gradients' norms before clipping."""
    norms = {}
    for step in range(start, start + STEPS):
        optimizer.zero_grad()
        draws = [torch.Generator().manual_seed(1_000 * seed + 10 * step + rank) for rank in ranks]
        inputs = torch.cat([torch.randn(5, 4, generator=draw, dtype=torch.float64) for draw in draws])
        labels = torch.cat([torch.randint(4, (5,), generator=draw) for draw in draws])
        F.cross_entropy(model(inputs), labels).backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        norms[f"norm of the gradient at step {step}"] = _whole(norm).detach()
        optimizer.step()
    return norms


def _whole(tensor: Tensor) -> Tensor:
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _bytes(model: nn.Module, optimizer: torch.optim.Optimizer) -> float:
    """What lies in this process: its shares of weights, gradients and moments."""
    from torch.distributed.tensor import DTensor

    held: list[Tensor] = list(model.parameters())
    held += [p.grad for p in model.parameters() if p.grad is not None]
    held += [optimizer.state[p][kind] for p in model.parameters() for kind in ("exp_avg", "exp_avg_sq")]
    local = [tensor.to_local() if isinstance(tensor, DTensor) else tensor for tensor in held]
    return float(sum(tensor.numel() * tensor.element_size() for tensor in local))
