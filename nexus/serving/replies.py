"""Answers in OpenAI's forms, whole or as server-sent events.

The one idea: chat and completions differ in a few words, so one class knows them and everything else is shared.
"""

import json
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from typing import Any

from nexus.inference.text import TextTokenizer
from nexus.serving.answering import Whole
from nexus.serving.batch import Piece
from nexus.serving.calls import CallReader, Part
from nexus.serving.errors import ApiError
from nexus.serving.logprobs import Names, Scored, chat_form, completion_form
from nexus.serving.requests import TextRequest

DONE = "data: [DONE]\n\n"


class Reply:
    """One answer to be sent.

    Args:
        chat: in the form of ``/v1/chat/completions``, else of ``/v1/completions``.
        model: its name.
        asked: what is answered.
        tokenizer: names the tokens whose log-probabilities are told.
    """

    def __init__(self, chat: bool, model: str, asked: TextRequest, tokenizer: TextTokenizer) -> None:
        self._chat, self._asked, self._prompt = chat, asked, len(asked.ask.prompt)
        self._names = Names(tokenizer)
        kind = "chat.completion" if chat else "text_completion"
        ident = f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}"
        self._base = {"id": ident, "object": kind, "created": int(time.time()), "model": model}

    def whole(self, answers: Sequence[Whole]) -> dict[str, Any]:
        """All choices as one object."""
        choices = [self._whole(i, answer) for i, answer in enumerate(answers)]
        usage = self._usage(sum(answer.tokens for answer in answers), answers[0].cached)
        content = {**self._base, "choices": choices, "usage": usage}
        return content if answers[0].nexus is None else {**content, "nexus": answers[0].nexus}

    async def events(self, pieces: AsyncIterator[Piece]) -> AsyncIterator[str]:
        """The answer as events, the last but one with the usage if that is wanted."""
        writers = [_Writer(self._asked.tools) for _ in range(self._asked.ask.choices)]
        if self._chat:
            for i in range(len(writers)):
                yield self._event(i, {"role": "assistant", "content": ""})
        cached, lengths = 0, [0] * len(writers)
        async for piece in pieces:
            if piece.finish == "error":
                yield _data(ApiError(500, piece.text, code="model_failed").body())
                return
            for event in self._piece(piece, writers[piece.choice]):
                yield event
            lengths[piece.choice] = piece.tokens
            cached = piece.cached if piece.choice == 0 else cached
        if self._asked.usage:
            yield _data({**self._part(), "choices": [], "usage": self._usage(sum(lengths), cached)})
        yield DONE

    def _piece(self, piece: Piece, writer: "_Writer") -> Iterator[str]:
        scores = piece.scores
        if piece.nexus is not None and self._asked.ask.held:  # words, where another form was asked for
            yield self._event(piece.choice, {"refusal": piece.text})
            piece = replace(piece, text="")
        for delta in writer.deltas(piece):
            yield self._event(piece.choice, delta, scores)
            scores = ()
        if scores:  # of tokens that have no text of their own
            yield self._event(piece.choice, {}, scores)
        if piece.finish:
            yield self._event(piece.choice, {}, finish=writer.finish(piece.finish), nexus=piece.nexus)

    def _whole(self, index: int, answer: Whole) -> dict[str, Any]:
        logprobs = self._logprobs(answer.scores)
        if not self._chat:
            said: dict[str, Any] = {"text": answer.text}
            finish = answer.finish
        else:
            refused = answer.nexus is not None and self._asked.ask.held  # words, where another form was asked for
            text = "" if refused else answer.text
            content, calls = collect(CallReader(self._asked.tools).feed(text, last=True))
            message = {"content": None, "refusal": answer.text} if refused else {"content": content, "refusal": None}
            said = {"message": {"role": "assistant", **message}}
            if calls:
                said["message"]["tool_calls"] = [_call(*call) for call in calls]
            finish = "tool_calls" if calls and answer.finish == "stop" else answer.finish
        return {"index": index, **said, "logprobs": logprobs, "finish_reason": finish}

    def _event(
        self,
        index: int,
        delta: dict[str, Any],
        scores: Sequence[Scored] = (),
        finish: str | None = None,
        nexus: dict[str, Any] | None = None,
    ) -> str:
        said = {"delta": delta} if self._chat else {"text": delta.get("content", "")}
        logprobs = self._logprobs(scores) if scores else None
        choice = {"index": index, **said, "logprobs": logprobs, "finish_reason": finish}
        more = {**({"usage": None} if self._asked.usage else {}), **({} if nexus is None else {"nexus": nexus})}
        return _data({**self._part(), "choices": [choice], **more})

    def _logprobs(self, scores: Sequence[Scored]) -> dict[str, Any] | None:
        if self._asked.ask.logprobs is None:
            return None
        return chat_form(self._names, scores) if self._chat else completion_form(self._names, scores)

    def _part(self) -> dict[str, Any]:
        return {**self._base, "object": "chat.completion.chunk"} if self._chat else self._base

    def _usage(self, tokens: int, cached: int) -> dict[str, Any]:
        return {
            "prompt_tokens": self._prompt,
            "completion_tokens": tokens,
            "total_tokens": self._prompt + tokens,
            "prompt_tokens_details": {"cached_tokens": cached},
        }


class _Writer:
    """What was sent of one choice."""

    def __init__(self, tools: bool) -> None:
        self._reader, self._calls = CallReader(tools), 0

    def deltas(self, piece: Piece) -> Iterator[dict[str, Any]]:
        for part in self._reader.feed(piece.text, last=piece.finish is not None):
            if part.kind == "text":
                yield {"content": part.text}
            elif part.kind == "name":
                self._calls += 1
                yield {"tool_calls": [{"index": self._calls - 1, **_call(part.text, "")}]}
            else:
                yield {"tool_calls": [{"index": self._calls - 1, "function": {"arguments": part.text}}]}

    def finish(self, reason: str) -> str:
        return "tool_calls" if self._calls and reason == "stop" else reason


def collect(parts: Iterator[Part]) -> tuple[str | None, list[tuple[str, str]]]:
    """The text of an answer, None if it is calls only, and its calls: names with arguments."""
    text, calls = "", list[tuple[str, str]]()
    for part in parts:
        if part.kind == "text":
            text += part.text
        elif part.kind == "name":
            calls.append((part.text, ""))
        else:
            calls[-1] = (calls[-1][0], calls[-1][1] + part.text)
    return (None if calls and not text else text), calls


def _call(name: str, arguments: str) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"id": f"call_{uuid.uuid4().hex}", "type": "function", "function": function}


def _data(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"
