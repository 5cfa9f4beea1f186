"""Freeze the oracles of the state-space section that are no package, or drag in what clashes, into golden files.

Run it in an environment of its own; what each oracle needs stands beside its function:

    python tests/golden/make_state_space.py titans             # pip install titans-pytorch==0.5.5
    python tests/golden/make_state_space.py s5                 # pip install s5-pytorch==0.2.1
    python tests/golden/make_state_space.py ret_net            # pip install torchscale==0.3.0
    python tests/golden/make_state_space.py slstm              # pip install xlstm==2.0.6
    python tests/golden/make_state_space.py s4 path/to/s4      # and s4d; a checkout of github.com/state-spaces/s4
    python tests/golden/make_state_space.py h3 path/to/safari  # and hyena; of github.com/HazyResearch/safari

A file holds three runs: weights, inputs, outputs and gradients as safetensors, with the versions as metadata.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType, SimpleNamespace

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
            tensors |= {f"weight/{name}": real(parameter.detach()), f"gradient/{name}": real(gradient)}
    return tensors


def real(tensor: Tensor) -> Tensor:
    """Complex numbers as pairs."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def stub(name: str, **contents: object) -> None:
    """A module that stands in for one that a checkout imports and doesn't need here (logging, CUDA kernels)."""
    module = ModuleType(name)
    module.__dict__.update(contents)
    module.__path__ = []
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent in sys.modules:
        setattr(sys.modules[parent], child, module)


def commit(checkout: str) -> str:
    """The commit of a checkout, from `git rev-parse`, or what the caller wrote into COMMIT beside it."""
    marked = Path(checkout) / "COMMIT"
    if marked.is_file():
        return marked.read_text(encoding="utf-8").strip()
    done = subprocess.run(["git", "-C", checkout, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


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


def s4(checkout: str) -> None:
    """state-spaces/s4: S4Block with the Cauchy kernel in pure PyTorch, kernels of length 12 read at 9 and 12."""
    stub("pytorch_lightning")
    stub("pytorch_lightning.utilities", rank_zero_only=lambda f: f)
    sys.path.insert(0, checkout)
    module = import_module("models.s4.s4")

    def run(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        block = module.S4Block(3, transposed=False, l_max=12, d_state=8, verbose=False)
        block(torch.randn(1, 12, 3))  # sets the stored C
        jolt(block, seed, 0.05)
        block = block.double()
        del block.layer.kernel.omega, block.layer.kernel.z  # cached in single precision
        x = torch.randn(2, (12, 9, 12)[seed], 3, dtype=torch.float64)
        return record(block, seed, x, block(x)[0])

    freeze("s4", run, oracle="state-spaces/s4 " + commit(checkout))


def s4d(checkout: str) -> None:
    """state-spaces/s4: the small S4D file."""
    stub("src")
    stub("src.models")
    stub("src.models.nn", DropoutNd=nn.Dropout)
    sys.path.insert(0, checkout)
    module = import_module("models.s4.s4d")

    def run(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        layer = module.S4D(3, d_state=8, transposed=False)
        layer.transposed = False
        jolt(layer, seed)
        layer = layer.double()
        x = torch.randn(2, 11, 3, dtype=torch.float64)
        return record(layer, seed, x, layer(x)[0])

    freeze("s4d", run, oracle="state-spaces/s4 " + commit(checkout))


def s5() -> None:
    """s5-pytorch: the layer with dense B and C."""
    module = import_module("s5.s5_model")

    def run(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        layer = module.S5(3, 8, bcInit="dense")
        x = torch.randn(2, 11, 3)
        return record(layer, seed, x, layer(x))

    freeze("s5", run, oracle="s5-pytorch " + version("s5-pytorch"))


def ret_net() -> None:
    """torchscale: multi-scale retention in parallel form; the norm's eps is tiny, so that scores' scales cancel."""
    for name in ("apex", "apex.normalization", "timm", "timm.models", "timm.layers", "timm.models.layers"):
        stub(name, FusedLayerNorm=nn.LayerNorm, drop_path=lambda x, *_: x)
    retention = import_module("torchscale.component.multiscale_retention")
    args = SimpleNamespace(
        multiway=False, layernorm_eps=1e-12, decoder_embed_dim=8, decoder_retention_heads=2, recurrent_chunk_size=4
    )
    position = import_module("torchscale.architecture.retnet").RetNetRelPos(args)

    def run(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        layer = retention.MultiScaleRetention(args, 8, 12, 2)
        jolt(layer, seed)
        x = torch.randn(2, 11, 8)
        return record(layer, seed, x, layer(x, position(11)))

    freeze("ret_net", run, oracle="torchscale " + version("torchscale"))


def h3(checkout: str) -> None:
    """HazyResearch/safari: H3 with diagonal kernels (zero-order hold) in pure PyTorch, head_dim 1 and 2."""

    class OptimModule(nn.Module):
        def register(self, name: str, tensor: Tensor, *_: object) -> None:
            self.register_parameter(name, nn.Parameter(tensor))

    stub("src")
    sys.modules["src"].__path__ = [checkout + "/src"]
    stub("src.utils")
    stub("src.utils.train", OptimModule=OptimModule, get_logger=logging.getLogger)
    for name in ("src.models", "src.models.sequence", "src.models.sequence.ssm", "src.ops"):
        stub(name)
        sys.modules[name].__path__ = [checkout + "/" + name.replace(".", "/")]
    module = import_module("src.models.sequence.h3")

    def run(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        layer = module.H3(4, d_state=6, head_dim=1 + seed % 2, mode="diag", disc="zoh")
        jolt(layer, seed)
        x = torch.randn(2, 11, 4)
        return record(layer, seed, x, layer(x))

    freeze("h3", run, oracle="HazyResearch/safari " + commit(checkout))


def hyena(checkout: str) -> None:
    """HazyResearch/safari: the standalone Hyena operator of order 2 and 3, with fixed positions."""
    sys.path.insert(0, checkout)
    module = import_module("standalone_hyena")

    def run(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        layer = module.HyenaOperator(4, 16, order=2 + seed % 2, filter_order=8, emb_dim=5, lr_pos_emb=0.0)
        jolt(layer, seed)
        x = torch.randn(2, 11, 4)
        return record(layer, seed, x, layer(x))

    freeze("hyena", run, oracle="HazyResearch/safari " + commit(checkout))


def slstm() -> None:
    """xlstm: the sLSTM cell of the package, plain PyTorch backend."""
    module = import_module("xlstm.blocks.slstm.cell")

    def run(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        config = module.sLSTMCellConfig(
            hidden_size=8, num_heads=2, backend="vanilla", dtype="float32", enable_automatic_mixed_precision=False,
            input_shape="BSGNH", output_shape="BSH",
        )  # fmt: skip
        cell = module.sLSTMCell(config)
        jolt(cell, seed, 0.5)
        x = torch.randn(2, 9, 32)
        return record(cell, seed, x, cell(x)[0])

    freeze("slstm", run, oracle="xlstm " + version("xlstm"))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
