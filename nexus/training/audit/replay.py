"""Where the first bad number came from: the failing step once more, watched operation by operation.

The one idea: NaN spreads, so only its first appearance tells anything. The replay looks at every torch call for an
output that isn't finite though its inputs are, then at the gradients of the same calls in backward, and names module,
operation, tensor and line of code. An infinity that was asked for (a mask's -inf) is no suspect, because it went in
already.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from nexus.training.audit.activations import code_location

_QUIET = {"backward", "isnan", "isinf", "isfinite", "detach", "requires_grad_", "register_hook", "nan_to_num"}


@dataclass(frozen=True)
class Origin:
    """Where numbers stopped being finite.

    Attributes:
        place: "forward", "backward", "input", "weight", or "nowhere" (the replay was finite).
        module: name of the innermost module; operation: of torch; tensor: which one, with its shape.
        value: "nan", "inf" or "-inf". because: what the inputs were like. code: file and line, where it is known.
    """

    place: str
    module: str = ""
    operation: str = ""
    tensor: str = ""
    value: str = ""
    because: str = ""
    code: str = ""

    def to_dict(self) -> dict[str, str]:
        """For the record."""
        return asdict(self)

    def __str__(self) -> str:
        if self.place == "nowhere":
            return "no place: computed again, every number was finite"
        inside = f" in module {self.module!r}" if self.module else ""
        where = f" ({self.code})" if self.code else ""
        what = f"{self.operation} in {self.place}" if self.operation else self.place
        return f"{what}{inside}: {self.tensor} is {self.value}{', ' if self.because else ''}{self.because}{where}"


def find_origin(model: nn.Module, loss: Callable[[], Tensor]) -> Origin:
    """Run ``loss`` and its backward again, and find the first non-finite number.

    Gradients of the model are left as they were.

    Args:
        loss: computes the loss from the same weights, batch and generators as the step that failed.
    """
    for name, parameter in model.named_parameters():
        if not bool(parameter.isfinite().all()):
            tensor = f"weight {name} {tuple(parameter.shape)}"
            return Origin(
                "weight", name.rpartition(".")[0], "", tensor, _kind(parameter), "spoilt by an earlier update"
            )
    held = {name: p.grad for name, p in model.named_parameters()}
    try:
        return _replay(model, loss)
    finally:
        for name, parameter in model.named_parameters():
            parameter.grad = held[name]


def _replay(model: nn.Module, loss: Callable[[], Tensor]) -> Origin:
    tracer = _Tracer(model)
    with torch.enable_grad(), torch.compiler.set_stance("force_eager"), tracer:
        value = loss()
    if tracer.origin is None and value.requires_grad:
        value.backward()
    return tracer.origin or Origin("nowhere")


class _Tracer(TorchFunctionMode):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.origin: Origin | None = None
        self._infinite: Origin | None = None
        self._stack: list[str] = []
        self._handles: list[Any] = []

    def __enter__(self) -> _Tracer:
        for name, module in self.model.named_modules():
            self._handles.append(module.register_forward_pre_hook(self._enter(name)))
            self._handles.append(module.register_forward_hook(self._leave(name), always_call=True))
        super().__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        for handle in self._handles:
            handle.remove()
        super().__exit__(*details)
        if self.origin is None and self._infinite is not None:
            self.origin = self._infinite

    def _enter(self, name: str) -> Callable[..., None]:
        def enter(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            self._stack.append(name)
            if name == "":
                self._check_input(inputs)

        return enter

    def _check_input(self, inputs: tuple[Any, ...]) -> None:
        with torch._C.DisableTorchFunction():
            for index, tensor in enumerate(_tensors(inputs)):
                if self.origin is None and _bad(tensor):
                    rows = (~tensor.isfinite()).flatten(1).any(1) if tensor.dim() > 1 else ~tensor.isfinite()
                    listed = rows.nonzero().flatten().tolist()[:4]
                    tensor_name = f"input {index} of the model {tuple(tensor.shape)}, rows {listed}"
                    self.origin = Origin("input", "", "", tensor_name, _kind(tensor), "the batch came so")

    def _leave(self, name: str) -> Callable[..., None]:
        def leave(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            # what happens inside a custom autograd function is no call that the mode hears of
            with torch._C.DisableTorchFunction():
                if self.origin is None and self._infinite is None and not any(map(_bad, _tensors(inputs))):
                    for tensor in _tensors(output):
                        if _bad(tensor):
                            text = f"output {tuple(tensor.shape)}"
                            self.origin = Origin("forward", name, type(module).__name__, text, _kind(tensor))
                            break
            if self._stack:
                self._stack.pop()

        return leave

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", str(func))
        if self.origin is None and name not in _QUIET and not name.startswith("__get"):
            with torch._C.DisableTorchFunction():
                self._judge(name, (args, kwargs or {}), output)
        return output

    def _judge(self, name: str, inputs: Any, output: Any) -> None:
        tensors = [t for t in _tensors(output) if t.is_floating_point()]
        where = self._stack[-1] if self._stack else ""
        for tensor in tensors:
            if tensor.grad_fn is not None:
                self._watch_backward(tensor, name, where, code_location())
        if not any(map(_bad, tensors)) or _infinite_inside(inputs):
            self._judge_nan(name, inputs, tensors, where)
            return
        bad = next(t for t in tensors if _bad(t))
        found = Origin(
            "forward", where, name, f"output {tuple(bad.shape)}", _kind(bad), _describe(inputs), code_location()
        )
        if bool(bad.isnan().any()):
            self.origin = self._infinite or found
        elif self._infinite is None:
            self._infinite = found

    def _judge_nan(self, name: str, inputs: Any, outputs: list[Tensor], where: str) -> None:
        """An operation that made NaN of infinities: the infinity's origin is the answer, unless it was asked for."""
        fresh = [t for t in outputs if bool(t.isnan().any())]
        if fresh and not any(bool(t.isnan().any()) for t in _tensors(inputs) if t.is_floating_point()):
            text = f"output {tuple(fresh[0].shape)}"
            made = Origin("forward", where, name, text, "nan", _describe(inputs), code_location())
            self.origin = self._infinite or made

    def _watch_backward(self, tensor: Tensor, name: str, where: str, code: str) -> None:
        node, shape = tensor.grad_fn, tuple(tensor.shape)
        assert node is not None

        def hook(into: Any, out_of: Any) -> None:
            if self.origin is not None or any(map(_bad, _tensors(out_of))):
                return
            for index, gradient in enumerate(_tensors(into)):
                if _bad(gradient):
                    text = f"gradient of input {index} {tuple(gradient.shape)}"
                    because = f"from finite gradients of the output {shape}"
                    self.origin = Origin("backward", where, name, text, _kind(gradient), because, code)
                    return

        node.register_hook(hook)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors(item)
    elif hasattr(value, "logits"):
        yield from _tensors(value.logits)


def _bad(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and not bool(tensor.detach().isfinite().all())


def _kind(tensor: Tensor) -> str:
    if bool(tensor.isnan().any()):
        return "nan"
    return "inf" if bool((tensor == math.inf).any()) else "-inf"


def _infinite_inside(value: Any) -> bool:
    """Whether an input, tensor or number, was not finite already."""
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, Mapping):
        return any(map(_infinite_inside, value.values()))
    if isinstance(value, (tuple, list)):
        return any(map(_infinite_inside, value))
    return isinstance(value, Tensor) and _bad(value)


def _describe(inputs: Any) -> str:
    parts = []
    for tensor in _tensors(inputs):
        if tensor.is_floating_point() and tensor.numel():
            low, high = float(tensor.detach().min()), float(tensor.detach().max())
            parts.append(f"{tuple(tensor.shape)} in [{low:.4g}, {high:.4g}]")
    return "from " + ", ".join(parts[:3]) if parts else ""
