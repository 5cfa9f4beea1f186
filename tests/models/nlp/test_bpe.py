"""Byte-pair encoding: the merges of the paper's example, any text there and back, files of Hugging Face tokenizers."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus.models.nlp._words import words
from nexus.models.nlp.bpe import BPE
from nexus.zoo.proofs import bpe

PAPER = ["low"] * 5 + ["lower"] * 2 + ["newest"] * 6 + ["widest"] * 3  # section 3.2 of the paper


def test_the_papers_example_is_learnt():
    found = BPE.train(PAPER, 256 + 3).merges
    assert found == [("e", "s"), ("es", "t"), ("l", "o")]  # counts 9, 9, 7: the paper's first merges


def test_a_frequent_word_becomes_one_token_and_a_new_one_falls_into_known_parts():
    made = BPE.train(PAPER, 300)
    token = {i: text for text, i in made.vocab.items()}
    assert len(made.encode("newest")) == 1
    assert [token[i] for i in made.encode("lowest")] == ["low", "est"]


@pytest.mark.parametrize("seed", [0, 1])
def test_it_equals_its_oracle(seed):
    for comparison in bpe.prove(seed):
        assert comparison.difference == 0, comparison.what


@given(st.text(max_size=40))
def test_any_text_comes_back(text):
    made = BPE.train(PAPER, 270, special=["<end>"])
    assert "".join(words(text)) == text
    assert made.decode(made.encode(text)) == text


def test_special_tokens_come_first_and_are_never_made_from_text():
    made = BPE.train(PAPER, 300, special=["<end>"])
    assert made.vocab["<end>"] == 0
    assert 0 not in made.encode("<end>")
    assert made.decode([0, *made.encode("low"), 0]) == "low"


def test_half_a_letter_is_shown_as_such():
    made = BPE([])
    assert made.decode(made.encode("é")[:1]) == "�"


def test_what_is_wrong_is_named(tmp_path):
    with pytest.raises(ValueError, match="vocab_size=100: bytes and special tokens alone need 257"):
        BPE.train(PAPER, 100, special=["<end>"])
    with pytest.raises(ValueError, match="is no token; give the merges in the order of learning"):
        BPE([("lo", "w")])
    with pytest.raises(ValueError, match="999 is outside of the vocabulary of 0 to 255"):
        BPE([]).decode([999])
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"model": {"type": "Unigram"}}), encoding="utf-8")
    with pytest.raises(ValueError, match="no byte-level BPE"):
        BPE.load(path)


def test_a_file_keeps_everything(tmp_path):
    made = BPE.train(PAPER, 280, special=["<end>"])
    made.save(tmp_path / "tokenizer.json")
    again = BPE.load(tmp_path / "tokenizer.json")
    assert (again.vocab, again.merges, again.special) == (made.vocab, made.merges, made.special)
