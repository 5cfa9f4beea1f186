"""A reply of `/v1/responses` on its way: items that grow, and the events that tell of it.

The one idea: a reply is what its events amount to, so there is one way to make it. Reference: OpenAI API, responses and
their streaming events.
"""

import json
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

from nexus.serving.batch import Piece
from nexus.serving.calls import CallReader, Part
from nexus.serving.logprobs import Names, chat_form
from nexus.serving.response_input import Chat, ResponseRequest

Event = dict[str, Any]


class ResponseReply:
    """One reply on its way.

    Args:
        asked: what is answered.
        name: of the model.
        names: of tokens whose log-probabilities are told.

    Attributes:
        asked: as given.
        body: the reply so far.
    """

    def __init__(self, asked: ResponseRequest, name: str, names: Names) -> None:
        self.asked, self._names, self._number = asked, names, -1
        self._reader = CallReader(asked.text.tools)
        self._open: Event | None = None  # the item that is being written
        self._scores: list[Any] = []  # what is told of the text since the last event
        now = time.time()
        self.body: dict[str, Any] = {
            "id": _name("resp"), "object": "response", "created_at": int(now), "status": "in_progress", "error": None,
            "incomplete_details": None, "model": name, "output": [], **asked.repeated, "usage": None,
        }  # fmt: skip

    @property
    def said(self) -> Chat:
        """The reply as messages of a chat."""
        made: Chat = []
        for item in self.body["output"]:
            if item["type"] == "message":
                made.append({"role": "assistant", "content": "".join(part.get("text", "") for part in item["content"])})
                continue
            call = {"name": item["name"], "arguments": item["arguments"]}
            if not (made and "tool_calls" in made[-1]):
                made.append({"role": "assistant", "tool_calls": []})
            made[-1]["tool_calls"].append({"id": item["call_id"], "type": "function", "function": call})
        return made

    async def events(self, pieces: AsyncIterator[Piece]) -> AsyncIterator[Event]:
        """All events of the reply, as the pieces of the answer come."""
        yield self._event("created", response=self.body)
        yield self._event("in_progress", response=self.body)
        async for piece in pieces:
            if piece.finish == "error":
                self.body.update(status="failed", error={"code": "server_error", "message": piece.text})
                yield self._event("failed", response=self.body)
                return
            if piece.nexus is not None:
                self.body["nexus"] = piece.nexus
            if piece.nexus is not None and self.asked.text.ask.held:  # words, where another form was asked for
                for event in self._refuse(piece):
                    yield event
                piece = replace(piece, text="")
            self._scores += chat_form(self._names, piece.scores)["content"]
            for part in self._reader.feed(piece.text, last=piece.finish is not None):
                for event in self._part(part):
                    yield event
            if piece.finish:
                for event in self._end(piece):
                    yield event

    def _refuse(self, piece: Piece) -> Iterator[Event]:
        yield from self._begin(_new_message())
        part = {"type": "refusal", "refusal": piece.text}
        place = {**self._place(), "content_index": 0}
        yield self._event("content_part.added", **place, part={**part, "refusal": ""})
        yield self._event("refusal.delta", **place, delta=piece.text)
        yield self._event("refusal.done", **place, refusal=piece.text)
        self._open_item()["content"].append(part)

    def _part(self, part: Part) -> Iterator[Event]:
        if part.kind == "text":
            yield from self._begin_message()
            place = {**self._place(), "content_index": 0}
            yield self._event("output_text.delta", **place, delta=part.text, logprobs=self._told())
            self._message()["text"] += part.text
        elif part.kind == "name":
            yield from self._close("completed")
            yield from self._begin({
                "type": "function_call", "id": _name("fc"), "call_id": _name("call"), "name": part.text,
                "arguments": "", "status": "in_progress",
            })  # fmt: skip
        else:
            assert self._open is not None
            self._open["arguments"] += part.text
            yield self._event("function_call_arguments.delta", **self._place(), delta=part.text)

    def _begin_message(self) -> Iterator[Event]:
        if self._open is None:
            yield from self._begin(_new_message())
            part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
            yield self._event("content_part.added", **self._place(), content_index=0, part=part)
            self._open_item()["content"].append(part)

    def _begin(self, item: Event) -> Iterator[Event]:
        self._open = item
        self.body["output"].append(item)
        yield self._event("output_item.added", output_index=len(self.body["output"]) - 1, item=item)

    def _close(self, status: str) -> Iterator[Event]:
        if self._open is None:
            return
        if self._open["type"] == "message":
            part, place = self._message(), {**self._place(), "content_index": 0}
            if part["type"] == "output_text":
                yield self._event("output_text.done", **place, text=part["text"], logprobs=part["logprobs"])
            yield self._event("content_part.done", **place, part=part)
        else:
            yield self._event("function_call_arguments.done", **self._place(), arguments=self._open["arguments"])
            self._scores = []  # a call has no place for them
        self._open["status"] = status
        yield self._event("output_item.done", output_index=len(self.body["output"]) - 1, item=self._open)
        self._open = None

    def _end(self, piece: Piece) -> Iterator[Event]:
        if not self.body["output"]:
            yield from self._begin_message()
        cut = piece.finish == "length"
        if self._scores and self._open is not None and self._open["type"] == "message":
            self._told()
        yield from self._close("incomplete" if cut else "completed")
        prompt = len(self.asked.text.ask.prompt)
        self.body["usage"] = {
            "input_tokens": prompt, "input_tokens_details": {"cached_tokens": piece.cached, "cache_write_tokens": 0},
            "output_tokens": piece.tokens, "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": prompt + piece.tokens,
        }  # fmt: skip
        self.body["status"] = "incomplete" if cut else "completed"
        self.body["incomplete_details"] = {"reason": "max_output_tokens"} if cut else None
        yield self._event(self.body["status"], response=self.body)

    def _told(self) -> list[Any]:
        """Log-probabilities that were not told yet; they become part of the message."""
        told, self._scores = self._scores, []
        self._message()["logprobs"] += told
        return told

    def _place(self) -> dict[str, Any]:
        return {"item_id": self._open_item()["id"], "output_index": len(self.body["output"]) - 1}

    def _open_item(self) -> Event:
        assert self._open is not None
        return self._open

    def _message(self) -> dict[str, Any]:
        return self._open_item()["content"][0]

    def _event(self, kind: str, **content: Any) -> Event:
        """An event as it is now: what it holds goes on to change."""
        self._number += 1
        return json.loads(json.dumps({"type": f"response.{kind}", "sequence_number": self._number, **content}))


def _new_message() -> Event:
    return {"type": "message", "id": _name("msg"), "role": "assistant", "content": [], "status": "in_progress"}


def _name(kind: str) -> str:
    return f"{kind}_{uuid.uuid4().hex}"
