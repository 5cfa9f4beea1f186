"""What a system costs: parameters, FLOPs, bytes kept for backward, bytes of the cache; measured, and by formula.

The one idea: a formula is believed only where a measurement gives the same number. A proof may say

    def cost(example: Example) -> Formulas:          for instance, of a norm over the last dimension:
        B, T, D = example.inputs[0].shape
        return Formulas({"B": B, "T": T, "D": D}, parameters="2 * D", flops="0")
    def cache(example: Example) -> object            what is kept between two steps of decoding

FLOPs are those of matrix products and convolutions in one forward pass, as torch counts them: a product of (m, k) and
(k, n) is 2 m k n. The element size in bytes is ``E`` in every formula.
"""

from __future__ import annotations

import ast
import operator
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from nexus.zoo.proof import Example

ACTIVATION_SLACK = 0.05  # what a version of torch keeps more or less than the formula says
ROUNDS = 5
OPERATIONS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Pow: operator.pow,
}


@dataclass(frozen=True)
class Formulas:
    """Formulas over named sizes, with ``+ - * / // **``; an empty one is not given.

    Attributes:
        sizes: the names' values in the example.
        parameters, flops: numbers. activations, cache: bytes.
    """

    sizes: Mapping[str, int]
    parameters: str = ""
    flops: str = ""
    activations: str = ""
    cache: str = ""

    def given(self) -> dict[str, str]:
        """The formulas that are not empty."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "sizes" and getattr(self, f.name)}


@dataclass(frozen=True)
class Cost:
    """Measured on an example: counts, bytes, and seconds of forward and backward (median)."""

    parameters: int
    flops: int
    activations: int
    cache: int | None
    seconds: float

    def known(self) -> dict[str, float]:
        """What was measured, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def value_of(formula: str, sizes: Mapping[str, int]) -> float:
    """The number that a formula gives.

    Raises:
        ValueError: it holds a name without a size, or something other than arithmetic.
    """

    def walk(node: ast.expr) -> Any:
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
            return node.value
        if isinstance(node, ast.Name) and node.id in sizes:
            return sizes[node.id]
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATIONS:
            return OPERATIONS[type(node.op)](walk(node.left), walk(node.right))
        raise ValueError(f"{formula!r}: {ast.unparse(node)!r} is neither arithmetic nor one of {sorted(sizes)}")

    return walk(ast.parse(formula, mode="eval").body)


def measure(example: Example, cache: object = None) -> Cost:
    """Count and measure one call of the example."""
    module, inputs = example
    with FlopCounterMode(display=False) as counter:
        module(*inputs)
    return Cost(
        parameters=sum(p.numel() for p in module.parameters()),
        flops=counter.get_total_flops(),
        activations=saved_bytes(module, inputs),
        cache=None if cache is None else tensor_bytes(cache),
        seconds=statistics.median(_seconds(module, inputs) for _ in range(ROUNDS)),
    )


def saved_bytes(module: nn.Module, inputs: tuple[object, ...]) -> int:
    """Bytes that a forward pass keeps for backward, shared storage counted once; parameters and buffers are not."""
    own = {t.untyped_storage().data_ptr() for t in [*module.parameters(), *module.buffers()]}
    kept: dict[int, Tensor] = {}  # holding the tensors keeps their addresses from being given away again

    def pack(tensor: Tensor) -> Tensor:
        pointer = tensor.untyped_storage().data_ptr()
        if pointer not in own:
            kept[pointer] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs = module(*inputs)
    total = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    del outputs
    return total


def tensor_bytes(tree: object) -> int:
    """Bytes of all tensors in a state, or what its own ``nbytes()`` says."""
    if callable(count := getattr(tree, "nbytes", None)):
        return int(count())
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors_of(tree))


def tensors_of(tree: object) -> Iterator[Tensor]:
    """All tensors in nested tuples, lists, mappings and dataclasses."""
    for leaf in tree_leaves(tree):
        if isinstance(leaf, Tensor):
            yield leaf
        elif is_dataclass(leaf):
            yield from tensors_of([getattr(leaf, field.name) for field in fields(leaf)])


def floats_of(outputs: object) -> list[Tensor]:
    """All floating-point tensors of a module's outputs."""
    return [tensor for tensor in tensors_of(outputs) if tensor.is_floating_point()]


def _seconds(module: nn.Module, inputs: tuple[object, ...]) -> float:
    start = time.perf_counter()
    total = sum(tensor.sum() for tensor in floats_of(module(*inputs)))
    if isinstance(total, Tensor) and total.requires_grad:
        total.backward()
    return time.perf_counter() - start


def card(proof: ModuleType, example: Example) -> tuple[Cost, Formulas | None]:
    """The measured cost, and the formulas if the proof gives any.

    Raises:
        ValueError: a formula and the measurement differ.
    """
    cost = measure(example, proof.cache(example) if hasattr(proof, "cache") else None)
    formulas = proof.cost(example) if hasattr(proof, "cost") else None
    if formulas is not None:
        sizes = {"E": _element_size(example), **formulas.sizes}
        faults = [_fault(name, text, value_of(text, sizes), cost.known()) for name, text in formulas.given().items()]
        if any(faults):
            raise ValueError("; ".join(filter(None, faults)))
    return cost, formulas


def _fault(name: str, formula: str, value: float, measured: Mapping[str, float]) -> str:
    if name not in measured:
        return f"{name}: there is a formula ({formula}), but nothing to measure; give the proof a `cache` function"
    slack = ACTIVATION_SLACK * measured[name] if name == "activations" else 0
    if abs(value - measured[name]) <= slack:
        return ""
    return f"{name}: the formula {formula} gives {value:g}, measured are {measured[name]:g}"


def _element_size(example: Example) -> int:
    for tensor in [*example.module.parameters(), *floats_of(example.inputs)]:
        return tensor.element_size()
    return torch.get_default_dtype().itemsize
