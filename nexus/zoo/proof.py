"""What a proof of a reference system is made of.

The one idea: a proof is a list of tensors of ours beside those of an implementation that this project did not write,
and it is worth something only if planted mistakes make it fail.

Every system of the catalogue that is proved has a module ``nexus/zoo/proofs/<stem>.py`` with

    ORACLE = ("torch",)                       packages whose versions go on the certificate
    TOLERANCE = 1e-10                         largest difference allowed, see `Comparison.difference`
    MUTATIONS = (Mutation(...), ...)          typical mistakes, all of which `prove` must catch
    def example(seed: int = 0) -> Example     a small instance and its inputs: for the contract test and the cost card
    def prove(seed: int = 0) -> Iterator[Comparison]

and may have, where there is something to say,

    GOLDEN = ("s4",)                          frozen answers that it reads, other than one of its own stem
    def large() -> Example                    see `nexus.zoo.bench`, as for `def peers(example)`

What it costs stands beside that, in ``nexus/zoo/formulas/<family>.py``.

``prove`` imports the system's module inside the function, so that a mutated one can take its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Comparison(NamedTuple):
    """One thing that was compared, for instance "output" or "gradient of q_proj.weight"."""

    what: str
    ours: Tensor
    theirs: Tensor

    @property
    def difference(self) -> float:
        """Largest absolute difference, over the larger of 1 and the oracle's largest size; infinite if not comparable.

        NaN counts as infinite, except where both have it; equal infinities are equal.
        """
        ours, theirs = self.ours.detach().double(), self.theirs.detach().double()
        if ours.shape != theirs.shape:
            return float("inf")
        if not theirs.numel():
            return 0.0
        same = (ours == theirs) | (ours.isnan() & theirs.isnan())
        apart = (ours - theirs).abs().masked_fill(same, 0.0).nan_to_num(nan=float("inf"))
        finite = theirs[theirs.isfinite()]
        size = float(finite.abs().max()) if len(finite) else 1.0
        return float(apart.max()) / max(1.0, size)


@dataclass(frozen=True)
class Mutation:
    """A typical mistake, planted by replacing text in the system's own source file.

    Attributes:
        name: the mistake in words, for instance "scale forgotten".
        old: text that stands in the file exactly once. new: what takes its place.
        file: path below the repository's root if the text is in a part that the system is built from.
    """

    name: str
    old: str
    new: str
    file: str = ""


class Example(NamedTuple):
    """A small instance of a system, and the arguments of one call."""

    module: nn.Module
    inputs: tuple[object, ...]


def compare_gradients(
    ours: nn.Module,
    outputs: Tensor,
    theirs: nn.Module,
    their_outputs: Tensor,
    names: Sequence[tuple[str, str]],
    seed: int = 0,
) -> Iterator[Comparison]:
    """Outputs, and the gradients of paired parameters under one random weighting of the outputs.

    Args:
        names: (name in ours, name in theirs) of parameters of one layout.
    """
    yield Comparison("output", outputs, their_outputs)
    weighting = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(seed)).to(outputs)
    for module, out in ((ours, outputs), (theirs, their_outputs)):
        module.zero_grad(set_to_none=True)
        (out * weighting).sum().backward(retain_graph=True)
    for name, their_name in names:
        found = [m.get_parameter(n).grad for m, n in ((ours, name), (theirs, their_name))]
        if any(g is None for g in found):
            raise AssertionError(f"{name} / {their_name}: no gradient arrived")
        yield Comparison(f"gradient of {name}", found[0], found[1])  # type: ignore[arg-type]
