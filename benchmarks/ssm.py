"""Scans and layers of the state-space section beside peers with a pure PyTorch path, interleaved, on one thread.

    python benchmarks/ssm.py            # all
    python benchmarks/ssm.py scan       # one group: scan, mamba, mamba2, delta, rwkv, retention

Each group has the forms that give the same numbers; every round times each of them once, in turn, and the ratio is of
medians of the processor's time, so that a machine that others use too tells the same. Forward and backward, float32,
batch 2, 512 tokens.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from nexus.layers.ssm.gated_delta_net import GatedDeltaNet
from nexus.layers.ssm.linear_scan import linear_scan, linear_scan_parallel, linear_scan_recurrent
from nexus.layers.ssm.mamba import Mamba
from nexus.layers.ssm.mamba2 import Mamba2
from nexus.layers.ssm.ret_net import RetNet, retention
from nexus.layers.ssm.rwkv import RWKV

BATCH, LENGTH, WIDTH, ROUNDS = 2, 512, 256, 5
Run = Callable[[], object]


def backward(module: nn.Module, x: Tensor) -> Run:
    """Forward and backward of a module; its output may be a tuple."""

    def run() -> None:
        y = module(x)
        (y[0] if isinstance(y, tuple) else y).sum().backward()

    return run


def scan() -> dict[str, Run]:
    """The element-wise scan: by hand, in rounds, by automatic differentiation."""
    a, b = (torch.rand(BATCH, LENGTH, WIDTH, requires_grad=True) for _ in range(2))
    forms = {"ours": linear_scan, "in log2(T) rounds": linear_scan_parallel, "autograd loop": linear_scan_recurrent}
    return {name: lambda form=form: form(a, b).sum().backward() for name, form in forms.items()}


def mamba() -> dict[str, Run]:
    """Mamba's mixer beside mambapy and transformers' slow path."""
    from mambapy.mamba import MambaBlock, MambaConfig
    from transformers import MambaConfig as TheirConfig
    from transformers.models.mamba.modeling_mamba import MambaMixer

    x = torch.randn(BATCH, LENGTH, WIDTH)
    theirs = TheirConfig(hidden_size=WIDTH, num_hidden_layers=1, use_mambapy=False, use_associative_scan=False)
    return {
        "ours": backward(Mamba(WIDTH), x),
        "mambapy (parallel scan)": backward(MambaBlock(MambaConfig(d_model=WIDTH, n_layers=1)), x),
        "transformers (loop)": backward(MambaMixer(theirs, 0), x),
    }


def mamba2() -> dict[str, Run]:
    """Mamba-2's mixer beside transformers'."""
    from transformers.models.mamba2.configuration_mamba2 import Mamba2Config
    from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

    x = torch.randn(BATCH, LENGTH, WIDTH)
    config = Mamba2Config(
        hidden_size=WIDTH, num_heads=8, head_dim=64, state_size=64, n_groups=1, expand=2, chunk_size=64,
        num_hidden_layers=1,
    )  # fmt: skip
    return {
        "ours": backward(Mamba2(WIDTH, 8, 64, 64), x),
        "transformers (chunked)": backward(Mamba2Mixer(config, 0), x),
    }


def delta() -> dict[str, Run]:
    """Gated DeltaNet beside transformers' Qwen3-Next layer."""
    from transformers.models.qwen3_next.configuration_qwen3_next import Qwen3NextConfig
    from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextGatedDeltaNet

    x = torch.randn(BATCH, LENGTH, WIDTH)
    config = Qwen3NextConfig(
        hidden_size=WIDTH, linear_num_value_heads=4, linear_num_key_heads=4, linear_key_head_dim=64,
        linear_value_head_dim=64, num_hidden_layers=1, layer_types=["linear_attention"],
    )  # fmt: skip
    return {
        "ours": backward(GatedDeltaNet(WIDTH, 4, 64, 64), x),
        "transformers (chunked)": backward(Qwen3NextGatedDeltaNet(config, 0), x),
    }


def rwkv() -> dict[str, Run]:
    """An RWKV-4 block beside transformers'."""
    from transformers.models.rwkv.configuration_rwkv import RwkvConfig
    from transformers.models.rwkv.modeling_rwkv import RwkvBlock

    x = torch.randn(BATCH, LENGTH, WIDTH)
    theirs = RwkvBlock(RwkvConfig(hidden_size=WIDTH, num_hidden_layers=2), layer_id=1)
    with torch.no_grad():
        for parameter in (theirs.attention.time_decay, theirs.attention.time_first):
            parameter.copy_(torch.linspace(-5, 1, WIDTH))
    return {"ours": backward(RWKV(WIDTH), x), "transformers (loop)": backward(theirs, x)}


def retnet() -> dict[str, Run]:
    """Retention in chunks beside its parallel form."""
    layer, x = RetNet(WIDTH, 4), torch.randn(BATCH, LENGTH, WIDTH)

    def parallel() -> None:
        q, k, v = layer.heads(x)
        y = retention(q, k, v, layer.log_decay)
        gate = nn.functional.silu(layer.g_proj(x))
        layer.out_proj(gate * nn.functional.rms_norm(y, y.shape[-1:]).flatten(-2)).sum().backward()

    return {"ours": backward(layer, x), "T x T matrix": parallel}


GROUPS = {"scan": scan, "mamba": mamba, "mamba2": mamba2, "delta": delta, "rwkv": rwkv, "retention": retnet}


def measure(runs: dict[str, Run], rounds: int = ROUNDS) -> dict[str, float]:
    """Median seconds of each, the order turned from round to round."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for name in runs:
        runs[name]()  # warm-up
    for turn in range(rounds):
        names = [*runs][turn % len(runs) :] + [*runs][: turn % len(runs)]
        for name in names:
            start = time.process_time()
            runs[name]()
            times[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def main(*groups: str) -> None:
    """Print a table, write ``benchmarks/results/ssm.json``."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    target = Path(__file__).parent / "results" / "ssm.json"
    results = json.loads(target.read_text()) if target.is_file() else {}
    for group in groups or GROUPS:
        medians = measure(GROUPS[group]())
        for name, seconds in medians.items():
            print(f"{group:10} {name:26} {1000 * seconds:9.1f} ms   {seconds / medians['ours']:6.2f}x", flush=True)
        results[group] = medians
        target.parent.mkdir(exist_ok=True)
        target.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
