"""What queries see, against the rule written out as loops over positions."""

import pytest
import torch

from nexus.layers.attention.visibility import EMPTY, empty_positions, look, look_once
from tests.numerics import poisoned_memory  # noqa: F401 - fixture

CPU = torch.device("cpu")


def allowed(query, window, sinks):
    """Positions that a query at this position may see."""
    return [k for k in range(query + 1) if window is None or query - k < window or k < sinks]


def seen_positions(sight, cached, new):
    """For each row and new token, the positions it sees by the visibility (sorted, doubles kept)."""
    rows = max(new.shape[0], 1 if cached is None else cached.shape[0])
    known = new if cached is None else torch.cat((cached.expand(rows, -1), new.expand(rows, -1)), dim=1)
    length, total = new.shape[1], known.shape[1]
    if sight.mask is not None:
        mask = sight.mask.expand(rows, 1, length, total)[:, 0]
    elif sight.causal:
        assert length == total, "plain causal attention knows no cache"
        mask = torch.ones(rows, length, length, dtype=torch.bool).tril()
    else:
        mask = torch.ones(rows, length, total, dtype=torch.bool)
    return [[sorted(known[r][mask[r, t]].tolist()) for t in range(length)] for r in range(rows)]


def check(rows, window, sinks, cached=True):
    """Feed chunks of positions (EMPTY is padding) and compare what each real token sees with the rule."""
    memory = empty_positions(window, sinks, CPU) if cached else None
    ragged = False
    for chunk in rows:
        new = torch.tensor(chunk)
        ragged |= bool((new == EMPTY).any()) or len(new) > 1
        sight = look(new, memory, window, sinks, ragged)
        for row, seen in zip(chunk, seen_positions(sight, memory, new), strict=True):
            for position, keys in zip(row, seen, strict=True):
                if position == EMPTY:
                    assert len(keys) == 1, "a padded query sees exactly one key, or its softmax is not a number"
                else:
                    assert keys == allowed(position, window, sinks)
        if cached:
            memory = sight.positions


@pytest.mark.parametrize("window", [None, 1, 2, 5, 64])
@pytest.mark.parametrize("sinks", [0, 1, 4])
@pytest.mark.parametrize("length", [1, 2, 5, 13])
def test_one_call_without_a_cache(window, sinks, length):
    check([[list(range(length))]], window, sinks, cached=False)


@pytest.mark.parametrize("window", [None, 1, 2, 5, 64])
@pytest.mark.parametrize("sinks", [0, 1, 4])
@pytest.mark.parametrize("cuts", [[1] * 13, [2, 1, 1, 9], [13], [7, 6], [1, 12], [3, 3, 3, 3, 1]])
def test_chunks_with_a_cache(window, sinks, cuts):
    chunks = [[part.tolist()] for part in torch.arange(13).split(cuts)]
    check(chunks, window, sinks)


RAGGED = {
    "one call": [[[0, 1, 2, 3, 4], [EMPTY, EMPTY, 0, 1, 2], [EMPTY] * 4 + [0]]],
    "padding reaches into the second chunk": [[[0, 1, 2], [EMPTY] * 3], [[3, 4, 5], [EMPTY, 0, 1]], [[6], [2]]],
    "later chunks are padded too": [
        [[0, 1, 2, 3], [EMPTY, EMPTY, 0, 1]],
        [[EMPTY, EMPTY, EMPTY, 4], [2, 3, 4, 5]],
        [[EMPTY, 5, 6, 7], [EMPTY, EMPTY, EMPTY, EMPTY]],
        [[8, 9], [6, 7]],
        [[10], [8]],
    ],
}


@pytest.mark.parametrize("window", [None, 1, 2, 5, 64])
@pytest.mark.parametrize("sinks", [0, 1, 4])
@pytest.mark.parametrize("rows", RAGGED.values(), ids=RAGGED.keys())
def test_ragged_rows(rows, window, sinks):
    check(rows, window, sinks)


@pytest.mark.parametrize(("window", "sinks"), [(1, 0), (5, 4)])
def test_a_windowed_cache_does_not_grow(window, sinks):
    memory = empty_positions(window, sinks, CPU)
    for t in range(20):
        sight = look(torch.tensor([[t]]), memory, window, sinks)
        memory = sight.positions
        assert memory.shape == (1, sinks + window)
        assert sight.keep.shape == (sinks + window,)


@pytest.mark.parametrize("window", [1, 2, 5, 64])
@pytest.mark.parametrize("sinks", [0, 1, 4])
@pytest.mark.parametrize("read", [[0, 0], [1, 3], [9, 2]], ids=str)
def test_single_steps_replace_the_oldest_key(window, sinks, read):
    """Rows that have read so many tokens go on one by one, with a call of two tokens in between."""
    longest = max(read)
    chunk = torch.tensor([[EMPTY] * (longest - n) + list(range(n)) for n in read], dtype=torch.long)
    cached = look(chunk, empty_positions(window, sinks, CPU).expand(2, -1), window, sinks, True).positions
    next_position = torch.tensor(read)[:, None]
    for step in range(20):
        if step == 8:
            new = next_position + torch.arange(2)
            sight = look(new, cached, window, sinks, True)
            for i in range(2):
                for t, position in enumerate(new[i].tolist()):
                    assert seen_positions(sight, cached, new)[i][t] == allowed(position, window, sinks)
            cached, next_position = sight.positions, next_position + 2
        sight = look_once(next_position, cached, sinks, torch.float32)
        assert sight.positions.shape == (2, sinks + window)
        for row, mask, position in zip(sight.positions, sight.mask[:, 0, 0], next_position[:, 0].tolist(), strict=True):
            assert sorted(row[mask == 0].tolist()) == allowed(position, window, sinks)
        lost = cached.gather(1, sight.slot)
        assert ((lost == EMPTY) | (next_position - lost >= window)).all(), "a call broken off can be made again"
        cached, next_position = sight.positions, next_position + 1


def test_no_mask_is_built_where_attention_is_plainly_causal():
    new = torch.arange(6)[None]
    assert look(new, None, None, 4).mask is None
    assert look(new, empty_positions(None, 4, CPU), None, 4).causal
    assert look(new, None, 6, 4).mask is None, "the window is as wide as the text"
    assert look(new[:, 5:], new[:, :5], None, 4).mask is None, "one step sees everything"
    assert look(new, None, 5, 4).mask is not None
