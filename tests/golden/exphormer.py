"""Make tests/golden/exphormer.safetensors: what the authors' own attention answers, with all gradients.

    git clone https://github.com/hamed1375/Exphormer && python tests/golden/exphormer.py Exphormer

Only numbers are kept. The authors' file is run as it is, except that the two packages it imports only to register
itself and to add up by index are stood in for by a few lines here: torch_scatter (its sum is `index_add_`), GraphGym.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

TARGET = Path(__file__).with_name("exphormer.safetensors")
WIDTH, HEADS, KINDS, NODES, EDGES, SEEDS = 6, 3, 4, 14, 40, 3


def stand_in(name: str, **values: Any) -> None:
    """A module of that name which holds the values."""
    module = types.ModuleType(name)
    vars(module).update(values)
    sys.modules[name] = module


def scatter(values: torch.Tensor, index: torch.Tensor, dim: int, out: torch.Tensor, reduce: str) -> torch.Tensor:
    """What the file uses of torch_scatter: sums along the first dimension, into `out`."""
    assert (dim, reduce) == (0, "add")
    return out.index_add_(0, index, values)


def reference(clone: Path) -> type:
    """The authors' class."""
    stand_in("torch_scatter", scatter=scatter)
    for name in ("torch_geometric", "torch_geometric.graphgym", "torch_geometric.graphgym.models"):
        stand_in(name)
    stand_in("torch_geometric.graphgym.models.layer", LayerConfig=object)
    stand_in("torch_geometric.graphgym.config", cfg=None)
    stand_in("torch_geometric.graphgym.register", register_layer=lambda *_: None)
    spec = importlib.util.spec_from_file_location("exphormer_reference", clone / "graphgps" / "layer" / "Exphormer.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ExphormerAttention


def one(attention: type, seed: int) -> dict[str, torch.Tensor]:
    """Inputs, weights, output and gradients for one seed. The scale makes some scores reach the clamp at 5."""
    draw = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return (1.3 * torch.randn(shape, generator=draw, dtype=torch.float64)).requires_grad_()

    layer = attention(WIDTH, WIDTH, HEADS, False).double()
    weights = {name: random(*p.shape) for name, p in layer.named_parameters()}
    x, embed = random(NODES, WIDTH), random(KINDS, WIDTH)
    edges = torch.stack(
        (torch.randint(NODES, (EDGES,), generator=draw), torch.randint(NODES - 1, (EDGES,), generator=draw))
    )
    kind = torch.randint(KINDS, (EDGES,), generator=draw)
    batch = types.SimpleNamespace(
        x=x, batch=torch.zeros(NODES), expander_edge_index=edges, expander_edge_attr=embed[kind]
    )
    output = torch.func.functional_call(layer, weights, (batch,))
    weighting = torch.randn(output.shape, generator=draw, dtype=torch.float64)
    named = {"x": x, "edge_embed": embed, **weights}
    gradients = torch.autograd.grad((output * weighting).sum(), list(named.values()))
    found = {"edges": edges, "kind": kind, "output": output, "weighting": weighting, **named}
    found |= {f"gradient of {name}": g for name, g in zip(named, gradients, strict=True)}
    return {f"{seed}/{name}": t.detach().contiguous() for name, t in found.items()}


def tensors(clone: Path) -> dict[str, torch.Tensor]:
    """All seeds, each name with its seed in front."""
    attention, found = reference(clone), {}
    for seed in range(SEEDS):
        found |= one(attention, seed)
    return found


def digest(found: dict[str, torch.Tensor]) -> str:
    """SHA-256 of names, types, shapes and values."""
    total = hashlib.sha256()
    for name, tensor in sorted(found.items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        total.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def main() -> None:
    """Run the authors' code in the folder named on the command line, and write the file."""
    clone = Path(sys.argv[1])
    told = subprocess.run(["git", "rev-parse", "HEAD"], cwd=clone, capture_output=True, text=True, check=True)
    found = tensors(clone)
    header = {
        "versions": json.dumps({"torch": torch.__version__, "github.com/hamed1375/Exphormer": told.stdout.strip()}),
        "sha256": digest(found),
        "script": hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
    }
    save_file(found, TARGET, header)
    print(f"{TARGET}: {len(found)} tensors, {header}")


if __name__ == "__main__":
    main()
