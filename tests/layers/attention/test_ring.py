"""Ring attention: the proof over threads, and two processes over gloo beside one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nexus.layers.attention import MultiHeadAttention, RingAttention
from tests.numerics import close, same_gradients
from tests.proofs import proof_holds

ROOT = Path(__file__).resolve().parents[3]
WORKER = """
import sys
import torch
from safetensors.torch import save_file
from torch import distributed as dist
from nexus.layers.attention import ProcessRing, RingAttention

rank, size, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=size)
torch.manual_seed(0)
layer = RingAttention(16, 4, ring=ProcessRing()).double()
x = torch.randn(2, 7 * size, 16, dtype=torch.float64).chunk(size, dim=1)[rank].contiguous().requires_grad_()
y = layer(x, causal=True)
(y * torch.arange(1.0, 17).double()).sum().backward()
for parameter in layer.parameters():
    dist.all_reduce(parameter.grad)
gradients = {name: p.grad for name, p in layer.named_parameters()}
save_file({"y": y.detach(), "x": x.grad, **gradients}, f"{folder}/{rank}.safetensors")
dist.destroy_process_group()
"""


def test_the_proof_holds():
    proof_holds("ring", (0, 1))


def test_a_ring_of_one_is_plain_attention():
    ring, whole = RingAttention(16, 4).double(), MultiHeadAttention(16, 4).double()
    whole.load_state_dict(ring.state_dict())
    x = torch.randn(2, 11, 16, dtype=torch.float64, requires_grad=True)
    for causal in (False, True):
        close(ring(x, causal=causal), whole(x, causal=causal))
        same_gradients(ring(x, causal=causal), whole(x, causal=causal), [x])
    with pytest.raises(ValueError, match="mask, bias"):
        ring(x, mask=torch.ones(1, 1, 1, 11, dtype=torch.bool))


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
def test_processes_equal_one(size, tmp_path):
    command = [sys.executable, "-c", WORKER]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    workers = [subprocess.Popen([*command, str(r), str(size), str(tmp_path)], env=environment) for r in range(size)]
    assert [w.wait(timeout=120) for w in workers] == [0] * size
    parts = [load_file(tmp_path / f"{rank}.safetensors") for rank in range(size)]

    torch.manual_seed(0)
    whole = MultiHeadAttention(16, 4).double()
    x = torch.randn(2, 7 * size, 16, dtype=torch.float64, requires_grad=True)
    y = whole(x, causal=True)
    (y * torch.arange(1.0, 17).double()).sum().backward()
    close(torch.cat([p["y"] for p in parts], dim=1), y.detach())
    close(torch.cat([p["x"] for p in parts], dim=1), x.grad)
    for name, parameter in whole.named_parameters():
        close(parts[0][name], parameter.grad)
