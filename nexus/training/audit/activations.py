"""A look at one forward pass: dead and saturated units, waits for the device, and what went in and came out.

The one idea: a function mode sees every torch call that Python makes, also those that are no module, and the stack of
modules says where it happened. It is there for one step and gone.
"""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from nexus.training.objectives import logits_of

_CUT = {"relu": 1e-8, "relu_": 1e-8, "gelu": 1e-4, "silu": 1e-4}  # below this an output counts as nothing
_BOUNDED = {"sigmoid": (0.01, 0.99), "sigmoid_": (0.01, 0.99), "tanh": (-0.99, 0.99), "tanh_": (-0.99, 0.99)}
_WAITS = {"item", "tolist", "__bool__", "__float__", "__int__", "__index__", "__repr__", "__format__", "numpy"}
_OWN = (str(Path(torch.__file__).parent), str(Path(__file__).parents[1]))  # torch, and this room
_SITES = 32


def code_location() -> str:
    """File and line of the innermost frame that is the user's code."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith(_OWN) and "contextlib" not in name and not name.startswith("<frozen"):
            return f"{name}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return ""


def _called_by_user() -> bool:
    """Whether the innermost frame below this file is neither torch's nor ours."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename in (__file__, torch.overrides.__file__):
        frame = frame.f_back  # type: ignore[assignment]
    return frame is not None and not frame.f_code.co_filename.startswith(_OWN)


class Watcher(TorchFunctionMode):
    """Collects while it is entered; then see `result`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.dead: dict[str, float] = {}
        self.saturated: dict[str, float] = {}
        self.waits: dict[str, int] = {}
        self.inputs: Tensor | None = None
        self.logits: Tensor | None = None
        self.training = True
        self.finite_input = True
        self._stack: list[str] = []
        self._handles: list[Any] = []

    def __enter__(self) -> Watcher:
        for name, module in self.model.named_modules():
            self._handles.append(module.register_forward_pre_hook(self._entered(name)))
            self._handles.append(module.register_forward_hook(self._left, always_call=True))
        self._handles.append(self.model.register_forward_hook(self._whole, with_kwargs=True))
        super().__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        for handle in self._handles:
            handle.remove()
        super().__exit__(*details)

    def _entered(self, name: str) -> Callable[..., None]:
        return lambda module, inputs: self._stack.append(name)

    def _left(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if self._stack:
            self._stack.pop()

    def _whole(self, module: nn.Module, inputs: tuple[Any, ...], options: Mapping[str, Any], output: Any) -> None:
        tensors = [t for t in (*inputs, *options.values()) if isinstance(t, Tensor)]
        self.training = self.training and module.training
        if not tensors:
            return
        self.inputs = tensors[0].detach()
        with torch._C.DisableTorchFunction():
            if self.inputs.is_floating_point():
                self.finite_input = self.finite_input and bool(self.inputs.isfinite().all())
        try:
            self.logits = logits_of(output).detach()
        except ValueError:
            self.logits = None

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name in _WAITS and args and isinstance(args[0], Tensor) and _called_by_user():
            where = code_location()
            self.waits[where] = self.waits.get(where, 0) + 1
        elif (name in _CUT or name in _BOUNDED) and isinstance(output, Tensor) and output.dim() > 1:
            with torch._C.DisableTorchFunction(), torch.no_grad():
                self._judge(name, output)
        return output

    def _judge(self, name: str, output: Tensor) -> None:
        units = output.detach().reshape(-1, output.shape[-1])
        site = f"{self._stack[-1] if self._stack else ''}:{name.rstrip('_')}"
        if len(self.dead) + len(self.saturated) >= _SITES or len(units) < 2:
            return
        if name in _CUT:
            self.dead[site] = float((units.abs().amax(0) < _CUT[name]).float().mean())
        else:
            low, high = _BOUNDED[name]
            self.saturated[site] = float(((units < low) | (units > high)).float().mean())

    def result(self) -> dict[str, Any]:
        """Shares of dead and saturated units by place, waits by code line, and a fingerprint of the batch."""
        return {
            "dead": self.dead,
            "saturated": self.saturated,
            "waits": self.waits,
            "evaluation_mode": not self.training,
            "finite_input": self.finite_input,
            "batch": _fingerprint(self.inputs),
        }

    def compare_losses(self, loss: float) -> dict[str, Any]:
        """Which loss of these logits the loop took: of the next token, or of the token itself (labels not shifted)."""
        ids, logits = self.inputs, self.logits
        if not is_language(ids, logits) or not math.isfinite(loss):
            return {}
        assert ids is not None
        assert logits is not None
        with torch.no_grad():
            same = float(F.cross_entropy(logits.float().flatten(0, 1), ids.flatten()))
            following = float(F.cross_entropy(logits[:, :-1].float().flatten(0, 1), ids[:, 1:].flatten()))
            sums = logits.float().sum(-1)
            simplex = bool((logits.min() >= 0) & ((sums - 1).abs().max() < 1e-3))
        near = abs(loss - same) < 1e-3 * max(1.0, abs(loss))
        return {"unshifted": near and abs(loss - following) > 0.05, "probabilities": simplex}


def is_language(ids: Tensor | None, logits: Tensor | None) -> bool:
    """Whether these are token ids (B, T) and logits (B, T, V) of a language model."""
    if ids is None or logits is None or ids.dim() != 2 or ids.is_floating_point() or ids.dtype == torch.bool:
        return False
    return logits.dim() == 3 and logits.shape[:2] == ids.shape and ids.shape[1] >= 4


def _fingerprint(tensor: Tensor | None) -> str:
    if tensor is None:
        return ""
    flat = tensor.detach().flatten()[:4096].cpu()
    return hashlib.sha256(flat.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()[:16]
