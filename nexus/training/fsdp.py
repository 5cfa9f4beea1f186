"""Fully sharded data parallel: each process keeps its share of weights, gradients and optimiser states.

The one idea: a layer's weights are gathered just before they are needed and dropped after, so memory falls with the
number of processes while the numbers stay those of data parallel. Papers: ZeRO arXiv:1910.02054, FSDP arXiv:2304.11277.
Torch's `fully_shard` does the work.
"""

from __future__ import annotations

from typing import Any

import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.optim import Optimizer

_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
_SPREAD = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)


def FullyShardedDataParallel(model: nn.Module) -> nn.Module:  # the system's name
    """Shard the model in place over all processes, each item of its block lists on its own; returns it.

    Raises:
        ValueError: no group is joined.
    """
    if not dist.is_initialized():
        raise ValueError("parallel='fsdp': no process group; start with torchrun and nexus.training.processes.joined()")
    device = next(model.parameters()).device.type
    mesh = init_device_mesh(device, (dist.get_world_size(),))
    inside: set[int] = set()
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and id(module) not in inside:
            inside |= {id(part) for part in module.modules()}
            for block in module:
                fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def bytes_of_a_process(parameters: int, world: int, optimizer_bytes: int = 8, weight_bytes: int = 4) -> float:
    """Bytes of weights, gradients and optimiser states that one process keeps (ZeRO stage 3, section 5.3)."""
    return parameters * (2 * weight_bytes + optimizer_bytes) / world


def whole_state(model: nn.Module, optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The unsharded weights and optimiser state, on the first process (empty on the others)."""
    weights: Any = get_model_state_dict(model, options=_WHOLE)
    return weights, get_optimizer_state_dict(model, optimizer, options=_WHOLE)


def load_whole_state(model: nn.Module, optimizer: Optimizer, weights: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Undo `whole_state`; only the first process's arguments are read."""
    set_model_state_dict(model, dict(weights), options=_SPREAD)
    set_optimizer_state_dict(model, optimizer, state, options=_SPREAD)
