"""A model that no process holds whole: tensor, pipeline and sharded data parallel at once.

The one idea: three axes. Neighbours share each layer (:mod:`nexus.training.tensor_parallel`), stages follow each other
(:mod:`nexus.training.pipeline_parallel`), and replicas of all that take different batches, their weights sharded by
FSDP2. Whatever the axes, a step is that of one process with all batches. Papers: Megatron-LM arXiv:1909.08053, GPipe
arXiv:1811.06965; all three at once: arXiv:2104.04473.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from nexus.core.config import BaseConfig, positive
from nexus.core.state_space import HybridLM
from nexus.training.objectives import IGNORED
from nexus.training.pipeline_parallel import Pipeline, Schedule, Stage
from nexus.training.processes import current
from nexus.training.tensor_parallel import orders, tensor_parallel

AXES = ("pipeline", "data", "tensor")  # the innermost exchanges most, so it gets neighbouring processes


@dataclass(frozen=True, kw_only=True)
class ModelParallelConfig(BaseConfig):
    """How the processes divide a model; those that are left over are replicas with FSDP2.

    Attributes:
        tensor: processes that share each layer.
        pipeline: stages that follow each other.
        microbatches: pieces of a batch that pass through the stages.
        schedule: of the pieces: "1f1b" keeps few of them alive, "gpipe" all.
    """

    tensor: int = 1
    pipeline: int = 1
    microbatches: int = 1
    schedule: Schedule = "1f1b"

    def faults(self) -> list[str]:
        found = positive(self, "tensor", "pipeline", "microbatches")
        if self.schedule == "1f1b" and self.microbatches < self.pipeline:
            cure = f"use at least {self.pipeline}, or schedule='gpipe'"
            found.append(f"microbatches = {self.microbatches} are fewer than pipeline = {self.pipeline} stages; {cure}")
        return found

    def replicas(self, world: int) -> int:
        """How many copies of the model ``world`` processes hold.

        Raises:
            ValueError: they don't come out even.
        """
        share = self.tensor * self.pipeline
        if world % share:
            raise ValueError(
                f"tensor = {self.tensor}, pipeline = {self.pipeline}: a copy of the model takes {share} processes, and "
                f"{world} are no multiple of that; start another number, or divide otherwise"
            )
        return world // share


class ModelParallel(nn.Module):
    """Our part of a language model, and the steps that all processes take together.

    ::

        with joined():                              # torchrun --nproc-per-node 4 train.py
            parallel = ModelParallel(model, ModelParallelConfig(tensor=2, pipeline=2, microbatches=4))
            optimizer = torch.optim.AdamW(parallel.parameters(), lr=3e-4)
            for ids in batches_of(parallel.replica, parallel.replicas):
                loss = parallel.step(ids)
                parallel.clip(1.0)
                optimizer.step()
                optimizer.zero_grad()

    Args:
        model: is taken apart; the first process's weights are those that count.
        config: how; None for one process.

    Attributes:
        replica, replicas: which batches are ours; processes of one replica must be given the same.

    Raises:
        ValueError: the layers or the processes don't come out even.
    """

    def __init__(self, model: HybridLM, config: ModelParallelConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or ModelParallelConfig()
        self.processes = current()
        self.replicas = c.replicas(self.processes.world)
        self.mesh = _mesh(model, c, self.replicas) if self.processes.world > 1 else None
        self.replica, index = (self._place("data"), self._place("pipeline"))
        tied = model.lm_head.weight is model.embed.weight
        self.stage = Stage(model, index, c.pipeline)
        self.shared_ends = self._ends() if tied and c.pipeline > 1 else None
        if self.mesh is not None and c.tensor > 1:
            tensor_parallel(self.stage, self.mesh["tensor"])
        if self.mesh is not None and self.replicas > 1:
            shard(self.stage, self.mesh["data"])
        group = None if self.mesh is None else self.mesh["pipeline"].get_group()
        self.pipeline = Pipeline(self.stage, index, c.pipeline, group, c.microbatches, c.schedule)

    def _place(self, axis: str) -> int:
        return 0 if self.mesh is None else self.mesh[axis].get_local_rank()

    def _ends(self) -> dist.ProcessGroup | None:
        """The processes that hold the two ends of our pipeline; all processes make all such groups."""
        assert self.mesh is not None
        ours = None
        for ranks in self.mesh.mesh[[0, -1]].flatten(1).t().tolist():
            group = dist.new_group(ranks)
            ours = group if self.processes.rank in ranks else ours
        return ours

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (B, T, V) of ids (B, T).

        Raises:
            ValueError: there are several stages.
        """
        if self.config.pipeline > 1:
            raise ValueError(f"pipeline = {self.config.pipeline}: no process has all blocks; call step, or tensor only")
        return self.stage(ids)

    def step(self, ids: Tensor, labels: Tensor | None = None) -> Tensor:
        """Forward and backward; adds the gradients of the mean loss over all replicas' tokens, and returns that mean.

        Args:
            ids: (B, T) of our replica. labels: (B, T), `IGNORED` where nothing is learnt; None for the ids.
        """
        labels = ids if labels is None else labels
        count = self._sum((labels[:, 1:] != IGNORED).sum().double(), "data")
        total = self.pipeline.run(ids, labels, count / self.replicas)  # FSDP2 takes the replicas' mean
        if self.shared_ends is not None and (weight := self._shared_weight()) is not None:
            _add_up(weight, self.shared_ends)
        return self._sum(self._sum(total, "pipeline"), "data") / count

    def _sum(self, value: Tensor, axis: str) -> Tensor:
        if self.mesh is not None and self.mesh[axis].size() > 1:
            dist.all_reduce(value, group=self.mesh[axis].get_group())
        return value

    def _shared_weight(self) -> Tensor | None:
        """The embedding, which the first stage and the last both hold where it is tied to the head."""
        if self.stage.first:
            return self.stage.embed.weight
        return self.stage.lm_head.weight if self.stage.last else None

    def clip(self, max_norm: float) -> Tensor:
        """Scale all gradients down to this norm over all processes; returns the norm before."""
        counted = list(self.stage.parameters())
        if self.shared_ends is not None and self.stage.last:
            counted = [p for p in counted if p is not self.stage.lm_head.weight]  # the first stage counts it
        norm = get_total_norm([p.grad for p in counted if p.grad is not None])
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        norm = self._sum(norm.double().square(), "pipeline").sqrt()
        clip_grads_with_norm_(self.stage.parameters(), max_norm, norm)
        return norm

    # ---- whole states ------------------------------------------------------------------------------------------------

    def whole_state(self, optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Weights as the model had them before it was taken apart, and the optimiser's state by parameter name.

        All processes must call it; the first one gets all, the others their stage.
        """
        weights, state = whole_state(self.stage, optimizer)
        if self.mesh is None or self.config.pipeline == 1:
            return weights, state
        stages: list[Any] = [None] * self.config.pipeline
        dist.all_gather_object(stages, (weights, state["state"]), group=self.mesh["pipeline"].get_group())
        for others, moments in stages:
            weights, state["state"] = {**others, **weights}, {**moments, **state["state"]}
        return weights, state

    def load_whole_state(self, optimizer: Optimizer, weights: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Undo `whole_state`; every process must be given all."""
        load_whole_state(self.stage, optimizer, weights, state)


def _mesh(model: nn.Module, config: ModelParallelConfig, replicas: int) -> DeviceMesh:
    """The axes; and the first process's weights for everybody."""
    for tensor in (*model.parameters(), *model.buffers()):
        dist.broadcast(tensor.detach(), 0)
    device = next(model.parameters()).device.type
    return init_device_mesh(device, (config.pipeline, replicas, config.tensor), mesh_dim_names=AXES)


def shared(model: nn.Module, tensor: int) -> nn.Module:
    """Any module of Nexus' layers, in place: each layer shared by ``tensor`` neighbours, FSDP2 over the copies of that.

    Raises:
        ValueError: the layers or the processes don't come out even, or no group is joined.
    """
    if not dist.is_initialized():
        raise ValueError(
            "parallel='tensor': no process group; start with torchrun and nexus.training.processes.joined()"
        )
    config = ModelParallelConfig(tensor=tensor)
    replicas = config.replicas(dist.get_world_size())
    mesh = _mesh(model, config, replicas)
    tensor_parallel(model, mesh["tensor"])
    if replicas > 1:
        shard(model, mesh["data"])
    return model


def shard(model: nn.Module, mesh: DeviceMesh) -> None:
    """FSDP2 over the replicas, each item of a list (or dict) of blocks on its own."""
    inside: set[int] = set()
    for module in model.modules():
        if isinstance(module, (nn.ModuleList, nn.ModuleDict)) and id(module) not in inside:
            inside |= {id(part) for part in module.modules()}
            for block in module.children():
                fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)


def _add_up(weight: Tensor, group: dist.ProcessGroup) -> None:
    """The sum of a weight's gradients over the processes of a group, which hold the same share of it."""
    gradient = weight.grad
    assert gradient is not None
    if isinstance(gradient, DTensor) and isinstance(weight, DTensor):  # that of an embedding comes whole
        gradient = gradient.redistribute(placements=weight.placements)
    dist.all_reduce(gradient.to_local() if isinstance(gradient, DTensor) else gradient, group=group)
    weight.grad = gradient


def whole_state(model: nn.Module, optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights and optimiser state without DTensors, fused matrices in their own order, in every process."""
    placed = orders(model)
    names: dict[Any, str] = {parameter: name for name, parameter in model.named_parameters()}
    weights = {name: _whole(value, placed.get(name)) for name, value in model.state_dict().items()}
    state = {
        names[parameter]: {key: _whole(value, placed.get(names[parameter])) for key, value in values.items()}
        for parameter, values in optimizer.state.items()
    }
    groups = [{**group, "params": [names[p] for p in group["params"]]} for group in optimizer.param_groups]
    return weights, {"state": state, "param_groups": groups}


def load_whole_state(
    model: nn.Module, optimizer: Optimizer, weights: Mapping[str, Tensor], state: Mapping[str, Any]
) -> None:
    """Undo `whole_state`; every process must be given all of it."""
    placed = orders(model)
    for name, value in model.state_dict().items():
        _take(value, weights[name], placed.get(name))
    for name, parameter in model.named_parameters():
        held = {}
        for key, value in state["state"].get(name, {}).items():
            held[key] = value.clone() if isinstance(value, Tensor) else value
            if _is_spread(value):
                held[key] = _take(torch.zeros_like(parameter.detach(), dtype=value.dtype), value, placed.get(name))
        optimizer.state[parameter] = held
    for group, saved in zip(optimizer.param_groups, state["param_groups"], strict=True):
        group.update({key: value for key, value in saved.items() if key != "params"})


def _is_spread(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0  # a step count is no share of anything


def _whole(value: Any, placed: tuple[int, Tensor] | None) -> Any:
    """A state of a parameter (or itself) as one process would have it."""
    if not isinstance(value, Tensor):
        return value
    value = value.detach()
    value = value.full_tensor() if isinstance(value, DTensor) else value
    if placed is None or not _is_spread(value):
        return value
    axis, order = placed
    return value.index_select(axis, order.argsort().to(value.device))


@torch.no_grad()
def _take(share: Tensor, whole: Tensor, placed: tuple[int, Tensor] | None) -> Tensor:
    """Fill a tensor that is perhaps a share with its part of the whole; the innermost axis was cut first."""
    if placed is not None:
        whole = whole.index_select(placed[0], placed[1].to(whole.device))
    if not isinstance(share, DTensor):
        return share.copy_(whole)
    for dim in reversed(range(share.device_mesh.ndim)):
        placement: Any = share.placements[dim]
        if placement.is_shard() or hasattr(placement, "split_factor"):
            size, rank = share.device_mesh.size(dim), share.device_mesh.get_local_rank(dim)
            parts = whole.chunk(size, placement.dim)
            whole = parts[rank] if rank < len(parts) else whole.narrow(placement.dim, 0, 0)
    share.to_local().copy_(whole)
    return share
