"""The tokenizer inside a GGUF file, saved as `tokenizer.json` and `tokenizer_config.json`.

The one idea: transformers rebuilds vocabulary and merges from the file's fields; what it leaves out is put right
afterwards in the saved JSON: how text is cut before the merges, and a plain class name that any version can load.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}

# What a file's `tokenizer.ggml.pre` asks for where that differs from plain GPT-2 cutting. "smollm": each digit by
# itself first (llama.cpp's two-step pattern), so that blanks before a digit don't depend on the digit.
_CUTTING: dict[str, dict[str, Any]] = {
    "smollm": {
        "type": "Sequence",
        "pretokenizers": [{"type": "Digits", "individual_digits": True}, _BYTE_LEVEL],
    },
}
_PRIVATE = ("backend", "is_local", "local_files_only", "gguf_file", "name_or_path")


def save_tokenizer(gguf_path: Path, folder: Path, cutting: str | None) -> None:
    """Write the tokenizer of a GGUF file, with its chat template in `tokenizer_config.json`, below `folder`.

    Args:
        cutting: the file's `tokenizer.ggml.pre`.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        str(gguf_path.parent), gguf_file=gguf_path.name, local_files_only=True, trust_remote_code=False
    )
    tokenizer.save_pretrained(folder, save_jinja_files=False)
    _mend(folder / "tokenizer_config.json", _plain_class)
    if cutting in _CUTTING:
        _mend(folder / "tokenizer.json", lambda saved: {**saved, "pre_tokenizer": _CUTTING[cutting]})


def _plain_class(saved: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in saved.items() if name not in _PRIVATE}
    return {**kept, "tokenizer_class": "PreTrainedTokenizerFast"}


def _mend(path: Path, change: Any) -> None:
    saved = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(change(saved), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
