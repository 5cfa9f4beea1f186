"""Supervised fine-tuning: learn answers, not the prompts that lead to them.

The one idea: prompt and answer are one text for the model and the answer alone is its label; prompts have the label
`IGNORED`, padding too. Rows are padded on the right, where a causal model's logits don't see it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from nexus.training.objectives import IGNORED


def answer_labels(prompt: Sequence[int], answer: Sequence[int]) -> tuple[list[int], list[int]]:
    """Ids of the whole text, and labels that are `IGNORED` on the prompt."""
    return [*prompt, *answer], [IGNORED] * len(prompt) + list(answer)


def pad(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    """Rows of different length as one tensor (B, longest)."""
    longest = max(len(row) for row in rows)
    return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows])


class AnswerSet(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Pairs of prompt and answer as samples for the trainer, all padded to one length.

    Args:
        pairs: (prompt, answer) as ids, or as texts with ``encode``.
        encode: text to ids. end: id that closes each answer. padding: id that fills rows up.
        max_length: longer texts lose the beginning of their prompt; an answer that is longer is refused.

    Raises:
        ValueError: nothing to learn from, or an answer that is too long.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[Any, Any]],
        encode: Callable[[str], Sequence[int]] = lambda text: list(text.encode()),
        end: int | None = None,
        padding: int = 0,
        max_length: int = 1024,
    ) -> None:
        rows = []
        for index, (prompt, answer) in enumerate(pairs):
            asked, told = (list(encode(t)) if isinstance(t, str) else list(t) for t in (prompt, answer))
            told = told if end is None else [*told, end]
            if not 0 < len(told) < max_length:
                raise ValueError(
                    f"pairs[{index}]: its answer has {len(told)} ids; give 1 to {max_length - 1}, or more max_length"
                )
            rows.append(answer_labels(asked[-(max_length - len(told)) :], told))
        if not rows:
            raise ValueError("pairs: are empty; give at least one prompt with its answer")
        self.ids = pad([ids for ids, _ in rows], padding)
        self.labels = pad([labels for _, labels in rows], IGNORED)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """``input_ids`` and ``labels`` (T,)."""
        return {"input_ids": self.ids[index], "labels": self.labels[index]}
