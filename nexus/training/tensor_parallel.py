"""Tensor and expert parallel: every process has some heads, channels or experts of each layer.

The one idea: where the middle of a layer falls into independent parts, a process runs the layer's own code on its share
of the weights, and one all-reduce adds up what the processes give; in backward one adds up the gradients of the input
(Shoeybi et al. 2019, arXiv:1909.08053, section 3: the conjugate operators f and g; for Mamba-2 arXiv:2405.21060,
section 8.1; for experts arXiv:2006.16668). Weights are torch's DTensors, put in place by its `parallelize_module`, so
optimisers, clipping and FSDP2 know them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Placement, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, ParallelStyle, RowwiseParallel, parallelize_module

from nexus.core.memory import TitansMemory
from nexus.layers.attention import GroupedQueryAttention
from nexus.layers.components import SwiGLU
from nexus.layers.components.moe import Experts, Routing
from nexus.layers.ssm import Mamba2


class Cut(NamedTuple):
    """Along which axis a parameter is cut; ``parts`` are the sizes of the matrices fused in it, each cut evenly."""

    axis: int
    parts: tuple[int, ...]

    def order(self, world: int) -> Tensor:
        """Which row of the whole stands where, once every process's rows lie side by side."""
        starts = [0, *accumulate(self.parts)]
        return torch.cat([
            torch.arange(start + part * rank // world, start + part * (rank + 1) // world)
            for rank in range(world)
            for start, part in zip(starts, self.parts, strict=False)
        ])  # fmt: skip


class Layer(NamedTuple):
    """How one kind of layer falls apart.

    Attributes:
        cuts: of its parameters; the others are whole in every process.
        units: what there must be a whole number of in each process, by name.
        counts: attributes (of parts: with a dot) that say how many heads or channels there are.
        once: biases that are added after the sum, which therefore count once.
    """

    cuts: Mapping[str, Cut]
    units: Mapping[str, int]
    counts: tuple[str, ...] = ()
    once: tuple[str, ...] = ()


def _attention(layer: GroupedQueryAttention) -> Layer:
    q, kv = layer.n_heads * layer.head_dim, layer.n_kv_heads * layer.head_dim
    qkv = Cut(0, (q, kv, kv))
    cuts = {"qkv_proj.weight": qkv, "qkv_proj.bias": qkv, "o_proj.weight": Cut(1, (q,))}
    return Layer(cuts, {"n_kv_heads": layer.n_kv_heads}, ("n_heads", "n_kv_heads"))


def _mamba2(layer: Mamba2) -> Layer:
    inner, heads = Cut(0, (layer.d_inner,)), Cut(0, (layer.n_heads,))
    xbc = (layer.d_inner, layer.n_groups * layer.d_state, layer.n_groups * layer.d_state)
    into = Cut(0, (layer.d_inner, *xbc, layer.n_heads))
    cuts = {
        "in_proj.weight": into, "in_proj.bias": into, "conv_weight": Cut(0, xbc), "conv_bias": Cut(0, xbc),
        "A_log": heads, "D": heads, "dt_bias": heads, "norm.weight": inner, "out_proj.weight": Cut(1, (layer.d_inner,)),
    }  # fmt: skip
    counts = ("n_heads", "n_groups", "d_inner", "conv_dim", "norm.groups")
    return Layer(cuts, {"n_groups": layer.n_groups}, counts, ("out_proj.bias",))


def _swiglu(layer: SwiGLU) -> Layer:
    width = layer.down_proj.in_features
    cuts = {"gate_up_proj.weight": Cut(0, (width, width)), "down_proj.weight": Cut(1, (width,))}
    return Layer(cuts, {"d_ff": width})


def _experts(layer: Experts) -> Layer:
    count = len(layer.gate_up)
    return Layer({"gate_up": Cut(0, (count,)), "down": Cut(0, (count,))}, {"n_experts": count})


LAYERS: dict[type[nn.Module], Callable[[Any], Layer]] = {
    GroupedQueryAttention: _attention,
    Mamba2: _mamba2,
    SwiGLU: _swiglu,
    Experts: _experts,
}


def faults(module: nn.Module, world: int) -> list[str]:
    """Why ``world`` processes cannot share the layers of ``module``, one line each."""
    found = []
    for name, part in module.named_modules():
        if type(part) in LAYERS:
            layer = LAYERS[type(part)](part)
            if strange := [p for p, _ in part.named_parameters() if p not in layer.cuts and p not in layer.once]:
                found.append(
                    f"{name or 'module'}: {strange[0]} is not known to be cut; merge LoRA first, or set tensor = 1"
                )
            for unit, count in layer.units.items():
                if count % world:
                    cure = f"make it a multiple of {world}, or share layers among fewer"
                    found.append(f"{name or 'module'}: {unit} = {count} is not shared evenly by {world}; {cure}")
        if isinstance(part, TitansMemory):
            found.append(f"{name}: memory ('T' layers) is not cut; leave it out of the plan, or set tensor = 1")
    return found


def tensor_parallel(module: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """Cut the layers of ``module`` in place over a mesh of one axis; every process gives the same whole weights.

    Layers of `LAYERS` run on shares. Embeddings and a linear `lm_head` are cut by words, by torch's own styles. All
    else is whole in every process. Tied weights stay tied.

    Raises:
        ValueError: a layer does not fall into that many parts; all such layers are named.
    """
    if found := faults(module, mesh.size()):
        raise ValueError("\n  - ".join([f"tensor = {mesh.size()}: {len(found)} faults", *found]))
    tied: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        tied.setdefault(id(parameter), []).append(name)
    parallelize_module(module, mesh, plan(module), src_data_rank=None)
    for first, *others in tied.values():
        for name in others:
            owner, _, last = name.rpartition(".")
            module.get_submodule(owner).register_parameter(last, module.get_parameter(first))
    return module


def plan(module: nn.Module) -> dict[str, ParallelStyle]:
    """The style of each part of ``module`` that has parameters, by name."""
    styles: dict[str, ParallelStyle] = {}
    done: list[str] = []
    for name, part in module.named_modules():
        if any(name.startswith(outer) for outer in done):
            continue
        if type(part) in LAYERS:
            styles[name] = CutLayer(LAYERS[type(part)](part))
            done.append(f"{name}." if name else "")
        elif isinstance(part, nn.Embedding):
            styles[name] = RowwiseParallel(input_layouts=Replicate())
        elif name.endswith("lm_head"):
            styles[name] = ColwiseParallel(output_layouts=Replicate())
        elif part._parameters:
            styles[name] = WholeLayer()
    return styles


class CutLayer(ParallelStyle):
    """A layer whose processes run its own code on their shares; see :class:`Layer`."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer

    def _apply(self, module: nn.Module, device_mesh: DeviceMesh) -> nn.Module:
        world = device_mesh.size()
        for name, parameter in list(module.named_parameters()):
            cut = self.layer.cuts.get(name)
            if cut is None:
                _place(module, name, parameter, device_mesh, Replicate())
            else:
                ordered = parameter.detach().index_select(cut.axis, cut.order(world).to(parameter.device))
                _place(module, name, ordered, device_mesh, Shard(cut.axis), parameter.requires_grad)
        for name in self.layer.counts:
            owner, _, last = name.rpartition(".")
            part = module.get_submodule(owner)
            setattr(part, last, getattr(part, last) // world)
        kind = _PickedExperts if isinstance(module, Experts) else _Shared
        return _become(module, kind, mesh=device_mesh, layer=self.layer)


class WholeLayer(ParallelStyle):
    """A layer that every process has whole and computes alike, so that its gradients agree without an exchange."""

    def _apply(self, module: nn.Module, device_mesh: DeviceMesh) -> nn.Module:
        for name, parameter in list(module.named_parameters(recurse=False)):
            _place(module, name, parameter, device_mesh, Replicate())
        return _become(module, _Whole)


def _place(
    module: nn.Module, name: str, value: Tensor, mesh: DeviceMesh, placement: Placement, grad: bool | None = None
) -> None:
    spread = distribute_tensor(value.detach(), mesh, [placement], src_data_rank=None)
    owner, _, last = name.rpartition(".")
    learns = value.requires_grad if grad is None else grad
    module.get_submodule(owner).register_parameter(last, nn.Parameter(spread, requires_grad=learns))


def _become(module: nn.Module, kind: type[nn.Module], **known: Any) -> nn.Module:
    """Put ``kind`` before the module's own class, as FSDP2 does: `isinstance`, copies and names stay right."""
    own = type(module)
    module.__class__ = type(f"{kind.__name__.strip('_')}{own.__name__}", (kind, own), known)
    return module


class _Shared(nn.Module):
    """A layer on shares: its input's gradients and its output are sums over the processes."""

    mesh: DeviceMesh
    layer: Layer

    def forward(self, x: Tensor, *more: Any, **named: Any) -> Any:
        with _local(self, self._share, recurse=True):
            result = super().forward(enter(x, self.mesh), *more, **named)
        if isinstance(result, tuple):
            return (leave(result[0], self.mesh), *result[1:])
        return leave(result, self.mesh)

    def _share(self, name: str, parameter: DTensor) -> Tensor:
        if name in self.layer.cuts:
            return parameter.to_local()
        value = enter(parameter.to_local(), self.mesh)
        return value / self.mesh.size() if name in self.layer.once else value


class _PickedExperts(_Shared):
    """Experts of which a process has some: of the tokens' picks it answers those that fall on its own."""

    gate_up: nn.Parameter

    def forward(self, x: Tensor, routing: Routing) -> Tensor:
        x, weights = enter(x, self.mesh), enter(routing.weights, self.mesh)
        with _local(self, self._share, recurse=True):
            number = routing.experts - self.mesh.get_local_rank() * len(self.gate_up)
            token, pick = ((number >= 0) & (number < len(self.gate_up))).nonzero(as_tuple=True)
            mine = Routing(routing.logits, number[token, pick].unsqueeze(1), weights[token, pick].unsqueeze(1))
            answers = super(_Shared, self).forward(x[token], mine)
        return leave(torch.zeros_like(x).index_add(0, token, answers), self.mesh)


class _Whole(nn.Module):
    def forward(self, *inputs: Any, **named: Any) -> Any:
        with _local(self, lambda _, parameter: parameter.to_local(), recurse=False):
            return super().forward(*inputs, **named)


@contextmanager
def _local(module: nn.Module, share: Callable[[str, DTensor], Tensor], recurse: bool) -> Iterator[None]:
    """Within the block the module's parameters are plain tensors, so that hand-written operations take them."""
    held: list[tuple[dict[str, Any], str, DTensor, str]] = []
    for prefix, part in module.named_modules() if recurse else [("", module)]:
        for name, parameter in part._parameters.items():
            if isinstance(parameter, DTensor):
                held.append((part._parameters, name, parameter, f"{prefix}.{name}" if prefix else name))
    try:
        for parameters, name, parameter, path in held:
            parameters[name] = share(path, parameter)  # a tensor that leads to the parameter
        yield
    finally:
        for parameters, name, parameter, _ in held:
            parameters[name] = parameter


def enter(x: Tensor, mesh: DeviceMesh) -> Tensor:
    """The same in every process; its gradient is the sum of theirs (f of section 3)."""
    return DTensor.from_local(x, mesh, [Replicate()], run_check=False).to_local(grad_placements=[Partial()])


def leave(x: Tensor, mesh: DeviceMesh) -> Tensor:
    """The sum over the processes; its gradient is the same in every one (g of section 3)."""
    return DTensor.from_local(x, mesh, [Partial()], run_check=False).redistribute(placements=[Replicate()]).to_local()


def orders(module: nn.Module) -> dict[str, tuple[int, Tensor]]:
    """Axis and order (see :meth:`Cut.order`) of the parameters in which several matrices are fused, by name."""
    found = {}
    for prefix, part in module.named_modules():
        if isinstance(part, _Shared):
            for name, cut in part.layer.cuts.items():
                if len(cut.parts) > 1:
                    found[f"{prefix}.{name}" if prefix else name] = (cut.axis, cut.order(part.mesh.size()))
    return found
