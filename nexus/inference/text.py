"""Text to ids and back, chats to prompts, and a stream of ids to a stream of text.

The one idea: the Rust `tokenizers` library and a sandboxed Jinja template are all that a Hugging Face tokenizer folder
needs at run time; transformers stays a development dependency, against which this is tested.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from tokenizers import Tokenizer

from nexus.inference.chat_template import ChatTemplate

Message = Mapping[str, str]  # {"role": "system" | "user" | "assistant", "content": text}

TOKENIZER_FILE = "tokenizer.json"
SETTINGS_FILE = "tokenizer_config.json"
TEMPLATE_FILE = "chat_template.jinja"
_ROLES = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")
_BROKEN = "\ufffd"  # what decoding makes of bytes that are no whole character


class TextTokenizer:
    """A tokenizer with its chat template.

    Args:
        tokenizer: of the `tokenizers` library.
        special: texts of the special tokens by role (``{"eos_token": "<|im_end|>"}``), which templates may use.
        chat_template: Jinja source; None for a model that does not chat.
    """

    def __init__(
        self, tokenizer: Tokenizer, special: Mapping[str, str] | None = None, chat_template: str | None = None
    ) -> None:
        self.tokenizer = tokenizer
        self.special = dict(special or {})
        self.chat_template = chat_template

    @classmethod
    def from_folder(cls, folder: str | Path) -> TextTokenizer:
        """Read ``tokenizer.json``, ``tokenizer_config.json`` and, where there is one, ``chat_template.jinja``.

        Raises:
            FileNotFoundError: no ``tokenizer.json``.
            ValueError: a file is not what its name says.
        """
        folder = Path(folder)
        settings = _read_json(folder / SETTINGS_FILE) if (folder / SETTINGS_FILE).is_file() else {}
        template = folder / TEMPLATE_FILE
        source = template.read_text(encoding="utf-8") if template.is_file() else _template_of(settings)
        special = {role: _text_of(settings[role]) for role in _ROLES if settings.get(role) is not None}
        return cls(_read_tokenizer(folder / TOKENIZER_FILE), special, source)

    @property
    def vocab_size(self) -> int:
        """Number of ids, added tokens included."""
        return self.tokenizer.get_vocab_size(with_added_tokens=True)

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """The id of the end-of-sequence token, if there is one."""
        text = self.special.get("eos_token")
        token = None if text is None else self.tokenizer.token_to_id(text)
        return () if token is None else (token,)

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Ids of a text; ``special`` adds what the tokenizer puts around one (a template brings its own)."""
        return self.tokenizer.encode(text, add_special_tokens=special).ids

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """The text of ids; bytes that are no whole character become U+FFFD."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=skip_special)

    def render(self, messages: Sequence[Message], *, answer_next: bool = True, **variables: Any) -> str:
        """A chat as the text that the model was taught to read.

        Args:
            answer_next: end with the beginning of the assistant's next turn.
            variables: more for the template to see (``tools``, ``enable_thinking`` ...).

        Raises:
            ValueError: there is no template, or it refuses these messages.
        """
        variables = {"tools": None, "documents": None, **self.special, **variables}
        return self._template.render([dict(m) for m in messages], add_generation_prompt=answer_next, **variables)

    def chat_ids(self, messages: Sequence[Message], *, answer_next: bool = True, **variables: Any) -> list[int]:
        """The ids of :meth:`render`."""
        return self.encode(self.render(messages, answer_next=answer_next, **variables))

    @cached_property
    def _template(self) -> ChatTemplate:
        if self.chat_template is None:
            raise ValueError(f"chat_template: there is none; put a {TEMPLATE_FILE} beside {TOKENIZER_FILE}")
        return ChatTemplate(self.chat_template)


class Detokenizer:
    """Turns ids into text as they come, holding back what is not a whole character yet.

    ::

        text = Detokenizer(tokenizer)
        for token in stream(...):
            print(text.feed(token), end="")
        print(text.finish())

    The pieces joined equal ``tokenizer.decode`` of all ids.
    """

    def __init__(self, tokenizer: TextTokenizer, skip_special: bool = True) -> None:
        self._tokenizer, self._skip_special = tokenizer, skip_special
        self._ids: list[int] = []  # those of the last piece, for the sake of spaces between words, then the new ones
        self._old = 0  # how many of them are of the last piece
        self._said = ""  # their text as far as it was given out

    def feed(self, token: int) -> str:
        """The text that this id completes; empty while a character is unfinished."""
        self._ids.append(token)
        text = self._decode(self._ids)
        # An unfinished character is one mark at the end. Marks before it stand for bytes that will never be a text.
        settled = text.removesuffix(_BROKEN)
        piece, self._said = settled[len(self._said) :], settled
        if settled == text:
            self._ids, self._old = self._ids[self._old :], len(self._ids) - self._old
            self._said = self._decode(self._ids)
        return piece

    def finish(self) -> str:
        """What was held back: a character that never became whole is U+FFFD."""
        piece = self._decode(self._ids)[len(self._said) :]
        self._ids, self._old, self._said = [], 0, ""
        return piece

    def _decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, skip_special=self._skip_special)


def ends_line(tokenizer: TextTokenizer) -> Collection[int]:
    """All ids whose text holds a line break: as ``eos_ids``, they stop an answer after its first line."""
    return [token for token in range(tokenizer.vocab_size) if "\n" in tokenizer.decode([token])]


def _read_tokenizer(path: Path) -> Tokenizer:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give a folder that holds a {TOKENIZER_FILE}")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise ValueError(f"{path} is not a tokenizer ({error}); restore the file") from None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not readable JSON ({error}); restore the file") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not an object; restore the file")
    return content


def _text_of(token: str | Mapping[str, Any]) -> str:
    return token if isinstance(token, str) else str(token["content"])


def _template_of(settings: Mapping[str, Any]) -> str | None:
    """The chat template inside ``tokenizer_config.json``: a text, or a list of named ones."""
    found: str | list[dict[Literal["name", "template"], str]] | None = settings.get("chat_template")
    if isinstance(found, list):
        return next((entry["template"] for entry in found if entry["name"] == "default"), None)
    return found
