"""Answers in OpenAI's forms, whole or as server-sent events.

The one idea: chat and completions differ in three words, so one class knows them and everything else is shared.
"""

import json
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from nexus.serving.answering import Whole
from nexus.serving.batch import Piece
from nexus.serving.errors import ApiError

DONE = "data: [DONE]\n\n"


class Reply:
    """One answer to be sent.

    Args:
        chat: in the form of ``/v1/chat/completions``, else of ``/v1/completions``.
        model: its name.
        prompt: number of ids of the prompt.
    """

    def __init__(self, chat: bool, model: str, prompt: int) -> None:
        self._chat, self._prompt = chat, prompt
        kind = "chat.completion" if chat else "text_completion"
        ident = f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}"
        self._base = {"id": ident, "object": kind, "created": int(time.time()), "model": model}

    def whole(self, answer: Whole) -> dict[str, Any]:
        """The answer as one object."""
        message = {"role": "assistant", "content": answer.text, "refusal": None}
        said = {"message": message} if self._chat else {"text": answer.text}
        choice = {"index": 0, **said, "logprobs": None, "finish_reason": answer.finish}
        content = {**self._base, "choices": [choice], "usage": self._usage(answer.tokens, answer.cached)}
        return content if answer.nexus is None else {**content, "nexus": answer.nexus}

    async def events(self, pieces: AsyncIterator[Piece], usage: bool) -> AsyncIterator[str]:
        """The answer as events, the last but one with the usage if that is wanted."""
        if self._chat:
            yield self._event({"role": "assistant", "content": ""}, None, usage)
        async for piece in pieces:
            if piece.finish == "error":
                yield _data(ApiError(500, piece.text, code="model_failed").body())
                return
            if piece.text:
                yield self._event({"content": piece.text}, None, usage)
            if piece.finish:
                yield self._event({}, piece.finish, usage, piece.nexus)
                if usage:
                    yield _data({**self._part(), "choices": [], "usage": self._usage(piece.tokens, piece.cached)})
                yield DONE

    def _event(
        self, delta: dict[str, str], finish: str | None, usage: bool, nexus: dict[str, Any] | None = None
    ) -> str:
        said = {"delta": delta} if self._chat else {"text": delta.get("content", "")}
        choice = {"index": 0, **said, "logprobs": None, "finish_reason": finish}
        extra = {} if nexus is None else {"nexus": nexus}
        return _data({**self._part(), "choices": [choice], **({"usage": None} if usage else {}), **extra})

    def _part(self) -> dict[str, Any]:
        return {**self._base, "object": "chat.completion.chunk"} if self._chat else self._base

    def _usage(self, tokens: int, cached: int) -> dict[str, Any]:
        return {
            "prompt_tokens": self._prompt,
            "completion_tokens": tokens,
            "total_tokens": self._prompt + tokens,
            "prompt_tokens_details": {"cached_tokens": cached},
        }


def _data(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"
