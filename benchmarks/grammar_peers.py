"""Answers after a schema: Nexus beside xgrammar, and beside llguidance, which Nexus stands on. Valid share and time.

    pip install xgrammar==0.2.8        # not a dependency of Nexus; best in an environment of its own
    python benchmarks/grammar_peers.py --tokenizer nexus-release-v1/tokenizer.json --number 200

All get the same schemas, the same vocabulary and 200 tokens, and walk by chance through what is allowed: half of the
time a token that closes something, if there is one. Answers are judged by the jsonschema package. A token costs its
mask and its acceptance; Nexus also looks for the way to the end. Prints one JSON line and writes it to
benchmarks/results/grammar_peers.json.
"""

import argparse
import json
import random
import time
from collections import Counter
from importlib import import_module
from pathlib import Path

import jsonschema
import numpy as np
import torch
from tokenizers import Tokenizer

from nexus.core.state_space import HybridConfig, HybridLM
from nexus.inference.release import GenerationDefaults, Release
from nexus.inference.text import TextTokenizer
from nexus.serving.errors import ApiError
from nexus.serving.structured import Grammar, GrammarError, json_rule, vocabulary
from tests.serving.random_schemas import draw

TOKENS = 200


class Nexus:
    def __init__(self, tokenizer, end):
        model = HybridLM(HybridConfig.tiny(vocab_size=tokenizer.get_vocab_size()))  # only its size is asked for
        self.release = Release(model, TextTokenizer(tokenizer), GenerationDefaults(eos_ids=(end,)), None)
        self.logits = torch.zeros(1, tokenizer.get_vocab_size())
        vocabulary(self.release)

    def begin(self, schema):
        self.guide = Grammar(self.release, f"start: {json_rule(schema)}", "schema").guide()

    def allowed(self):
        return torch.isfinite(self.guide.limit(self.logits))[0].numpy()

    def take(self, token, left):
        return self.guide.take(token, left)


class LLGuidance:
    def __init__(self, tokenizer, end):
        from llguidance import LLTokenizer

        self.size = tokenizer.get_vocab_size()
        self.words = LLTokenizer(tokenizer.to_str(), n_vocab=self.size, eos_token=end)

    def begin(self, schema):
        from llguidance import LLMatcher

        spaces = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
        self.matcher = LLMatcher(self.words, LLMatcher.grammar_from_json_schema(schema, overrides=spaces), log_level=0)
        if self.matcher.is_error():
            raise ValueError(self.matcher.get_error())

    def allowed(self):
        bits = np.frombuffer(self.matcher.compute_bitmask(), dtype=np.uint8)
        return np.unpackbits(bits, count=self.size, bitorder="little")

    def take(self, token, _left):
        self.matcher.consume_token(token)
        return token


class XGrammar:
    def __init__(self, tokenizer, end):
        xgrammar = import_module("xgrammar")
        self.size, self.library = tokenizer.get_vocab_size(), xgrammar
        words = [tokenizer.id_to_token(i) or "" for i in range(self.size)]
        info = xgrammar.TokenizerInfo(words, vocab_type=xgrammar.VocabType.BYTE_LEVEL, stop_token_ids=[end])
        self.compiler = xgrammar.GrammarCompiler(info, max_threads=1, cache_enabled=False)
        self.mask = xgrammar.allocate_token_bitmask(1, self.size)

    def begin(self, schema):
        made = self.compiler.compile_json_schema(json.dumps(schema), any_whitespace=False, strict_mode=False)
        self.matcher = self.library.GrammarMatcher(made)

    def allowed(self):
        self.matcher.fill_next_token_bitmask(self.mask)
        return np.unpackbits(self.mask.numpy().view(np.uint8)[0], count=self.size, bitorder="little")

    def take(self, token, _left):
        self.matcher.accept_token(token)
        return token


def walk(library, tokenizer, end, chance, times):
    """A text by chance, or None if it came to no end."""
    closers = [tokenizer.encode(text, add_special_tokens=False).ids[0] for text in ("}", "]", '"')]
    ids = []
    while len(ids) < TOKENS:
        began = time.perf_counter()
        allowed = library.allowed()
        masked = time.perf_counter()
        near = [token for token in (end, *closers) if allowed[token]]
        token = near[0] if near and chance.random() < 0.5 else int(chance.choice(np.flatnonzero(allowed)))
        drawn = time.perf_counter()
        token = library.take(token, TOKENS - len(ids) - 1)
        times.append(masked - began + time.perf_counter() - drawn)
        if token == end:
            return tokenizer.decode(ids, skip_special_tokens=False)
        ids.append(token)
    return None


def measure(library, tokenizer, end, schemas):
    verdicts, made, times = Counter(), [], []
    for number, schema in enumerate(schemas):
        began = time.perf_counter()
        try:
            library.begin(schema)
        except (RuntimeError, ValueError, ApiError):
            verdicts["refused"] += 1
            continue
        made.append(time.perf_counter() - began)
        try:
            text = walk(library, tokenizer, end, random.Random(number), times)
        except GrammarError:
            verdicts["too costly"] += 1
            continue
        verdicts["unfinished" if text is None else "valid" if valid(schema, text) else "invalid"] += 1
    spread = {f"token_us_p{q}": round(1e6 * float(np.percentile(times, q)), 1) for q in (50, 99)}
    mean = {"grammar_ms": round(1e3 * float(np.mean(made)), 2), "token_us": round(1e6 * float(np.mean(times)), 1)}
    return {
        **verdicts,
        "valid_share": round(verdicts["valid"] / len(schemas), 4),
        "tokens": len(times),
        **mean,
        **spread,
    }


def valid(schema, text):
    try:
        jsonschema.Draft202012Validator(schema).validate(json.loads(text))
    except (ValueError, jsonschema.ValidationError):
        return False
    return True


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", required=True, help="a byte-level tokenizer.json")
    parser.add_argument("--end", default="<|im_end|>", help="the token that ends an answer (default: %(default)s)")
    parser.add_argument("--number", type=int, default=200)
    arguments = parser.parse_args()
    own = Tokenizer.from_file(arguments.tokenizer)
    last, drawn = own.token_to_id(arguments.end), [draw(i) for i in range(arguments.number)]
    torch.set_num_threads(1)
    found = {kind.__name__: measure(kind(own, last), own, last, drawn) for kind in (Nexus, LLGuidance, XGrammar)}
    result = json.dumps({"schemas": arguments.number, "vocabulary": own.get_vocab_size(), **found})
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "grammar_peers.json").write_text(result + "\n")
    print(result)
