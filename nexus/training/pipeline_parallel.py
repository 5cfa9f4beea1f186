"""Pipeline parallel: every process has some blocks, and pieces of a batch pass through them one after the other.

The one idea: cut the stack of blocks into stages and the batch into pieces; while one stage works on a piece, the next
works on the piece before (Huang et al. 2019, arXiv:1811.06965, section 2.2), and a stage that goes back as soon as it
can keeps few pieces alive (1F1B: Narayanan et al. 2021, arXiv:2104.04473, section 2.2). Torch's
`distributed.pipelining` moves the pieces.
"""

from __future__ import annotations

import warnings
from typing import Any, Literal, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from nexus.core.state_space import HybridLM
from nexus.training.objectives import IGNORED

Schedule = Literal["1f1b", "gpipe"]


class Stage(nn.Module):
    """Some blocks of a language model, under the names that they have in it.

    Args:
        model: is taken apart; hold no other reference to it.
        index, count: which of how many stages; the first has the embedding, the last the norm and the head.
    """

    def __init__(self, model: HybridLM, index: int = 0, count: int = 1) -> None:
        super().__init__()
        blocks, self.backbone = list(model.backbone.blocks), model.backbone
        if count > len(blocks):
            raise ValueError(f"pipeline = {count}: the model has {len(blocks)} blocks; use at most one stage for each")
        self.first, self.last = index == 0, index == count - 1
        mine = range(len(blocks) * index // count, len(blocks) * (index + 1) // count)
        self.backbone.blocks = nn.ModuleDict({str(i): blocks[i] for i in mine})  # type: ignore[assignment]
        if self.first:
            self.embed = model.embed
        if self.last:
            self.lm_head = model.lm_head
        else:
            self.backbone.norm = nn.Identity()  # type: ignore[assignment]

    def forward(self, x: Tensor) -> Tensor:
        """Ids (B, T) or the features before, to features (B, T, D), or logits (B, T, V) in the last stage."""
        if self.first:
            x = self.embed(x)
        scene, _ = self.backbone.scene(x, None, None)
        windows = self.backbone.windows()
        for name, block in self.backbone.blocks.items():  # type: ignore[operator]  # a dict since __init__
            if self.backbone.gradient_checkpointing and torch.is_grad_enabled():
                x, _ = checkpoint(block, x, scene, windows[int(name)], None, use_reentrant=False)
            else:
                x, _ = block(x, scene, windows[int(name)], None)
        return self.lm_head(self.backbone.norm(x)) if self.last else x


def summed_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each next token, summed over labels (B, T) that aren't `IGNORED`; in float32 at least."""
    wide = logits[:, :-1].to(torch.promote_types(logits.dtype, torch.float32))
    return F.cross_entropy(wide.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="sum")


class Pipeline:
    """Forward and backward of a stage, piece by piece, in torch's schedule.

    Args:
        stage: ours. index, count: which of how many.
        group: the processes that hold the stages, first to last.
        pieces: of a batch. schedule: "1f1b", or "gpipe" (all forward, then all backward).
    """

    def __init__(
        self, stage: Stage, index: int, count: int, group: dist.ProcessGroup | None, pieces: int, schedule: Schedule
    ) -> None:
        self.stage, self.index, self.count, self.group = stage, index, count, group
        self.pieces, self.schedule = pieces, schedule
        self._shape: torch.Size | None = None
        self._engine: Any = None
        self._divisor = torch.ones(())

    def run(self, ids: Tensor, labels: Tensor, divisor: Tensor) -> Tensor:
        """Add the gradients of the summed loss over ``divisor``; returns the summed loss (0 but in the last stage).

        Raises:
            ValueError: the batch does not fall into that many pieces.
        """
        if len(ids) % self.pieces:
            raise ValueError(
                f"microbatches = {self.pieces}: a batch of {len(ids)} rows is not cut evenly; use a divisor"
            )
        self._divisor = divisor
        losses: list[Tensor] = []
        with warnings.catch_warnings():  # FSDP2 warns of writing into views that it is given; the loss writes nothing
            warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view", category=UserWarning)
            if self.count == 1:
                self._alone(ids, labels, losses)
            else:
                self._scheduled(ids, labels, losses)
        return torch.stack(losses).sum().detach() * divisor if losses else torch.zeros_like(divisor)

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return summed_loss(logits, labels) / self._divisor

    def _alone(self, ids: Tensor, labels: Tensor, losses: list[Tensor]) -> None:
        parts = list(zip(ids.chunk(self.pieces), labels.chunk(self.pieces), strict=True))
        for number, (piece, wanted) in enumerate(parts):
            if hasattr(self.stage, "set_requires_gradient_sync"):  # FSDP2: exchange at the last piece only
                cast(Any, self.stage).set_requires_gradient_sync(number == len(parts) - 1)
            loss = self._loss(self.stage(piece), wanted)
            loss.backward()
            losses.append(loss)

    def _scheduled(self, ids: Tensor, labels: Tensor, losses: list[Tensor]) -> None:
        if ids.shape != self._shape:  # the engine's buffers are of one shape
            self._engine, self._shape = self._built(ids.device), ids.shape
        inputs = (ids,) if self.stage.first else ()
        wanted = {"target": labels, "losses": losses} if self.stage.last else {}
        self._engine.step(*inputs, **wanted, return_outputs=False)

    def _built(self, device: torch.device) -> Any:
        from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe

        kind = Schedule1F1B if self.schedule == "1f1b" else ScheduleGPipe
        ours = PipelineStage(self.stage, self.index, self.count, device, group=self.group)
        return kind(ours, n_microbatches=self.pieces, loss_fn=self._loss, scale_grads=False)
