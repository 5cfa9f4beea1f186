"""An entry: a system made from named sizes, and the formulas that say what it costs at them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from nexus.zoo.arithmetic import COSTS
from nexus.zoo.proof import Example

Sizes = Mapping[str, int]


def state_after(example: Example) -> object:
    """The state of a module after one call, which is what it keeps between two steps of decoding."""
    module, inputs = example
    assert isinstance(inputs[0], torch.Tensor)
    output = module(*inputs, module.init_state(len(inputs[0])))  # type: ignore[operator]
    return output.state if hasattr(output, "state") else output[-1]


@dataclass(frozen=True)
class Entry:
    """Formulas with ``+ - * / // **`` over the sizes; ``cache`` is empty where nothing is kept between two steps.

    Attributes:
        build: the example for sizes, given by name.
        sizes: two or more sets of them; every size differs between the first two.
        parameters, flops: numbers. activations, cache: bytes. ``E`` is the bytes of a number.
        where: parts of the formulas by name, in the order in which they need each other.
        note: which variant of the system that is, where it has several.
        state: what is kept between two steps of decoding, for ``cache``.
    """

    build: Callable[..., Example]
    sizes: tuple[Sizes, ...]
    parameters: str
    flops: str
    activations: str
    cache: str = ""
    where: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    state: Callable[[Example], object] = state_after

    def formulas(self) -> dict[str, str]:
        """Parts first, then what there is of parameters, flops, activations and cache."""
        given = {name: getattr(self, name) for name in COSTS}
        return {**self.where, **{name: text for name, text in given.items() if text}}


def over_text(make: Callable[..., nn.Module]) -> Callable[..., Example]:
    """An example of a layer over a text (B, T, d_model), made by ``make(d_model, ...)`` from the other sizes."""

    def build(B: int, T: int, d_model: int, **sizes: int) -> Example:
        return Example(make(d_model, **sizes), (torch.randn(B, T, d_model),))

    return build


@dataclass(frozen=True)
class Part:
    """Costs of a part of a model, in the names of the model's sizes."""

    parameters: str
    flops: str = "0"
    cache: str = "0"
    activations: str = "0"


def stack(parameters: str, flops: str, activations: str, **parts: tuple[str, Part]) -> dict[str, object]:
    """Formulas of a model: a frame, and so many of each part; for ``Entry(..., **stack(...))``.

    Args:
        parameters, flops, activations: of the frame: embedding, last norm, head.
        parts: by name: how many, and what one costs.
    """
    totals = {"parameters": [parameters], "flops": [flops], "cache": [], "activations": [activations]}
    where: dict[str, str] = {}
    for name, (count, part) in parts.items():
        for kind, terms in totals.items():
            if (formula := getattr(part, kind)) != "0":
                where[f"{name}_{kind}"] = formula
                terms.append(f"{name}_{kind}" if count == "1" else f"{count} * {name}_{kind}")
    return {"where": where, **{kind: " + ".join(terms) for kind, terms in totals.items()}}
