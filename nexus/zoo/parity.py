"""Weights copied between a system of ours and its oracle, and the comparison that follows.

The one idea: a list of renamings turns our parameter names into the oracle's; from it follow the copy in, the copy out,
and which gradients belong together. Oracles that are no package, or clash with ours, are frozen to golden files: their
weights, inputs, outputs and gradients, with their version, made by ``tests/golden/make_state_space.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nexus.zoo.proof import Comparison

GOLDEN = Path(__file__).parents[2] / "tests" / "golden"


@dataclass(frozen=True)
class Renaming:
    """Our parameter names into the oracle's, by replacing parts of them in order.

    Attributes:
        parts: (part of our name, what stands for it in theirs).
        exact: whole names that the parts would not get right.
        ignored: parameters of theirs, by a part of their name, that have no counterpart because they do nothing here.
    """

    parts: Sequence[tuple[str, str]] = ()
    exact: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()

    def __call__(self, name: str) -> str:
        """Their name of our parameter ``name``."""
        if name in self.exact:
            return self.exact[name]
        for ours, theirs in self.parts:
            name = name.replace(ours, theirs)
        return name

    def load(self, ours: nn.Module, theirs: Mapping[str, Tensor]) -> None:
        """Copy their weights into ours; shapes may differ by dimensions of size 1.

        Raises:
            ValueError: a parameter of either side has no counterpart, or another size.
        """
        named = dict(ours.named_parameters())
        wanted = {self(name): parameter for name, parameter in named.items()}
        left = [n for n in theirs if n not in wanted and not any(part in n for part in self.ignored)]
        lacking = [n for n in wanted if n not in theirs]
        if left or lacking:
            raise ValueError(f"weights: not placed {left}, not found {lacking}; mend the renaming")
        with torch.no_grad():
            for name, parameter in wanted.items():
                parameter.copy_(theirs[name].view(parameter.shape))

    def export(self, ours: nn.Module, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Our weights under their names, in the shapes of ``like``."""
        return {self(n): p.detach().view(like[self(n)].shape) for n, p in ours.named_parameters()}


def randomise(module: nn.Module, seed: int, scale: float = 0.1) -> None:
    """Move every parameter off its start: ones and zeros prove nothing."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.is_complex():
                noise = torch.randn(*parameter.shape, 2, generator=generator, dtype=torch.float64)
                parameter.add_(torch.view_as_complex(noise).to(parameter) * scale)
            else:
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.add_(noise.to(parameter) * scale)


def calm(module: nn.Module) -> None:
    """Give an oracle mild decays, so that float32 can show a parity of 1e-5.

    Measured with Qwen3-Next's own start (rates up to 16): some gradients reach 150, and those of the rates are off from
    double precision by 1e-5 to 3e-5 on both sides alike.
    """
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith("A_log"):
                parameter.fill_(-1.0)


def weighting(like: Tensor, seed: int) -> Tensor:
    """Random weights for the elements of an output."""
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(like)


def gradients(module: nn.Module, output: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """Gradient of ``sum(weights * output)`` for each parameter that it depends on."""
    named = {n: p for n, p in module.named_parameters() if p.requires_grad}
    found = torch.autograd.grad((output * weights).sum(), list(named.values()), allow_unused=True, retain_graph=True)
    return {n: g for n, g in zip(named, found, strict=True) if g is not None}


def compare(
    ours: nn.Module, output: Tensor, theirs: nn.Module, their_output: Tensor, names: Renaming, seed: int = 0
) -> Iterator[Comparison]:
    """The outputs, and the gradient of every parameter of ours beside the oracle's."""
    weights = weighting(their_output, seed)
    expected = gradients(theirs, their_output, weights)
    yield from against(ours, output, their_output, expected, weights, names)


def token_by_token(layer: Any, x: Tensor) -> Tensor:
    """Outputs of ``layer`` over ``x`` (B, T, D) in steps of one token, its state handed on."""
    state = layer.init_state(x.shape[0])
    outputs: list[Tensor] = []
    for token in x.split(1, dim=1):
        y, state = layer(token, state)
        outputs.append(y)
    return torch.cat(outputs, dim=1)


def decoded(model: Any, ids: Tensor, first: int = 5) -> Tensor:
    """Logits of a language model that reads the ``first`` of ``ids`` (B, T) as one piece and the rest one by one."""
    state = model.init_state(ids.shape[0])
    logits: list[Tensor] = []
    with torch.no_grad():
        for piece in ids.split([first] + [1] * (ids.shape[1] - first), dim=1):
            out = model(piece, state=state)
            state = out.state
            logits.append(out.logits)
    return torch.cat(logits, dim=1)


def compare_lm(
    ours: nn.Module, theirs: nn.Module, names: Renaming, vocab_size: int, seed: int = 0, length: int = 13
) -> Iterator[Comparison]:
    """Two language models: weights both ways, logits, gradients, our cached decode beside the oracle's whole run."""
    names.load(ours, dict(theirs.named_parameters()))
    theirs.load_state_dict(names.export(ours, dict(theirs.named_parameters())), strict=False)
    ids = torch.randint(1, vocab_size, (2, length), generator=torch.Generator().manual_seed(seed))
    expected = theirs(ids, use_cache=False).logits
    yield from compare(ours, ours(ids).logits, theirs, expected, names, seed)
    yield Comparison("cached decode", decoded(ours, ids), expected)


def against(
    ours: nn.Module, output: Tensor, their_output: Tensor, expected: Mapping[str, Tensor], weights: Tensor,
    names: Renaming,
) -> Iterator[Comparison]:  # fmt: skip
    """As :func:`compare`, with the oracle's gradients given."""
    yield Comparison("output", output, their_output)
    if output.shape != their_output.shape:
        return
    found = gradients(ours, output, weights)
    for name, parameter in ours.named_parameters():
        theirs = expected[names(name)].view(parameter.shape)
        yield Comparison(f"gradient of {name}", found.get(name, torch.full_like(theirs, float("nan"))), theirs)


@dataclass(frozen=True)
class Golden:
    """One frozen run of an oracle.

    Attributes:
        inputs, outputs: by name. weights, gradients: by the oracle's parameter names.
        meta: versions and sizes.
    """

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    weights: Mapping[str, Tensor]
    gradients: Mapping[str, Tensor]
    meta: Mapping[str, str]

    @classmethod
    def load(cls, stem: str, seed: int = 0) -> Golden:
        """Read the run of ``tests/golden/<stem>.safetensors`` for ``seed`` (three were frozen)."""
        from safetensors import safe_open

        kinds: dict[str, dict[str, Tensor]] = {"input": {}, "output": {}, "weight": {}, "gradient": {}}
        with safe_open(str(GOLDEN / f"{stem}.safetensors"), framework="pt") as file:
            meta = file.metadata() or {}
            run = str(seed % int(meta.get("runs", "1")))
            for key in file.keys():  # noqa: SIM118 - not a dict
                number, kind, name = key.split("/", 2)
                if number == run:
                    kinds[kind][name] = file.get_tensor(key)
        return cls(kinds["input"], kinds["output"], kinds["weight"], kinds["gradient"], meta)

    def compare(self, ours: nn.Module, output: Tensor, names: Renaming, which: str = "y") -> Iterator[Comparison]:
        """Our output and gradients beside the frozen ones."""
        yield from against(ours, output, self.outputs[which], self.gradients, self.inputs["weighting"], names)
