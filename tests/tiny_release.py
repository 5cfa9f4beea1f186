"""A tiny release with a byte-level tokenizer, for the tests of generation and serving."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from nexus.core.state_space import HybridConfig, HybridLM
from nexus.inference.release import GenerationDefaults
from nexus.inference.text import TextTokenizer
from tests.numerics import randomise

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
END_TEXT = "<|im_end|>"
PRINTABLE = ord("~") - ord("!") + 1  # ids 0 to 93 of the tokenizer below are these characters
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def byte_tokenizer() -> Tokenizer:
    """One id a byte (0 to 255), then the special tokens.

    Texts are cut into words as real tokenizers do it; else each whole text would be kept as a word that is known.
    """
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(SPECIAL)
    return made


def text_tokenizer() -> TextTokenizer:
    return TextTokenizer(byte_tokenizer(), {"bos_token": SPECIAL[1], "eos_token": SPECIAL[2]}, CHATML)


def tiny_model(seed: int = 0, **changes: object) -> HybridLM:
    """Random weights, large enough that greedy answers vary."""
    torch.manual_seed(seed)
    sizes = {"vocab_size": 256 + len(SPECIAL), "max_seq_length": 4_096, **changes}
    model = HybridLM(HybridConfig.tiny(**sizes)).eval()
    randomise(model)
    return model


def speak_ascii(model: HybridLM) -> HybridLM:
    """Let a model of the byte-level tokenizer say printable ASCII only, which survives decoding and encoding."""
    silence = torch.zeros(model.config.vocab_size)
    silence[PRINTABLE:] = float("-inf")
    model.lm_head.register_forward_hook(lambda _module, _args, logits: logits + silence.to(logits))
    return model


def never_end(model: HybridLM) -> HybridLM:
    """Let a model with a head of its own talk for ever, in printable ASCII: nothing else is ever the likeliest."""
    with torch.no_grad():
        model.lm_head.weight[PRINTABLE:] = 0
    return model


def write_release(folder: Path, model: HybridLM | None = None, **generation: object) -> Path:
    """Save a whole release folder."""
    (model or tiny_model()).save(folder)
    byte_tokenizer().save(str(folder / "tokenizer.json"))
    settings = {"bos_token": SPECIAL[1], "eos_token": SPECIAL[2], "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "chat_template.jinja").write_text(CHATML)
    if generation:
        GenerationDefaults(**generation).save(folder)
    return folder
