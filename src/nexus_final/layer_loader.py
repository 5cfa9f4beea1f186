"""Layers of a teacher, read one at a time into two sets of buffers: one computes while the other is filled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from nexus.core.hybrid_config import HybridConfig
from nexus.core.state_space import Block, HybridBackbone
from nexus_final.errors import UserError
from nexus_final.tensor_files import TensorFiles


class LayerLoader:
    """Fills and applies blocks.

    Args:
        config: of the whole teacher.
        names: which tensors are stacked to make each parameter (:func:`nexus.inference.weight_layouts.name_table`).
        files: where they are read from.
    """

    def __init__(
        self,
        config: HybridConfig,
        names: Mapping[str, tuple[str, ...]],
        files: TensorFiles,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self._names, self._files = names, files
        shell = HybridBackbone(replace(config, n_layers=2)).to(device, dtype).requires_grad_(False).eval()
        self._shell, self._window = shell, shell.windows()[0]

    def load(self, layer: int) -> Block:
        """Read a layer. It stays valid until the one after the next is loaded."""
        block = self._shell.blocks[layer % 2]
        assert isinstance(block, Block)
        prefix = f"backbone.blocks.{layer}."
        state = block.state_dict()
        for ours, theirs in self._names.items():
            if ours.startswith(prefix):
                self._stack(state[ours.removeprefix(prefix)], theirs)
        return block

    @torch.no_grad()
    def apply(self, block: Block, x: Tensor) -> Tensor:
        """Run ``x`` (B, T, D) through a loaded layer, every sequence from its beginning."""
        scene, _ = self._shell.scene(x, None, None)
        y, _ = block(x, scene, self._window, None)
        return y

    @torch.no_grad()
    def _stack(self, parameter: Tensor, names: tuple[str, ...]) -> None:
        sizes = [self._files.entry(name).shape[0] for name in names]
        if sum(sizes) != len(parameter):
            raise UserError(
                str(self._files.folder), f"{' and '.join(names)} don't fit config.json", "fetch the teacher again"
            )
        for name, rows in zip(names, parameter.split(sizes), strict=True):
            self._files.read(name, rows)
