"""Freeze the oracles of the state-space section that are no package, or drag in what clashes, into golden files.

Run it in an environment of its own; what each oracle needs stands beside its function:

    python tests/golden/make_state_space.py titans              # pip install titans-pytorch==0.5.5
    python tests/golden/make_state_space.py s4 path/to/s4       # a checkout of github.com/state-spaces/s4

A file holds three runs: weights, inputs, outputs and gradients as safetensors, with the versions as metadata.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

FOLDER = Path(__file__).parent
RUNS = 3


def freeze(stem: str, run: Callable[[int], dict[str, Tensor]], **meta: str) -> None:
    """Write ``RUNS`` runs of an oracle."""
    tensors = {f"{i}/{name}": t.contiguous().clone() for i in range(RUNS) for name, t in run(i).items()}
    save_file(tensors, str(FOLDER / f"{stem}.safetensors"), {"runs": str(RUNS), "torch": torch.__version__, **meta})
    print(stem, len(tensors), "tensors", meta)


def jolt(module: nn.Module, seed: int, scale: float = 0.1) -> None:
    """Move every parameter off its start."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator).to(parameter) * scale)


def record(module: nn.Module, seed: int, x: Tensor, output: Tensor) -> dict[str, Tensor]:
    """Weights, input, output and the gradients under a random weighting."""
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(seed)).to(output)
    named = {n: p for n, p in module.named_parameters() if p.requires_grad}
    found = torch.autograd.grad((output * weights).sum(), list(named.values()), allow_unused=True)
    tensors = {"input/x": x.detach(), "input/weighting": weights, "output/y": output.detach()}
    for (name, parameter), gradient in zip(named.items(), found, strict=True):
        if gradient is not None:
            tensors |= {f"weight/{name}": parameter.detach(), f"gradient/{name}": gradient}
    return tensors


def titans() -> None:
    """titans-pytorch's NeuralMemory in the paper's form: one step a token, gradients shared by chunks of 4."""
    module = import_module("titans_pytorch")

    def run(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        memory = module.NeuralMemory(
            8, chunk_size=1, batch_size=4, dim_head=4, heads=2, pre_rmsnorm=False, mem_model_norm_add_residual=False,
            default_step_transform_max_lr=0.5, model=module.MemoryMLP(4, depth=1 + seed, expansion_factor=2.0),
        ).double()  # fmt: skip
        jolt(memory, seed)
        x = torch.randn(2, 11, 8, dtype=torch.float64)
        return record(memory, seed, x, memory(x)[0])

    freeze("titans", run, oracle="titans-pytorch " + version("titans-pytorch"))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
