"""Weights from and to Hugging Face folders, without transformers.

The one idea: a teacher of the Llama family, a GraniteMoeHybrid, a Bamba and a student of ours are all the same class,
:class:`nexus.core.state_space.HybridLM`, with different plans. ::

    teacher = load_hf_folder("path/to/llama")            # plan "AAAA..."
    save_hf_folder(student, "out", tokenizer_folder="path/to/llama")
    AutoModelForCausalLM.from_pretrained("out")          # plain transformers
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from nexus.core.state_space import HybridLM
from nexus.inference.folding import fold_rotary, fold_scales
from nexus.inference.hf_config import Recipe, read_recipe
from nexus.inference.hf_export import save_hf_folder
from nexus.inference.safetensors_folder import SafetensorsFolder
from nexus.inference.weight_layouts import from_hf, name_table

__all__ = ["load_hf_folder", "save_hf_folder"]


def load_hf_folder(folder: str | Path, dtype: torch.dtype = torch.float32) -> HybridLM:
    """Build a HybridLM from a Hugging Face folder (``config.json`` and safetensors, one file or sharded).

    Knows Llama, Mistral, Qwen2, dense GraniteMoeHybrid and Bamba; logits equal those of transformers. The model comes
    in evaluation mode, on the CPU.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the model type is unknown, the config asks for what HybridLM can't represent exactly, or the
            tensors don't fit the config.
    """
    recipe = read_recipe(folder)
    config = recipe.config
    with _NoInit():
        model = HybridLM(config).to(dtype)
    assert dict(model.named_parameters()).keys() == name_table(config, recipe.layout).keys()  # nothing stays unfilled
    with SafetensorsFolder(folder) as stored:
        tensors = _Tracked(stored, recipe)
        try:
            from_hf(tensors, model.state_dict(), config, recipe.layout)
            tensors.check_the_rest(tied=config.tie_embeddings)
        except ValueError as error:
            raise ValueError(f"{folder}: {error}") from None
    fold_scales(model, recipe.scales)
    fold_rotary(model)
    return model.eval()


class _NoInit(TorchFunctionMode):
    """Skips torch.nn.init: every parameter is overwritten, and memory that is never touched costs nothing.

    The meta device would do the same, but makes torch load its compiler first, which takes seconds.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


class _Tracked(Mapping[str, Tensor]):
    """A checkpoint's tensors, remembering which were used, with zeros for biases that ours has and theirs lacks."""

    def __init__(self, stored: Mapping[str, Tensor], recipe: Recipe) -> None:
        self._stored, self._used = stored, set[str]()
        c = recipe.config
        lacking = () if recipe.conv_bias else (f"model.layers.{i}.mamba.conv1d.bias" for i in range(c.n_layers))
        channels = c.ssm_heads * c.ssm_head_dim + 2 * c.ssm_groups * c.d_state
        self._zeros = dict.fromkeys(lacking, torch.zeros(channels))

    def __getitem__(self, name: str) -> Tensor:
        self._used.add(name)
        return self._zeros[name] if name in self._zeros else self._stored[name]

    def __contains__(self, name: object) -> bool:
        return name in self._zeros or name in self._stored

    def __iter__(self) -> Iterator[str]:
        return iter({**self._zeros, **self._stored})

    def __len__(self) -> int:
        return len(self._zeros) + len(self._stored)

    def check_the_rest(self, tied: bool) -> None:
        """Refuse tensors that nothing of ours stands for, unless they can't matter."""
        for name in sorted(set(self._stored) - self._used):
            derived = name.endswith("rotary_emb.inv_freq") or (tied and name == "lm_head.weight")
            if derived or (name.endswith("o_proj.bias") and not self._stored[name].any()):
                continue
            raise ValueError(f"tensor {name} has no place in HybridLM; choose a checkpoint without it")
