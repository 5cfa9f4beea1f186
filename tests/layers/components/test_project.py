"""A linear layer by oneDNN is torch's own in outputs and gradients, and steps aside wherever something watches."""

import copy
import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from nexus.inference.quantization import Int8Linear, quantize
from nexus.layers.components import project as module
from nexus.layers.components.project import linear, project
from nexus.training.lora import apply_lora

K, N = 320, 512  # more weights than `SMALL`
ROWS = ((), (1,), (1, 1), (3, 5), (2, 33), (1, 100), (4, 256), (1, 1_500))


@pytest.fixture(autouse=True, params=[True, False], ids=["onednn", "mkl"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Both ways on every machine, whatever it would choose."""
    if request.param and not torch.backends.mkldnn.is_available():
        pytest.skip("this build of torch has no oneDNN")
    monkeypatch.setattr(module, "BY_ONEDNN", request.param)
    return bool(request.param)


class Layer(nn.Module):
    """A module around it, as the mixers are."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.proj = nn.Linear(K, N, **options)

    def forward(self, x: Tensor) -> Tensor:
        return project(self.proj, x)


def test_is_used(library: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(module, "_onednn", lambda *a: calls.append(1) or nn.functional.linear(*a))
    Layer()(torch.randn(2, K))
    assert bool(calls) == library


@pytest.mark.parametrize("shape", ROWS)
@pytest.mark.parametrize("bias", [True, False])
def test_outputs_and_gradients(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    ours = Layer(bias=bias)
    theirs = copy.deepcopy(ours.proj)
    x = torch.randn(*shape, K, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    out, expected = ours(x), theirs(y)
    gradient = torch.randn_like(out)
    out.backward(gradient)
    expected.backward(gradient)
    torch.testing.assert_close(out, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(x.grad, y.grad, atol=1e-4, rtol=1e-4)
    for p, q in zip(ours.proj.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, atol=1e-3, rtol=1e-4)


def test_views_and_no_rows() -> None:
    layer = Layer()
    x = torch.randn(4, 6, 2 * K)[:, :, ::2].transpose(0, 1)
    torch.testing.assert_close(layer(x), layer.proj(x), atol=1e-4, rtol=1e-4)
    assert layer(torch.empty(0, K)).shape == (0, N)


def test_only_what_is_wanted_gets_a_gradient() -> None:
    layer = Layer().requires_grad_(False)
    x = torch.randn(3, K, requires_grad=True)
    layer(x).sum().backward()
    torch.testing.assert_close(x.grad, layer.proj.weight.sum(0).expand(3, K), atol=1e-4, rtol=1e-4)
    assert layer.proj.weight.grad is None
    assert not layer(x.detach()).requires_grad


def test_second_derivative() -> None:
    x = torch.randn(3, K, requires_grad=True)
    weight = (torch.randn(N, K) / 20).requires_grad_()
    (first,) = torch.autograd.grad(linear(x, weight).square().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), weight)
    (a,) = torch.autograd.grad((x @ weight.t()).square().sum(), x, create_graph=True)
    (b,) = torch.autograd.grad(a.square().sum(), weight)
    torch.testing.assert_close(second, b, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_go_torchs_way(dtype: torch.dtype) -> None:
    layer = Layer(dtype=dtype)
    x = torch.randn(2, K, dtype=dtype)
    assert torch.equal(layer(x), layer.proj(x))


def test_autocast_decides_the_type() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert Layer()(torch.randn(2, K)).dtype == torch.bfloat16


def test_counters_see_it() -> None:
    with FlopCounterMode(display=False) as counter:
        Layer()(torch.randn(37, K))
    assert counter.get_total_flops() == 2 * 37 * K * N


def test_transforms_and_recomputation() -> None:
    layer, x = Layer(), torch.randn(5, K)
    torch.testing.assert_close(torch.vmap(layer)(x), layer(x), atol=1e-4, rtol=1e-4)
    y = x.clone().requires_grad_()
    checkpoint(layer, y, use_reentrant=False).sum().backward()
    torch.testing.assert_close(y.grad, layer.proj.weight.sum(0).expand(5, K), atol=1e-4, rtol=1e-4)


def test_hooks_run() -> None:
    layer, x, seen = Layer(), torch.randn(2, K), []
    handle = layer.proj.register_forward_hook(lambda *a: seen.append("own"))
    layer(x)
    handle.remove()
    handle = nn.modules.module.register_module_forward_pre_hook(lambda *a: seen.append(type(a[0]).__name__))
    layer(x)
    handle.remove()
    layer.proj.forward = lambda x: seen.append("replaced")
    layer(x)
    assert seen == ["own", "Layer", "Linear", "replaced"]


@pytest.mark.filterwarnings("ignore:.*torch.ao.quantization.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*quantized tensor creation functions.*:UserWarning")
def test_what_looks_for_linear_layers_finds_it_and_is_called() -> None:
    x = torch.randn(2, K)
    small = torch.ao.quantization.quantize_dynamic(Layer(), {nn.Linear}, dtype=torch.qint8)
    assert "quantized" in type(small.proj).__module__
    assert torch.equal(small(x), small.proj(x))
    ours = quantize(Layer())
    assert isinstance(ours.proj, Int8Linear)
    assert torch.equal(ours(x), ours.proj(x))
    adapted = Layer()
    apply_lora(adapted, ["all-linear"], rank=2)
    assert torch.equal(adapted(x), adapted.proj(x))


@pytest.mark.slow  # a compiler has to run
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, inside its compiler
def test_compiled() -> None:
    layer = Layer()
    again = torch.compile(layer, fullgraph=True)
    for rows in (1, 40):
        x = torch.randn(rows, K, requires_grad=True)
        again(x).square().sum().backward()
        got, x.grad = x.grad, None
        layer(x).square().sum().backward()
        torch.testing.assert_close(got, x.grad, atol=1e-2, rtol=1e-4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.jit is on its way out, and warns
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # its own check of equal results
def test_exports_are_portable() -> None:
    layer, x = Layer(), torch.randn(2, K)
    assert "aten.linear" in str(torch.export.export(layer, (x,)).graph)
    assert "mkldnn" not in str(torch.jit.trace(layer, x).inlined_graph)


@pytest.mark.parametrize(("value", "expected"), [("mkl", "False"), ("onednn", "True"), ("blis", "use onednn or mkl")])
def test_switch(value: str, expected: str, library: bool) -> None:
    if library:
        pytest.skip("once is enough")
    command = "from nexus.layers.components import project; print(project.BY_ONEDNN)"
    done = subprocess.run(
        [sys.executable, "-c", command], env={**os.environ, module.SWITCH: value}, capture_output=True, text=True
    )
    assert expected in done.stdout + done.stderr
