"""Byte-pair encoding beside Hugging Face tokenizers: what is learnt, what is read, and files both ways."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from nexus.zoo.proof import Comparison, Example, Mutation

ORACLE = ("tokenizers",)
TOLERANCE = 0.0
WORDS = "nexus/models/nlp/_words.py"
MUTATIONS = (
    Mutation("a pair counts once a word", "self.count[pair] += times", "self.count[pair] += 1"),
    Mutation("counts are not lowered by a merge", "self.count[old] -= times", "self.count[old] -= 0"),
    Mutation("new neighbours are not counted", "self.count[fresh] += times", "self.count[fresh] += 0"),
    Mutation("what was joined stays as well", "i += 2", "i += 1"),
    Mutation("the pair learnt last goes first", "min((self._rank[p][0], p) if p in self._rank else (len(self._rank), p)", "min((-self._rank[p][0], p) if p in self._rank else (len(self._rank), p)"),
    Mutation("ties go to the largest ids", "heapq.heappush(self.heap, (-self.count[each], each))", "heapq.heappush(self.heap, (-self.count[each] - 1, each))"),
    Mutation("the last space stays behind", "else end - 1", "else end", WORDS),
    Mutation("contractions are not cut off", "for ending in ENDINGS:", "for ending in ():", WORDS),
    Mutation("bytes have other letters", "chr(0x100 + i)", "chr(0x120 + i)", WORDS),
)  # fmt: skip
SYLLABLES = (
    "an",
    "the",
    "re",
    "is",
    "it's",
    "über",
    "日本",
    "42",
    "½",
    "no",
    "x",
    "'ll",
    "🙂",
    "-",
    "\n",
    "  ",
    "\t",
    "é",
)


def _texts(seed: int, count: int) -> list[str]:
    draw = random.Random(seed)
    lines = [[draw.choice(SYLLABLES) for _ in range(draw.randint(1, 30))] for _ in range(count)]
    return ["".join(part + draw.choice(("", "", " ")) for part in line) for line in lines]


def _oracle(texts: Sequence[str], size: int, special: Sequence[str]) -> object:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, min_frequency=2, special_tokens=list(special), show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    made.train_from_iterator(texts, trainer)
    return made


def example(seed: int = 0) -> Example:
    """The ids of a text, looked up in an embedding."""
    from nexus.models.nlp.bpe import BPE

    made = BPE.train(_texts(seed, 50), 300)
    torch.manual_seed(seed)
    return Example(nn.Embedding(len(made), 4), (torch.tensor([made.encode("the theorem is an end")]),))


def _flat(rows: Sequence[Sequence[int]]) -> Tensor:
    """Lists of ids as one tensor, with a mark after each."""
    return torch.tensor([i for row in rows for i in (*row, -1)])


def prove(seed: int = 0) -> Iterator[Comparison]:
    """The vocabulary that is learnt, the ids of texts seen and unseen, the texts of ids, files in both directions."""
    from tokenizers import Tokenizer

    from nexus.models.nlp.bpe import BPE

    special, texts, unseen = ("<end>", "<pad>"), _texts(seed, 300), _texts(seed + 1_000, 200)
    ours, theirs = BPE.train(texts, 420, special), _oracle(texts, 420, special)
    assert isinstance(theirs, Tokenizer)
    known = theirs.get_vocab()
    yield Comparison("size", torch.tensor(len(ours)), torch.tensor(len(known)))
    yield Comparison(
        "vocabulary", torch.tensor([ours.vocab.get(token, -1) for token in known]), torch.tensor(list(known.values()))
    )
    wanted = [theirs.encode(text).ids for text in [*texts, *unseen]]
    yield Comparison("ids", _flat([ours.encode(text) for text in [*texts, *unseen]]), _flat(wanted))
    told = [list(map(ord, ours.decode(ids))) for ids in wanted]
    yield Comparison("texts", _flat(told), _flat([list(map(ord, theirs.decode(ids))) for ids in wanted]))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tokenizer.json"
        ours.save(file)
        yield Comparison("our file", _flat([Tokenizer.from_file(str(file)).encode(t).ids for t in unseen]),
                         _flat([theirs.encode(t).ids for t in unseen]))  # fmt: skip
        theirs.save(str(file))
        assert json.loads(file.read_text(encoding="utf-8"))["model"]["type"] == "BPE"
        yield Comparison("their file", _flat([BPE.load(file).encode(t) for t in unseen]),
                         _flat([theirs.encode(t).ids for t in unseen]))  # fmt: skip
