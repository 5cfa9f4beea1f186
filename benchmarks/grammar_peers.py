"""llguidance beside xgrammar: schemas taken, answers valid, time. Chooses the library of nexus/serving/structured.py.

    pip install xgrammar==0.2.8        # not a dependency of Nexus
    python benchmarks/grammar_peers.py --tokenizer nexus-release-v1/tokenizer.json --number 200

Both get the same schemas and the same vocabulary, and walk by chance through what is allowed: half of the time a token
that closes something, if there is one. Prints one JSON line and writes it to benchmarks/results/grammar_peers.json.
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
from tokenizers import Tokenizer

from tests.serving.random_schemas import draw

TOKENS = 200


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

    def take(self, token):
        self.matcher.consume_token(token)


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

    def take(self, token):
        self.matcher.accept_token(token)


def walk(library, tokenizer, end, chance, times):
    """A text by chance, or None if it came to no end."""
    closers = [tokenizer.encode(text, add_special_tokens=False).ids[0] for text in ("}", "]", '"')]
    ids = []
    while len(ids) < TOKENS:
        began = time.perf_counter()
        allowed = library.allowed()
        times.append(time.perf_counter() - began)
        near = [token for token in (end, *closers) if allowed[token]]
        token = near[0] if near and chance.random() < 0.5 else int(chance.choice(np.flatnonzero(allowed)))
        if token == end:
            return tokenizer.decode(ids, skip_special_tokens=False)
        library.take(token)
        ids.append(token)
    return None


def measure(library, tokenizer, end, schemas):
    verdicts, made, times = Counter(), [], []
    for number, schema in enumerate(schemas):
        began = time.perf_counter()
        try:
            library.begin(schema)
        except (RuntimeError, ValueError):
            verdicts["refused"] += 1
            continue
        made.append(time.perf_counter() - began)
        text = walk(library, tokenizer, end, random.Random(number), times)
        verdicts["unfinished" if text is None else "valid" if valid(schema, text) else "invalid"] += 1
    spread = {f"mask_us_p{q}": round(1e6 * float(np.percentile(times, q)), 1) for q in (50, 99)}
    return {**verdicts, "grammar_ms": round(1e3 * float(np.mean(made)), 2), **spread}


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
    found = {kind.__name__: measure(kind(own, last), own, last, drawn) for kind in (LLGuidance, XGrammar)}
    result = json.dumps({"schemas": arguments.number, "vocabulary": own.get_vocab_size(), **found})
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "grammar_peers.json").write_text(result + "\n")
    print(result)
