"""NEXUSCore: the mind as one module.

The one idea: one language path (embedding, backbone with memory layers, head) reads and speaks; world model, energy,
reasoner and causal engine look at its hidden states and are asked by call, so that what does not make the language
better does not slow it down. Everything at a position is made from positions up to it.

This file stands above :mod:`nexus.inference`, which it uses to speak; the parts it is made of stand below.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.core.base import NexusModule
from nexus.core.causal import CausalInferenceEngine
from nexus.core.energy import EnergyModule
from nexus.core.lm_state import LMState
from nexus.core.memory import TitansMemory
from nexus.core.mind_config import NEXUSConfig
from nexus.core.reasoner import ReasoningModule
from nexus.core.speech import Prompt, Request, answer, as_tokenizer, pieces, sampling_of
from nexus.core.state_space import HybridBackbone, HybridLM
from nexus.core.world_model import WorldModel

__all__ = ["NEXUSConfig", "NEXUSCore"]

log = logging.getLogger(__name__)


class NEXUSCore(NexusModule):
    """The language path and the parts of the mind around it.

    ::

        model = NEXUSCore(NEXUSConfig(vocab_size=32000, d_model=256))
        output = model(input_ids)                                   # output["logits"] (B, T, V)
        output, info = model(input_ids, return_all_outputs=True)    # and what every part made of it
        ids = model.generate(prompt_ids, max_new_tokens=20, do_sample=False)

    Attributes:
        language: embedding, backbone and head. state_space: the backbone, with its switches.
        world_model, energy, reasoner, causal (also called causal_engine): the other parts.
        tokenizer: a `tokenizers.Tokenizer` or :class:`nexus.inference.text.TextTokenizer`, for prompts that are texts.
    """

    config_class = NEXUSConfig
    config: NEXUSConfig

    def __init__(self, config: NEXUSConfig) -> None:
        super().__init__(config)
        c = self.config
        self.language = HybridLM(c.get_backbone_config())
        self.world_model = WorldModel(c.get_world_config())
        self.energy = EnergyModule(c.get_energy_config())
        self.reasoner = ReasoningModule(c.get_reasoner_config())
        self.causal = CausalInferenceEngine(c.get_causal_config())
        self.tokenizer: Any = None
        self.keeps_state = False

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__("causal" if name == "causal_engine" else name, value)

    @property
    def causal_engine(self) -> CausalInferenceEngine:
        """The same object as ``causal``."""
        return self.causal

    @property
    def state_space(self) -> HybridBackbone:
        """The backbone, with ``gradient_checkpointing``, ``use_parallel_scan`` and ``reset_state()``."""
        return self.language.backbone

    def init_state(self, batch_size: int) -> LMState:
        """The state before the first token, memory included; it can be forked, saved and loaded."""
        return self.language.init_state(batch_size)

    # ---- reading ----------------------------------------------------------------------------------------------------

    def forward(
        self,
        inputs: Tensor,
        state: LMState | None = None,
        mask: Tensor | None = None,
        return_all_outputs: bool = False,
    ) -> Any:
        """Read ids (B, T) or float features (B, T, d_model).

        Args:
            state: where an earlier call ended; None starts fresh.
            mask: (B, T) True at real tokens, padding on the left.
            return_all_outputs: also return what every part makes of the hidden states.

        Returns:
            A dict of ``logits`` (B, T, V), ``hidden`` (B, T, d_model) and, if one was passed in, the new ``state``;
            with ``return_all_outputs`` also :meth:`reflect`'s.

        Raises:
            ValueError: wrong rank, width or dtype, nothing to read, ids outside of the vocabulary, features that are
                not finite.
        """
        embedded = self._embedded(inputs)
        hidden, after = self.language.backbone(embedded, state, mask)
        output: dict[str, Any] = {"logits": self.language.lm_head(hidden), "hidden": hidden}
        if after is not None:
            output["state"] = after
        if not torch.compiler.is_compiling():
            log.debug("read %s through %s", tuple(inputs.shape), self.config.layers)
        return (output, self.reflect(hidden)) if return_all_outputs else output

    def reflect(self, hidden: Tensor) -> dict[str, Any]:
        """What every part makes of hidden states (B, T, d_model).

        Returns:
            ``energy_info`` (``iterations``: mean number of steps, ``per_sample``, ``per_unit``, ``energy``,
            ``settled``), ``refined`` (B, T, d_model), ``world`` (latents, expectations, surprise), ``reasoned``
            (B, T, d_model), ``proof``, and ``causal_graph``.
        """
        refined, energy = self.energy(hidden, self._confidence)
        reasoned, proof = self.reasoner(hidden, return_proof=True)
        info = {"energy_info": energy.as_dict(), "refined": refined, "world": self.world_model(hidden)}
        info |= {"reasoned": reasoned, "proof": proof, "causal_graph": self.causal.adjacency()}
        log.debug(
            "energy: %.1f steps a position; proof: %d steps", info["energy_info"]["iterations"], len(proof["steps"])
        )
        return info

    def _confidence(self, refined: Tensor) -> Tensor:
        return self.language.lm_head(refined).softmax(-1).amax(-1)

    def _embedded(self, inputs: Tensor) -> Tensor:
        compiling = torch.compiler.is_compiling()  # looking at values would break the graph
        width = self.config.d_model
        if inputs.is_floating_point():
            if inputs.dim() != 3 or inputs.shape[-1] != width:
                raise ValueError(
                    f"inputs: Expected tensor with 3 dimensions of width {width}, got {tuple(inputs.shape)}; features "
                    "are (batch, length, d_model), ids are (batch, length) of torch.long"
                )
            if not compiling and not bool(inputs.isfinite().all()):
                raise ValueError("inputs: hold NaN or infinity; look for the step that made them")
        elif inputs.dim() != 2 or inputs.dtype not in (torch.int64, torch.int32):
            raise ValueError(
                f"inputs: Expected tensor with 2 dimensions of torch.long, got {inputs.dim()} of {inputs.dtype}; pass "
                "(batch, length), for one row ids[None]"
            )
        if 0 in inputs.shape:
            raise ValueError(f"inputs: {tuple(inputs.shape)} is empty; give at least one token")
        if inputs.is_floating_point():
            return inputs.to(self.language.embed.weight.dtype)
        if not compiling:
            low, high = (int(t) for t in inputs.aminmax())
            if low < 0 or high >= self.config.vocab_size:
                wrong = low if low < 0 else high
                raise ValueError(
                    f"inputs: hold the id {wrong}, the vocabulary is 0 to {self.config.vocab_size - 1}; use the "
                    "tokenizer that the model was trained with"
                )
        return self.language.embed(inputs)

    @torch.no_grad()
    def memory_surprise(self, input_ids: Tensor) -> Tensor:
        """How surprising each token was to each memory layer: (layers, B, T)."""
        found: dict[nn.Module, list[Tensor]] = {}

        def watch(module: nn.Module, arguments: tuple[Any, ...]) -> None:
            assert isinstance(module, TitansMemory)
            found.setdefault(module, []).append(module.surprise(*arguments[:2]))  # long texts come in segments

        memories = [module for module in self.modules() if isinstance(module, TitansMemory)]
        if not memories:
            raise ValueError("memory_layers = 0: no memory to be surprised; build the model with memory_layers=1")
        hooks = [memory.register_forward_pre_hook(watch) for memory in memories]
        try:
            self.state_space(self._embedded(input_ids))
        finally:
            for hook in hooks:
                hook.remove()
        return torch.stack([torch.cat(parts, dim=1) for parts in found.values()])

    # ---- learning ---------------------------------------------------------------------------------------------------

    def loss(self, input_ids: Tensor) -> dict[str, Tensor]:
        """Losses on a text (B, T): ``total``, and of it ``language``, ``energy``, ``reasoner``, ``world``, ``causal``.

        The language loss trains the language path. Every other part learns from its hidden states without pulling at
        them, save the world model, whose share ``world_weight`` reaches the backbone.
        """
        hidden = self.state_space(self._embedded(input_ids))[0]
        still, goals = hidden.detach(), input_ids[:, 1:].flatten()
        losses = {
            "language": self._next_token(hidden, goals),
            "energy": self._next_token(self.energy(still)[0], goals),
            "reasoner": self._next_token(self.reasoner(still), goals),
            "world": self.world_model.loss(still).total,
            "causal": self.causal.loss(still) + self._next_token(self.causal(still), goals),
        }
        if self.config.world_weight:
            losses["world"] = losses["world"] + self.config.world_weight * self.world_model.loss(hidden).total
        losses["total"] = torch.stack(list(losses.values())).sum()
        return losses

    def _next_token(self, hidden: Tensor, goals: Tensor) -> Tensor:
        return F.cross_entropy(self.language.lm_head(hidden[:, :-1]).flatten(0, 1).float(), goals)

    # ---- speaking ---------------------------------------------------------------------------------------------------

    def enable_kv_cache(self, enabled: bool = True) -> None:
        """Keep the state of the text read last between calls of :meth:`generate`.

        Inside one call the state is always used. With this switch a prompt that goes on from the text before (a chat)
        is read from there on only; ``state_space.reset_state()`` forgets it.
        """
        self.keeps_state = enabled
        self.state_space.reset_state()

    def generate(
        self,
        prompt: Prompt,
        *,
        max_new_tokens: int = 32,
        do_sample: bool = True,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        seed: int | None = None,
        stop: str | Sequence[str] = (),
        eos_ids: Sequence[int] | None = None,
        stream: bool = False,
    ) -> Any:
        """Answer a text or ids, one or a batch; each answer is of the kind of its prompt, without the prompt.

        Args:
            prompt: a text (with ``model.tokenizer`` attached), a list of texts, ids (T,) or (B, T) as a tensor, a list
                of ids, or a list of such lists.
            max_new_tokens: length at which an answer is cut off.
            do_sample: False takes the likeliest token each time and is repeatable.
            temperature, top_k, top_p, min_p, repetition_penalty, seed: see :class:`nexus.inference.sampling.Sampling`.
            stop: text, or texts, that end an answer; for text prompts the answer is cut off before them.
            eos_ids: ids that end an answer; the tokenizer's own if None.
            stream: return an iterator over the pieces of one answer: texts for a text, ids for ids.

        Returns:
            str to str, list to list, tensor (B, T) to tensor (B, new).

        Raises:
            ValueError: no tokenizer for a text, ids outside of the vocabulary, an empty prompt, values out of range.
        """
        words = as_tokenizer(self.tokenizer)
        ends = tuple(eos_ids) if eos_ids is not None else (() if words is None else words.eos_ids)
        sampling = sampling_of(
            do_sample, temperature=float(temperature), top_k=top_k, top_p=float(top_p), min_p=float(min_p),
            repetition_penalty=float(repetition_penalty), seed=seed,
        )  # fmt: skip
        stops = (stop,) if isinstance(stop, str) else tuple(stop)
        if not all(stops):
            raise ValueError("stop: holds an empty text, which every answer begins with; leave it out")
        request = Request(max_new_tokens, sampling, ends, stops, words, self.keeps_state)
        said: Iterator[Any] | Any = (pieces if stream else answer)(self.language, prompt, request)
        return said
