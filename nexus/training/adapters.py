"""Many low-rank changes on one frozen model, chosen for each row of a batch.

The one idea: the change of LoRA (arXiv:2106.09685, equation 3) does not have to sit inside the model. It is added to
what a linear layer returns, for those rows that ask for it, so one copy of the weights serves every owner, versions of
an adapter live side by side in one batch, and a row without an adapter gets the very numbers of the plain model.
Serving many adapters from one base: S-LoRA, Sheng et al. 2023 (arXiv:2311.03285). Files are PEFT's, as in `lora.py`.

    adapter = Adapter.fresh(model, ["all-linear"], rank=8)
    rows = RowAdapters(model)
    with rows.using([adapter, None]):
        model(ids)                       # (2, T): the first row is changed, the second is not
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from nexus.core.memory import TitansMemory
from nexus.training.lora import Change, read_adapter, target_layers, write_adapter


class Adapter(nn.Module):
    """Low-rank changes by the name of the linear layer that they belong to; its parameters are all that is learnt.

    Args:
        changes: A (rank, in) and B (out, rank) of each layer.
        alpha: the change is ``(alpha / rank) B A x``.
    """

    def __init__(self, changes: Mapping[str, Change], alpha: float) -> None:
        super().__init__()
        self.alpha, self.rank = alpha, len(next(iter(changes.values())).down)
        # a parameter's name may have no dots
        self.down = nn.ParameterDict({_key(name): nn.Parameter(change.down) for name, change in changes.items()})
        self.up = nn.ParameterDict({_key(name): nn.Parameter(change.up) for name, change in changes.items()})

    @classmethod
    def fresh(cls, model: nn.Module, targets: Sequence[str], rank: int = 8, alpha: float = 16.0, seed: int = 0) -> Self:
        """A change of nothing (B is zero), ready to learn; ``targets`` as for :func:`nexus.training.lora.apply_lora`.

        Test-time memory is left as it is: it reads tokens that all rows share, and learns by itself.

        Raises:
            ValueError: no layer has such a name, or the rank is below 1.
        """
        if rank < 1:
            raise ValueError(f"rank={rank}: is below 1; 4 to 64 is usual")
        draw = torch.Generator().manual_seed(seed)
        memories = [name for name, module in model.named_modules() if isinstance(module, TitansMemory)]
        changes = {}
        for name, layer in target_layers(model, targets).items():
            if any(name.startswith(f"{memory}.") for memory in memories):
                continue
            bound = 1 / math.sqrt(layer.in_features)  # what kaiming_uniform_(a=sqrt(5)) comes to
            down = (torch.rand(rank, layer.in_features, generator=draw) * 2 - 1) * bound
            changes[name] = Change(down.to(layer.weight), layer.weight.new_zeros(layer.out_features, rank))
        return cls(changes, alpha)

    @classmethod
    def load(cls, folder: Path | str, model: nn.Module) -> Self:
        """Read an adapter that fits ``model``, into its dtype and onto its device.

        Raises:
            FileNotFoundError, ValueError: as :func:`nexus.training.lora.load_adapter`.
        """
        config, changes = read_adapter(folder, model)
        if config.get("use_rslora"):
            raise ValueError(f"{folder}: is scaled by alpha / sqrt(rank); set use_rslora to false and scale lora_alpha")
        like = next(model.parameters())
        return cls({n: Change(c.down.to(like), c.up.to(like)) for n, c in changes.items()}, config["lora_alpha"])

    def save(self, folder: Path | str) -> Path:
        """Write the adapter in PEFT's format; returns the folder."""
        return write_adapter(folder, dict(self.changes()), self.rank, self.alpha)

    def changes(self) -> Iterator[tuple[str, Change]]:
        """Names of layers and their changes."""
        return ((_name(key), Change(self.down[key], self.up[key])) for key in self.down)

    def layers(self) -> list[str]:
        """Names of the layers that are changed."""
        return [_name(key) for key in self.down]

    def change(self, layer: str, x: Tensor) -> Tensor | None:
        """What is added to the layer's output for its input (..., in); None if the layer is not changed."""
        key = _key(layer)
        if key not in self.down:
            return None
        return (x @ self.down[key].mT @ self.up[key].mT) * (self.alpha / self.rank)


class RowAdapters:
    """Lets a model's rows obey adapters, for the length of a ``with`` block; the model's own weights stay untouched.

    Not to be used from several threads at once.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model, self._hooked = model, set[str]()
        self._groups: list[tuple[Adapter, Tensor | None]] = []  # None: all rows

    @contextmanager
    def using(self, adapters: Adapter | Sequence[Adapter | None] | None) -> Iterator[None]:
        """Obey one adapter in all rows, or one (or None) for each row."""
        before, self._groups = self._groups, self._grouped(adapters)
        try:
            yield
        finally:
            self._groups = before

    def _grouped(self, adapters: Adapter | Sequence[Adapter | None] | None) -> list[tuple[Adapter, Tensor | None]]:
        if adapters is None or isinstance(adapters, Adapter):
            groups: list[tuple[Adapter, Tensor | None]] = [] if adapters is None else [(adapters, None)]
        else:
            places: dict[Adapter, list[int]] = {}
            for row, adapter in enumerate(adapters):
                if adapter is not None:
                    places.setdefault(adapter, []).append(row)
            device = next(self._model.parameters()).device
            whole = len(adapters)
            groups = [
                (adapter, None if len(rows) == whole else torch.tensor(rows, device=device))
                for adapter, rows in places.items()
            ]
        for adapter, _ in groups:
            self._hook(adapter)
        return groups

    def _hook(self, adapter: Adapter) -> None:
        for name in set(adapter.layers()) - self._hooked:
            self._model.get_submodule(name).register_forward_hook(partial(self._add, name))
            self._hooked.add(name)

    def _add(self, name: str, _module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        (x,) = inputs
        for adapter, rows in self._groups:
            change = adapter.change(name, x if rows is None else x[rows])
            if change is not None:
                output = output + change if rows is None else output.index_add(0, rows, change)
        return output


def _key(name: str) -> str:
    return name.replace(".", "/")


def _name(key: str) -> str:
    return key.replace("/", ".")
