"""A linear layer's product, by the faster of the two libraries that torch brings.

The one idea: torch gives float32 products on a CPU to MKL, which on AMD's processors leaves much of them unused where
rows are few. One row (a token of decode) then reads its weights at 10 GB/s of 25. oneDNN, which torch carries for
other types, takes 0.4 to 0.8 of the time for 1 to 64 rows and 0.7 to 0.9 of it above (benchmarks/project.py). It makes
code for each number of rows it meets, so rows are rounded up to one of few numbers; else its cache would only grow.
"""

import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules import module as everywhere

SWITCH = "NEXUS_PRODUCTS"  # "onednn" or "mkl" in the environment overrules the choice by processor
SMALL = 2**17  # weights below this are in cache, and a call of oneDNN costs 12 microseconds more than one of MKL
MANY_ROWS = 1_024  # from here on the two are close, and only exact sizes are worth it


def _processor() -> str:
    """The maker's name as the processor gives it, "" where the system doesn't say."""
    if sys.platform != "linux":
        return os.environ.get("PROCESSOR_IDENTIFIER", "").rpartition(" ")[2]  # Windows: "..., AuthenticAMD"
    told = Path("/proc/cpuinfo")
    lines = told.read_text(encoding="utf-8").splitlines() if told.is_file() else []
    return next((line.rpartition(" ")[2] for line in lines if line.startswith("vendor_id")), "")


def _gains() -> bool:
    """Whether this machine gains; by the name of its processor and not by a stopwatch, so that runs stay repeatable."""
    wanted = os.environ.get(SWITCH, "")
    if wanted not in ("", "onednn", "mkl"):
        raise ValueError(f"{SWITCH}={wanted!r}: is unknown; use onednn or mkl, or leave it away")
    if not torch.backends.mkldnn.is_available() or wanted == "mkl":
        return False
    return wanted == "onednn" or (torch.backends.mkl.is_available() and _processor() == "AuthenticAMD")


BY_ONEDNN = _gains()


def project(layer: nn.Module, x: Tensor) -> Tensor:
    """``layer(x)`` of a linear layer, (..., in) to (..., out), by the faster library.

    A function and no class of its own, so that layers stay plain ``nn.Linear`` for all that looks for those: adapters,
    quantisation, shards. What they put in its place, or hang on it, is called as any module is.
    """
    if BY_ONEDNN and type(layer) is nn.Linear and not _has_hooks(layer):
        return linear(x, layer.weight, layer.bias)
    out: Tensor = layer(x)
    return out


def _has_hooks(layer: nn.Module) -> bool:
    """Whether a call of the layer does more than its ``forward``, or that was replaced."""
    return bool(
        layer._forward_hooks
        or layer._forward_pre_hooks
        or layer._backward_hooks
        or layer._backward_pre_hooks
        or everywhere._has_any_global_hook()
        or "forward" in vars(layer)
    )


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias`` of (..., K) and (N, K), as (..., N); differentiable any number of times.

    What is not a plain float32 tensor on a CPU that gains takes :func:`torch.nn.functional.linear`; so does all that is
    being watched, transformed or exported, so that counters, autocast and exporters meet the operator they know.
    """
    if not (BY_ONEDNN and _plain(x, weight)):
        return F.linear(x, weight, bias)
    if torch.is_grad_enabled() and (
        x.requires_grad or weight.requires_grad or (bias is not None and bias.requires_grad)
    ):
        out: Tensor = _Linear.apply(x, weight, bias)
        return out
    return _product(x, weight, bias)


def _plain(x: Tensor, weight: Tensor) -> bool:
    return (
        x.dtype == weight.dtype == torch.float32
        and x.device.type == weight.device.type == "cpu"
        and weight.numel() >= SMALL
        and not torch.is_autocast_enabled("cpu")
        and (_unwatched(x, weight) if not torch.compiler.is_compiling() else not torch.compiler.is_exporting())
    )


def _unwatched(x: Tensor, weight: Tensor) -> bool:
    return (
        type(x) in (Tensor, nn.Parameter)
        and type(weight) in (Tensor, nn.Parameter)
        and x.numel() > 0
        and torch._C._get_tracing_state() is None
        and not torch._C._len_torch_dispatch_stack()
        and not torch._C._len_torch_function_stack()
        and not torch._C._are_functorch_transforms_active()
    )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The product of plain tensors; no gradients."""
    if torch.compiler.is_compiling():
        out: Tensor = torch.ops.nexus.linear(x, weight, bias)
        return out
    return _eager(x, weight, bias)


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return out


def _eager(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    rows = x.numel() // x.shape[-1]
    more = -rows % (1 << max(0, rows.bit_length() - 4))  # eight numbers of rows between each power of two and the next
    if not more:
        return _onednn(x, weight, bias)
    if rows > MANY_ROWS:
        return F.linear(x, weight, bias)
    padded = F.pad(x.reshape(rows, -1), (0, 0, 0, more))
    return _onednn(padded, weight, bias)[:rows].view(*x.shape[:-1], -1)


# torch's compiler takes oneDNN's operator with frozen weights only, so it sees this one; defined without the checks of
# ``custom_op``, which cost 15 microseconds a call.
_operators = torch.library.Library("nexus", "FRAGMENT")
_operators.define("linear(Tensor x, Tensor weight, Tensor? bias) -> Tensor")
_operators.impl("linear", _eager, "CPU")


@torch.library.register_fake("nexus::linear", lib=_operators)
def _(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(*x.shape[:-1], weight.shape[0])


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        (grad,), (x, weight) = grads, ctx.saved_tensors
        need_x, need_weight, need_bias = ctx.needs_input_grad
        flat = grad.reshape(-1, grad.shape[-1])
        return (
            linear(grad, weight.t()) if need_x else None,
            # Not by oneDNN: it would need one side copied, and what that takes it does not gain (dev/LOG.md).
            flat.t() @ x.reshape(-1, x.shape[-1]) if need_weight else None,
            flat.sum(0) if need_bias else None,
        )
