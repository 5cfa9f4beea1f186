"""Learned positions beside transformers' BERT and OPT."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._shared import compare, drawn, noise, parameters, run

ORACLE = ("transformers",)
TOLERANCE = 1e-10
MUTATIONS = (
    Mutation("offset forgotten", "embedding(positions + self.offset", "embedding(positions"),
    Mutation("offset taken off", "positions + self.offset, self", "positions - self.offset, self"),
    Mutation(
        "positions counted from one", "nn.functional.embedding(positions", "nn.functional.embedding(1 + positions"
    ),
    Mutation("table gets no gradient", "self.offset, self.weight)", "self.offset, self.weight.detach())"),
)


def example(seed: int = 0) -> Example:
    """Twelve rows, five positions."""
    from nexus.layers.positional.learned import LearnedEncoding

    return Example(drawn(LearnedEncoding(12, 8), seed, dtype=torch.float32), (torch.arange(5),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """BERT's whole embedding with our rows in it, and OPT's table, whose first two rows are no positions."""
    from transformers.models.bert import modeling_bert as bert
    from transformers.models.opt import modeling_opt as opt

    from nexus.layers.positional.learned import LearnedEncoding

    ours, ids = (
        drawn(LearnedEncoding(12, 8), seed),
        torch.randint(1, 9, (2, 7), generator=torch.Generator().manual_seed(seed)),
    )
    config = bert.BertConfig(
        hidden_size=8, num_attention_heads=2, vocab_size=9, max_position_embeddings=12, type_vocab_size=1
    )
    theirs = bert.BertEmbeddings(config).double().eval()
    words = noise(seed, 9, 8)
    ones, zeros = torch.ones(8).double(), torch.zeros(8).double()
    weights = {
        "word_embeddings.weight": words, "position_embeddings.weight": ours.weight,
        "token_type_embeddings.weight": zeros[None], "LayerNorm.weight": ones, "LayerNorm.bias": zeros,
    }  # fmt: skip
    mine = torch.nn.functional.layer_norm(words[ids] + ours(torch.arange(7)), (8,), eps=config.layer_norm_eps)
    yield from compare(mine, run(theirs, weights, ids), {**parameters(ours), "words": words}, "BERT")

    ours, theirs = drawn(LearnedEncoding(12, 8, offset=2), seed), opt.OPTLearnedPositionalEmbedding(12, 8).double()
    at = torch.arange(7)[None].expand(2, -1)
    y = run(theirs, {"weight": ours.weight}, torch.ones(2, 7), position_ids=at)
    yield from compare(ours(at), y, parameters(ours), "OPT")
