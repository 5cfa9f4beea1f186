"""A whole world small enough for a test: a random Llama teacher on disk, its tokenizer, a registry, and some text."""

from __future__ import annotations

import json
import random
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from nexus.core.state_space import HybridConfig, HybridLM
from nexus.inference.hf_export import save_hf_folder

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WORDS = [
    "river", "stone", "cloud", "bird", "table", "green", "slow", "old", "warm", "north", "sings", "holds", "moves",
    "under", "over", "and", "the", "a", "of", "to",
]  # fmt: skip
# Everything as small as it goes; the stages are the real ones.
SETTINGS = {
    "sequence_length": 32, "align_tokens": 128, "align_steps": 4, "realign_steps": 2, "extract_tokens": 320,
    "train_tokens": 256, "windowed_tokens": 128, "evaluate_tokens": 128, "generation_items": 0, "router_texts": 0,
    "context_lengths": [64, 128],
}  # fmt: skip


def text(seed: int, documents: int = 400, words: int = 40) -> list[str]:
    """Documents of random words."""
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=words)).capitalize() + "." for _ in range(documents)]


def build(root: Path, seed: int = 0) -> list[str]:
    """Make the world below ``root``; returns the command line options of a run in it."""
    teacher = root / "teacher"
    write_tokenizer(teacher, text(seed))
    torch.manual_seed(seed)
    config = HybridConfig(
        vocab_size=320, d_model=32, n_layers=4, plan="A", n_heads=4, n_kv_heads=2, d_ff=64, max_seq_length=256
    )
    save_hf_folder(HybridLM(config), teacher, tokenizer_folder=teacher, layout="llama")
    (root / "data").mkdir()
    lines = [json.dumps({"text": document}) for document in text(seed)]
    (root / "data" / "notes.jsonl").write_text("\n".join(lines), encoding="utf-8")
    entry = {"teacher_id": "tiny", "params": "0.1M", "path": str(teacher), "status": "ready"}
    (root / "registry.json").write_text(json.dumps([entry]), encoding="utf-8")
    options = ["--root", str(root), "--registry", str(root / "registry.json"), "--datasets", "data/notes", "--quick"]
    for key, value in SETTINGS.items():
        options += ["--set", f"{key}={json.dumps(value)}"]
    return options


def write_tokenizer(folder: Path, texts: list[str]) -> None:
    """A byte-level BPE with a chat template, as a teacher's folder has it."""
    folder.mkdir(parents=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"eos_token": "<|im_end|>", "bos_token": "<|im_start|>", "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
