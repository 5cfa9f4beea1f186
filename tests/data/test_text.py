"""Splits that never move, copies that don't leak, files of text, blocks of ids."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from nexus.data.blocks import TokenBlocks, document_separator, pack_tokens
from nexus.data.errors import DataError
from nexus.data.readers import cut, read_documents
from nexus.data.text import (
    NEVER_TRAINED,
    PROSE_SHARES,
    QUESTION_SHARES,
    SPLITS,
    Document,
    Shares,
    _runs,
    check_split,
    content_id,
    deduplicate,
    in_split,
    normalise,
    split_of,
    without_copies,
)


def document(text: str) -> Document:
    return Document(content_id(text), text, normalise(text))


def test_splits_are_fixed_for_ever():
    # Literal answers: a change of the hash, the salt or the rule would move texts between training and test.
    places = {split: [i for i in range(24) if split_of(f"key {i}", QUESTION_SHARES) == split] for split in SPLITS}
    assert places["heldout"] == [3, 6, 10]
    assert places["test"] == [13, 15, 22]


def test_shares_are_met_and_stricter_sets_are_nested():
    keys = [f"text number {i}" for i in range(20_000)]
    for shares in (PROSE_SHARES, QUESTION_SHARES, NEVER_TRAINED):
        counts = Counter(split_of(key, shares) for key in keys)
        for split in SPLITS:
            assert counts[split] / len(keys) == pytest.approx(getattr(shares, split), abs=0.01)
    for key in keys[:2_000]:
        strict = split_of(key, PROSE_SHARES)
        if strict != "train":
            assert split_of(key, QUESTION_SHARES) == split_of(key, NEVER_TRAINED) == strict


def test_wrong_shares_and_splits_are_refused():
    with pytest.raises(ValueError, match="sum to 1"):
        Shares(0.5, 0.5, 0.5)
    with pytest.raises(ValueError, match="'dev' must be one of train, heldout, test"):
        check_split("dev")


def test_look_alikes_count_once_and_share_a_split():
    twins = [document("The  cat sat."), document("the cat\nsat."), document("The dog sat.")]
    assert [d.text for d in deduplicate(twins)] == ["The  cat sat.", "The dog sat."]
    assert normalise("It's the cat, 2 cats!") == "it s the cat 2 cats"
    texts = [document(f"passage {i}") for i in range(300)]
    parts = {split: {d.id for d in in_split(texts, split, QUESTION_SHARES)} for split in SPLITS}
    assert sum(map(len, parts.values())) == 300
    assert not parts["train"] & parts["test"]


def test_training_texts_that_copy_held_out_ones_are_dropped():
    words = [f"word{i}" for i in range(100)]
    held = [document(" ".join(words))]
    copy = document("Something else first. " + " ".join(words[40:64]).upper() + " and an end.")
    near = document("Something else first. " + " ".join(words[40:63]) + " and an end.")
    short = document(" ".join(words[:5]))
    assert without_copies([copy, near, short], held) == [near, short]
    assert without_copies([copy, near], []) == [copy, near]
    assert without_copies([copy], [short]) == [copy]


@given(st.lists(st.sampled_from("abc"), max_size=40), st.integers(1, 6))
def test_the_sliding_hash_tells_runs_apart(words, length):
    runs = [tuple(words[i : i + length]) for i in range(len(words) - length + 1)]
    hashes = _runs(" ".join(words), length).tolist()
    assert len(hashes) == len(runs)
    assert len(set(zip(runs, hashes, strict=True))) == len(set(runs)) == len(set(hashes))


def test_the_three_containers_give_the_same_documents(tmp_path):
    texts = ["first text", "second one, with ünïcode"]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": t}) for t in texts) + "\n\n", encoding="utf-8")
    pyarrow.parquet.write_table(pyarrow.table({"text": texts, "n": [1, 2]}), tmp_path / "a.parquet")
    from_lines, from_table = (read_documents(tmp_path / f"a.{kind}", "data/a") for kind in ("jsonl", "parquet"))
    assert [d.text for d in from_lines] == [d.text for d in from_table] == texts
    assert [d.id for d in from_lines] == [d.id for d in from_table]
    (tmp_path / "a.txt").write_text("\ufefffirst text\n", encoding="utf-8")
    assert [d.text for d in read_documents(tmp_path / "a.txt", "data/a")] == ["first text"]


def test_long_texts_are_cut_at_paragraphs_and_nothing_is_lost():
    text = "\n\n".join(f"paragraph {i} " + "words " * 30 for i in range(50))
    pieces = list(cut(text, 1_000))
    assert max(map(len, pieces)) <= 1_500
    assert " ".join(pieces).split() == text.split()
    assert all(piece.startswith("paragraph") for piece in pieces)
    assert "".join(cut("x" * 5_000, 1_000)) == "x" * 5_000  # no place to cut: by size


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("a.jsonl", b'{"text": "x"}\n{"text": }\n', r"a\.jsonl line 2: is not JSON .* column 10"),
        ("a.jsonl", b'["x"]\n', "line 1: is not a JSON object"),
        ("a.jsonl", b'{"body": "x"}\n', r"has no text in field 'text' \(fields: body\)"),
        ("a.txt", b"caf\xe9", "is not UTF-8 text"),
        ("a.parquet", b"PAR0", "is not a parquet file"),
        ("a.docx", b"", r"no known kind.*\.jsonl, \.parquet, \.txt"),
    ],
)
def test_bad_files_are_named_with_line_and_cure(tmp_path, name, content, match):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=match):
        read_documents(tmp_path / name, "data/a")


def test_a_parquet_table_without_strings_is_refused(tmp_path):
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"body": ["x"]}), path)
    with pytest.raises(DataError, match=r"no column 'text' \(it has body\)"):
        read_documents(path, "data/a")
    pyarrow.parquet.write_table(pyarrow.table({"text": ["x", None]}), path)
    with pytest.raises(DataError, match="holds NoneType"):
        read_documents(path, "data/a")


@pytest.fixture
def tokenizer():
    words = {f"w{i}": i + 1 for i in range(50)}
    made = Tokenizer(models.WordLevel({"<|endoftext|>": 0, **words}, unk_token="<|endoftext|>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return made


def test_blocks_hold_every_document_once_with_separators(tokenizer):
    texts = [" ".join(f"w{(i * 7 + j) % 50}" for j in range(3 + i % 5)) for i in range(40)]
    blocks = pack_tokens(texts, tokenizer, length=8, seed=1)
    assert blocks.dtype == np.int32
    stream = blocks.reshape(-1).tolist()
    total = sum(len(text.split()) + 1 for text in texts)
    assert len(stream) == total // 8 * 8
    assert stream[0] == 0
    pieces = " ".join("|" if i == 0 else f"w{i - 1}" for i in stream).split("|")[1:]
    assert Counter(piece.strip() for piece in pieces[:-1]) <= Counter(texts)
    again = pack_tokens([Document("x", text, "k") for text in reversed(texts)], tokenizer, length=8, seed=1)
    assert np.array_equal(blocks, again)  # the order they came in doesn't matter
    assert not np.array_equal(blocks, pack_tokens(texts, tokenizer, length=8, seed=2))
    assert pack_tokens([], tokenizer, length=8, seed=1).shape == (0, 8)
    with pytest.raises(ValueError, match="length: 1"):
        pack_tokens(texts, tokenizer, length=1, seed=1)


def test_both_kinds_of_tokenizer_give_the_same_blocks(tokenizer):
    from transformers import PreTrainedTokenizerFast

    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    texts = ["w1 w2 w3", "w4 w5"]
    assert np.array_equal(pack_tokens(texts, tokenizer, 2, 0), pack_tokens(texts, wrapped, 2, 0))


def test_the_separator_is_the_pre_training_one_else_the_end_of_text(tokenizer):
    from transformers import PreTrainedTokenizerFast

    assert document_separator(tokenizer) == 0
    bare = Tokenizer(models.WordLevel({"a": 0, "</s>": 1}, unk_token="a"))
    with pytest.raises(ValueError, match="separator=ID"):
        document_separator(bare)
    assert document_separator(PreTrainedTokenizerFast(tokenizer_object=bare, eos_token="</s>")) == 1


def test_a_cursor_sees_every_block_once_an_epoch_and_can_be_taken_up(tmp_path):
    blocks = TokenBlocks(np.arange(30, dtype=np.int32).reshape(10, 3), seed=4)
    first = [blocks.index_at(c) for c in range(10)]
    second = [blocks.index_at(c) for c in range(10, 20)]
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    whole, cursor = blocks.batch(7, 6)  # over the end of an epoch
    assert cursor == 13
    assert whole.shape == (6, 3)
    blocks.save(tmp_path / "b.npy")
    taken_up = TokenBlocks.load(tmp_path / "b.npy", seed=4)
    assert (len(taken_up), taken_up.length) == (10, 3)
    assert np.array_equal(np.concatenate([taken_up.batch(7, 2)[0], taken_up.batch(9, 4)[0]]), whole)
    assert [TokenBlocks(blocks.tokens, seed=5).index_at(c) for c in range(10)] != first
    with pytest.raises(ValueError, match="text is too short"):
        TokenBlocks(np.zeros((0, 3), dtype=np.int32))
    with pytest.raises(ValueError, match="cursor: -1"):
        blocks.at(-1)
