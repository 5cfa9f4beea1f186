"""What a system costs: parameters, FLOPs, bytes kept for backward, bytes of the cache; counted, and by formula.

The one idea: a formula is believed only where a count gives the same number, at sizes that have nothing in common
(:mod:`nexus.zoo.formulas`). FLOPs are those of matrix products and convolutions in one forward pass, as torch counts
them: a product of (m, k) and (k, n) is 2 m k n.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from nexus.catalog import Row
from nexus.layers.ssm import scan
from nexus.zoo import certificate, formulas
from nexus.zoo.arithmetic import values
from nexus.zoo.formulas._entry import Entry
from nexus.zoo.proof import Example

ACTIVATION_SLACK = 0.05  # what a version of torch keeps more or less than the formula says
ROUNDS = 5


@dataclass(frozen=True)
class Cost:
    """Of one call: counts and bytes; ``cache`` None where there is no state."""

    parameters: int
    flops: int
    activations: int
    cache: int | None = None

    def known(self) -> dict[str, float]:
        """What was counted, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def count(example: Example, state: object = None) -> Cost:
    """Count one call of the example."""
    module, inputs = example
    return Cost(
        parameters=sum(p.numel() for p in module.parameters()),
        flops=flops_of(lambda: module(*inputs)),
        activations=saved_bytes(module, inputs),
        cache=None if state is None else tensor_bytes(state),
    )


def flops_of(call: Callable[[], object]) -> int:
    """FLOPs of a call. Two things that torch's counter passes over are added: its own attention for CPUs, and what an
    operator of ours does inside."""
    own = {
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
        torch.ops.nexus.scan_forward: _inside(scan._forward._init_fn),
    }
    with FlopCounterMode(display=False, custom_mapping=own) as counter:
        call()
    return counter.get_total_flops()


def _attention(q: torch.Size, k: torch.Size, v: torch.Size, *_: object, **__: object) -> int:
    return int(sdpa_flop_count(q, k, v))


def _inside(operator: Callable[..., object]) -> Callable[..., int]:
    def flops(*args: Any, out_val: object = None, **kwargs: Any) -> int:
        return flops_of(lambda: operator(*args, **kwargs))

    flops._get_raw = True  # type: ignore[attr-defined]  # tensors, not their shapes
    return flops


def seconds(example: Example) -> float:
    """Of forward and backward, the median of a few rounds."""
    return statistics.median(_seconds(*example) for _ in range(ROUNDS))


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
    if callable(nbytes := getattr(tree, "nbytes", None)):
        return int(nbytes())
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


# ---- beside formulas -------------------------------------------------------------------------------------------------


def check(entry: Entry) -> None:
    """Build the entry's system at each set of its sizes and hold every formula against what is counted.

    Raises:
        ValueError: a formula gives another number; names both, and the sizes.
    """
    for sizes in entry.sizes:
        torch.manual_seed(0)
        example = entry.build(**sizes)
        counted = count(example, entry.state(example) if entry.cache else None).known()
        given = values(entry.formulas(), sizes)
        faults = [_fault(name, given[name], counted[name]) for name in counted if name in given]
        if any(faults):
            raise ValueError(f"at {_listed(sizes)}: {'; '.join(filter(None, faults))}")


def _fault(name: str, value: float, counted: float) -> str:
    slack = ACTIVATION_SLACK * counted if name == "activations" else 0
    return "" if abs(value - counted) <= slack else f"{name}: the formula gives {value:g}, counted are {counted:g}"


def _listed(sizes: Mapping[str, int]) -> str:
    return ",".join(f"{name}={size}" for name, size in sizes.items())


def recorded(row: Row) -> dict[str, Any]:
    """What a certificate says of the formulas of a row: they have just been checked; nothing where there are none."""
    entry = formulas.find(row.stem)
    if entry is None:
        return {"formulas": {}, "sizes": (), "note": ""}
    check(entry)
    return {"formulas": entry.formulas(), "sizes": tuple(map(_listed, entry.sizes)), "note": entry.note}


def refresh(row: Row, example: Example) -> certificate.Certificate:
    """Count again, check the formulas, and put both on the row's certificate.

    Raises:
        ValueError: there is no certificate for the present text, or a formula is wrong.
    """
    record = certificate.read(row)
    if record is None or row.status != "proved":
        raise ValueError(f"{row.name}: is not proved as it stands; run `nexus zoo verify {row.name}` first")
    cost = {**count(example).known(), "seconds": record.cost["seconds"]}
    made = record.replace(cost=cost, **recorded(row))
    certificate.write(row, made)
    return made
