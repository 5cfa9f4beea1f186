"""Tensor, pipeline and expert parallel in four gloo processes beside one process that holds all.

Three ways to divide four processes, each with FSDP2 or a second kind of cut beside it: losses, norms, gradients, and
weights after a stop in the middle whose whole state goes into other weights. Experts are held against the layer in one
process, and the cut of a fused matrix against torch's own styles on matrices that are not fused.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.core.state_space import HybridConfig, HybridLM
from nexus.layers.components import SwiGLU
from nexus.layers.components.moe import MoE
from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._processes import in_processes

ORACLE = ("torch",)
TOLERANCE = 1e-10
WORLD, STEPS, ROWS, LENGTH, WORDS = 4, 2, 4, 6, 19
TENSOR, PIPELINE = "nexus/training/tensor_parallel.py", "nexus/training/pipeline_parallel.py"
MUTATIONS = (
    Mutation("the input's gradients are not summed", "to_local(grad_placements=[Partial()])", "to_local()", TENSOR),
    Mutation("a fused matrix is cut as if it were one", "Cut(0, (q, kv, kv))", "Cut(0, (q + 2 * kv,))", TENSOR),
    Mutation("gate and up are cut as one", "Cut(0, (width, width))", "Cut(0, (2 * width,))", TENSOR),
    Mutation("every process adds the bias", '("out_proj.bias",)', "()", TENSOR),
    Mutation("experts answer by their local number",
             "routing.experts - self.mesh.get_local_rank() * len(self.gate_up)", "routing.experts", TENSOR),
    Mutation("the router's gradients are not summed",
             "enter(x, self.mesh), enter(routing.weights, self.mesh)", "enter(x, self.mesh), routing.weights", TENSOR),
    Mutation("pieces weigh the same, whatever their tokens", "ignore_index=IGNORED, reduction=\"sum\")",
             "ignore_index=IGNORED) * labels[:, 1:].numel()", PIPELINE),
    Mutation("gradients divided by the pieces again", "scale_grads=False", "scale_grads=True", PIPELINE),
    Mutation("each stage sees the windows of the first blocks", "windows[int(name)], None)\n        return",
             "windows[int(name) - 1], None)\n        return", PIPELINE),
    Mutation("tied ends learn apart", "            _add_up(weight, self.shared_ends)\n",
             "            pass\n"),
    Mutation("a stage is clipped by its own norm", 'self._sum(norm.double().square(), "pipeline").sqrt()', "norm.double()"),
    Mutation("tied weights are counted twice", "if p is not self.stage.lm_head.weight]", "]"),
    Mutation("replicas' tokens are not counted", 'self._sum((labels[:, 1:] != IGNORED).sum().double(), "data")',
             "(labels[:, 1:] != IGNORED).sum().double() * self.replicas"),
    Mutation("saved in the processes' order", "index_select(axis, order.argsort().to(value.device))", "clone()"),
    Mutation("moments are loaded as they were saved", "dtype=value.dtype), value, placed.get(name))",
             "dtype=value.dtype), value, None)"),
    Mutation("the replicas' cut comes before the neighbours'", "for dim in reversed(range(share.device_mesh.ndim)):",
             "for dim in range(share.device_mesh.ndim):"),
)  # fmt: skip


def layouts() -> dict[str, tuple[dict[str, Any], bool]]:
    """How four processes are divided, and whether embedding and head are tied."""
    return {
        "tensor and pipeline": ({"tensor": 2, "pipeline": 2, "microbatches": 2}, True),
        "tensor and FSDP2": ({"tensor": 2}, True),
        "pipeline and FSDP2": ({"pipeline": 2, "microbatches": 2, "schedule": "gpipe"}, False),
    }


def model(seed: int, tied: bool = True) -> HybridLM:
    """Two blocks: Mamba-2 with a window of attention beside it, and attention; biases wherever there can be one."""
    torch.manual_seed(seed)
    config = HybridConfig.tiny(
        vocab_size=WORDS, d_model=8, n_layers=2, plan="WA", d_ff=12, n_heads=4, n_kv_heads=2, head_dim=4, qkv_bias=True,
        window=3, window_choices=(3,), sinks=1, ssm_heads=4, ssm_head_dim=4, ssm_groups=2, d_state=3, chunk_size=4,
        ssm_bias=True, tie_embeddings=tied,
    )  # fmt: skip
    made = HybridLM(config).double()
    for name, parameter in made.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter)
    return made


def example(seed: int = 0) -> Example:
    """One process that holds all, and ids."""
    from nexus.training.model_parallel import ModelParallel

    return Example(ModelParallel(model(seed)), (torch.randint(WORDS, (2, LENGTH)),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Each process beside the one that is alone."""
    from torch.distributed import pipelining  # noqa: F401  # once, before the processes fork

    import nexus.training.model_parallel  # noqa: F401

    parts = in_processes(lambda rank, world: _work(seed, rank), WORLD)
    for layout, (_, tied) in layouts().items():
        alone = _alone(seed, layout, tied)
        for rank, part in enumerate(parts):
            for name in (n for n in part if n.startswith(f"{layout}: ")):
                yield Comparison(f"{name} in process {rank}", part[name], alone[name])
        seen = {name for part in parts for name in part if name.startswith(f"{layout}: ")}
        assert seen == alone.keys(), f"{layout}: not seen: {sorted(alone.keys() - seen)}"
    for rank, part in enumerate(parts):
        for name in (n for n in part if n.startswith("theirs/")):
            what = name.removeprefix("theirs/")
            yield Comparison(f"{what} in process {rank}", part[f"ours/{what}"], part[name])


def batch(seed: int, step: int, replica: int) -> tuple[Tensor, Tensor]:
    """Ids and labels; how many labels are learnt differs between rows and replicas."""
    draw = torch.Generator().manual_seed(1_000 * seed + 10 * step + replica)
    ids = torch.randint(WORDS, (ROWS, LENGTH), generator=draw)
    labels = ids.clone()
    labels[: 1 + (step + replica) % 3, 2:] = -100
    return ids, labels


def _work(seed: int, rank: int) -> dict[str, Tensor]:
    """What one process sees: steps, the whole state into other weights, and as many steps again."""
    from nexus.training.model_parallel import ModelParallel, ModelParallelConfig

    answer: dict[str, Tensor] = {}
    for layout, (settings, tied) in layouts().items():
        config = ModelParallelConfig.from_dict(settings)
        parallel = ModelParallel(model(seed + rank, tied), config)  # the first process's weights count
        optimizer = torch.optim.AdamW(parallel.parameters(), lr=1e-2)
        found = _steps(parallel, optimizer, seed, 0)
        state = parallel.whole_state(optimizer)
        again = ModelParallel(model(seed + 100 + rank, tied), config)
        fresh = torch.optim.AdamW(again.parameters(), lr=1e-2)
        again.load_whole_state(fresh, *state)
        found |= _steps(again, fresh, seed, STEPS)
        weights, state_after = again.whole_state(fresh)
        found |= {f"weight {name}": value for name, value in weights.items()}
        found |= {f"moment of {name}": values["exp_avg"] for name, values in state_after["state"].items()}
        answer |= {f"{layout}: {name}": value.clone() for name, value in found.items()}
    return answer | _layers(seed)


def _steps(parallel: Any, optimizer: torch.optim.Optimizer, seed: int, start: int) -> dict[str, Tensor]:
    """Losses, norms, and the whole gradients of a first step."""
    from nexus.training.tensor_parallel import orders

    found: dict[str, Tensor] = {}
    for step in range(start, start + STEPS):
        optimizer.zero_grad()
        found[f"loss of step {step}"] = parallel.step(*batch(seed, step, parallel.replica))
        if step == 0:
            placed = orders(parallel.stage)
            for name, parameter in parallel.stage.named_parameters():
                grad = _whole(parameter.grad)
                axis, order = placed.get(name, (0, torch.arange(len(grad))))
                found[f"gradient of {name}"] = grad.index_select(axis, order.argsort()).clone()
        found[f"norm of step {step}"] = parallel.clip(0.5)
        optimizer.step()
    return found


def _alone(seed: int, layout: str, tied: bool) -> dict[str, Tensor]:
    """The same steps in one process that never stops and takes the batches of all replicas at once."""
    settings, _ = layouts()[layout]
    replicas = WORLD // (settings.get("tensor", 1) * settings.get("pipeline", 1))
    net, found = model(seed, tied), dict[str, Tensor]()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    for step in range(2 * STEPS):
        optimizer.zero_grad()
        batches = [batch(seed, step, replica) for replica in range(replicas)]
        ids, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
        loss = F.cross_entropy(net(ids).logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
        loss.backward()
        found[f"loss of step {step}"] = loss.detach()
        if step == 0:
            for name, parameter in net.named_parameters(remove_duplicate=False):
                if name != "lm_head.weight" or not tied or settings.get("pipeline", 1) != 1:
                    found[f"gradient of {name}"] = parameter.grad.clone()
        found[f"norm of step {step}"] = nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        optimizer.step()
    for name, parameter in net.named_parameters(remove_duplicate=False):
        found[f"weight {name}"] = parameter.detach()
        if name != "lm_head.weight" or not tied or settings.get("pipeline", 1) != 1:
            found[f"moment of {name}"] = optimizer.state[parameter]["exp_avg"]
    return {f"{layout}: {name}": value for name, value in found.items()}


def _layers(seed: int) -> dict[str, Tensor]:
    """Experts beside the layer in one process, and a cut SwiGLU beside torch's styles on gate, up and down apart."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    from nexus.training.tensor_parallel import tensor_parallel

    mesh = init_device_mesh("cpu", (WORLD,))
    torch.manual_seed(seed)
    x = torch.randn(2, 5, 4, dtype=torch.float64)
    answer: dict[str, Tensor] = {}
    for side, cut in (("ours", True), ("theirs", False)):
        torch.manual_seed(seed)
        moe, fused = MoE(4, 6, 8, top_k=3).double(), SwiGLU(4, 8).double()
        block: nn.Module = fused if cut else _Apart(fused)
        if cut:
            tensor_parallel(moe, mesh)
            tensor_parallel(block, mesh)
        else:
            styles = {"gate": ColwiseParallel(), "up": ColwiseParallel(), "down": RowwiseParallel()}
            parallelize_module(block, mesh, styles)
        for name, layer in (("experts", moe), ("SwiGLU", block)):
            inputs = x.clone().requires_grad_()
            output = layer(inputs)
            output.square().sum().backward()
            answer[f"{side}/{name}"] = output.detach()
            answer[f"{side}/gradient of the input of {name}"] = _whole(inputs.grad)
        answer[f"{side}/gradient of the router"] = _whole(moe.router.weight.grad)
        answer[f"{side}/gradient of the experts"] = _whole(moe.experts.gate_up.grad)
    return {name: value.clone() for name, value in answer.items()}


def _whole(gradient: Any) -> Tensor:
    return gradient.full_tensor() if hasattr(gradient, "full_tensor") else gradient


class _Apart(nn.Module):
    """SwiGLU whose gate and up are matrices of their own."""

    def __init__(self, fused: SwiGLU) -> None:
        super().__init__()
        width, between = fused.down_proj.weight.shape
        self.gate, self.up, self.down = (
            nn.Linear(a, b, bias=False, dtype=torch.float64)
            for a, b in ((width, between), (width, between), (between, width))
        )
        with torch.no_grad():
            gate, up = fused.gate_up_proj.weight.chunk(2)
            for layer, weight in ((self.gate, gate), (self.up, up), (self.down, fused.down_proj.weight)):
                layer.weight.copy_(weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))
