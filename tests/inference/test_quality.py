"""Perplexity against the plain definition; the rule for answers that go round in circles or break off."""

import math
import random

import pytest
import torch
from torch.nn import functional as F

from nexus.inference import quality
from nexus.inference.quality import block_nll, judge, loops, perplexity
from tests.tiny_release import tiny_model

END = 2
TEXT = [10, 11, 12, 13, 14, 15, 16, 17, 18, 19]


def fresh(n, seed=0):
    """Ids that don't repeat."""
    ids = list(range(100, 100 + n))
    random.Random(seed).shuffle(ids)
    return ids


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_perplexity_is_the_plain_definition(batch, monkeypatch):
    monkeypatch.setattr(quality, "HEAD_TOKENS", 7)  # pieces that end inside rows
    model = tiny_model().double()
    blocks = torch.randint(259, (5, 11))
    logits = model(blocks).logits
    plain = F.cross_entropy(logits[:, :-1].flatten(0, 1), blocks[:, 1:].flatten(), reduction="none").view(5, 10)
    torch.testing.assert_close(block_nll(model, blocks, batch), plain.mean(1).detach())
    assert perplexity(model, blocks, batch) == pytest.approx(math.exp(plain.detach().mean()))


def test_the_head_never_sees_many_tokens():
    model, sizes = tiny_model(), []
    model.lm_head.register_forward_pre_hook(lambda _, args: sizes.append(args[0].shape[:-1].numel()))
    block_nll(model, torch.randint(259, (3, 1_500)), batch=2)
    assert max(sizes) <= quality.HEAD_TOKENS
    assert sum(sizes) == 3 * 1_499


def test_progress_and_no_blocks():
    seen = []
    block_nll(tiny_model(), torch.randint(259, (3, 5)), batch=2, progress=lambda *now: seen.append(now))
    assert seen == [(2, 3), (3, 3)]
    assert block_nll(tiny_model(), torch.zeros(0, 5, dtype=torch.long)).shape == (0,)


@pytest.mark.parametrize("shape", [(5,), (5, 1)])
def test_blocks_of_the_wrong_shape_are_refused(shape):
    with pytest.raises(ValueError, match="blocks: have the shape"):
        block_nll(tiny_model(), torch.zeros(shape, dtype=torch.long))


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ([*TEXT, END], "good"),
        ([END], "empty"),
        ([], "empty"),
        (TEXT, "breaks off"),
        ([*TEXT, *[7, 8, 9] * 10, END], "loops"),
        ([*TEXT, *[7, 8, 9] * 10], "loops"),
        ([*fresh(150), END], "good"),
        (fresh(192), "breaks off"),
    ],
)
def test_verdicts(answer, verdict):
    assert judge(answer, [END]) == verdict


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([5] * 16, True),
        ([5] * 15, False),  # a line of dots
        ([*TEXT, *[5] * 6, *fresh(20)], False),
        (TEXT * 2, False),  # said twice
        ([*TEXT, *TEXT[:9]], False),
        (TEXT * 3, True),
        ([*fresh(50), *TEXT * 3, *fresh(50, 1)], True),  # also when it gets out again
        (fresh(32) * 3, True),
        ([*fresh(32) * 2, *fresh(32)[:31]], True),  # the third time unfinished, but most runs of 8 are old by then
        (fresh(33) * 2, False),
        (fresh(60) * 2, False),  # 53 of 113 runs are old
        (fresh(60) * 3, True),
        ([1, 2, 3, 4, 5, 6, 7], False),
        ([], False),
    ],
)
def test_loops(ids, expected):
    assert loops(ids) is expected


def test_a_list_of_like_lines_is_no_loop():
    lines = [[30, n, 31, 32, 33, 34, 40 + n, 35] for n in range(12)]
    assert not loops([token for line in lines for token in line])
