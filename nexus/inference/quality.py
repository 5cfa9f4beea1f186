"""How good a model's text is: perplexity of given text, and whether an answer of its own holds together.

The one idea: perplexity flatters and generation tells, so both are measured, with the per-block numbers from which a
paired interval can be drawn.
"""

import math
from collections.abc import Collection, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nexus.core.state_space import HybridLM
from nexus.inference.generation import Progress

HEAD_TOKENS = 1_024  # tokens whose logits exist at one time: 200 MB for a vocabulary of 49,152 in float32
SPAN = 32  # longest span of tokens whose repetition counts as a loop
TIMES = 3  # how often in a row
COVER = 16  # tokens that the repetition has to cover: "..." and "ha ha ha" are not loops
NGRAM = 8
REPEATED_SHARE = 0.5
ENOUGH = 32  # tokens from which on that share says something

Verdict = Literal["good", "empty", "loops", "breaks off"]


def block_nll(model: HybridLM, blocks: Tensor, batch: int = 8, progress: Progress | None = None) -> Tensor:
    """Mean negative log-likelihood in nats of each block's tokens 2 ... T, (n,) float64, of ``blocks`` (n, T) ids.

    Args:
        batch: blocks that go through the model at one time.
        progress: called after each batch with (blocks done, blocks in all).

    Raises:
        ValueError: blocks of the wrong shape.
    """
    if blocks.dim() != 2 or blocks.shape[1] < 2:
        raise ValueError(f"blocks: have the shape {tuple(blocks.shape)}; give (n, T) ids with T of at least 2")
    means = []
    with torch.inference_mode():
        for start in range(0, len(blocks), batch):
            ids = blocks[start : start + batch].to(model.device)
            hidden, _ = model.backbone(model.embed(ids))
            means.append(_token_nll(model, hidden[:, :-1], ids[:, 1:]).double().mean(1).cpu())
            if progress is not None:
                progress(min(start + batch, len(blocks)), len(blocks))
    return torch.cat(means) if means else torch.zeros(0, dtype=torch.float64)


def perplexity(model: HybridLM, blocks: Tensor, batch: int = 8) -> float:
    """exp of the mean negative log-likelihood over all predicted tokens of ``blocks`` (n, T) ids."""
    return math.exp(block_nll(model, blocks, batch).mean())  # blocks are of one length, so the mean of means is it


def judge(answer: Sequence[int], eos_ids: Collection[int]) -> Verdict:
    """Whether an answer holds together; the rule, in this order:

    - "empty": nothing before the end token;
    - "loops": :func:`loops` of what is before it;
    - "breaks off": no end token within the tokens that were allowed;
    - "good": none of these.
    """
    ended = bool(answer) and answer[-1] in eos_ids
    said = answer[:-1] if ended else answer
    if not said:
        return "empty"
    if loops(said):
        return "loops"
    return "good" if ended else "breaks off"


def loops(ids: Sequence[int]) -> bool:
    """Whether the ids go round in circles. Either of two things makes it so:

    - a span of at most 32 tokens stands three times or more in a row, anywhere, and covers at least 16 tokens;
    - of 32 tokens or more, more than half of all runs of 8 have occurred before.
    """
    if _repeats_in_a_row(np.asarray(ids)):
        return True
    return len(ids) >= ENOUGH and _share_of_repeated_runs(ids) > REPEATED_SHARE


def _token_nll(model: HybridLM, hidden: Tensor, targets: Tensor) -> Tensor:
    """Negative log-likelihood (B, T) of ``targets`` (B, T) after ``hidden`` (B, T, D), the head taken in pieces."""
    pieces = zip(hidden.flatten(0, 1).split(HEAD_TOKENS), targets.flatten().split(HEAD_TOKENS), strict=True)
    with torch.autocast(hidden.device.type, enabled=False):  # a logit of 20 in bfloat16 is off by 0.06
        nll = [F.cross_entropy(_precise(model.lm_head(h)), target, reduction="none") for h, target in pieces]
    return torch.cat(nll).view(targets.shape)


def _precise(logits: Tensor) -> Tensor:
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def _repeats_in_a_row(ids: np.ndarray) -> bool:
    for span in range(1, min(SPAN, len(ids) // TIMES) + 1):
        # A span repeats for as long as every token equals the one a span before it.
        run = _longest_run(ids[span:] == ids[:-span])
        if run >= (TIMES - 1) * span and run + span >= COVER:
            return True
    return False


def _longest_run(flags: np.ndarray) -> int:
    """Length of the longest run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flags.astype(np.int8), [0]))))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def _share_of_repeated_runs(ids: Sequence[int]) -> float:
    runs = [tuple(ids[i : i + NGRAM]) for i in range(len(ids) - NGRAM + 1)]
    return 1 - len(set(runs)) / len(runs)
