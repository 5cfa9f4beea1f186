"""`/v1/responses`: answers as lists of items, and conversations that go on by id.

The one idea: there are only events; a client that wants the reply whole gets the last one's.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from nexus.serving.answering import answer
from nexus.serving.engine import Engine
from nexus.serving.errors import ApiError, wrong
from nexus.serving.logprobs import Names
from nexus.serving.response_input import Chat, read_response
from nexus.serving.response_reply import Event, ResponseReply
from nexus.serving.response_store import ResponseStore

PATH = "/v1/responses"
ReadJson = Callable[[Any], Awaitable[dict[str, Any]]]


def add_responses(app: Any, engine: Engine, name: str, read_json: ReadJson) -> None:
    """Add the routes; ``read_json`` takes the body off a request."""
    from fastapi import Request
    from fastapi.responses import JSONResponse, Response, StreamingResponse

    store = ResponseStore()
    engine.metrics.watch("kept_responses", "Replies of /v1/responses that are kept", lambda: len(store))
    engine.metrics.watch("kept_response_bytes", "Bytes of these", lambda: store.nbytes)

    @app.post(PATH, response_model=None)
    async def respond(request: Request) -> Response:
        body, owner = await read_json(request), request.state.owner
        before = _before(store, owner, body.get("previous_response_id"))
        # in a thread: what a schema stands for may take a while to work out
        asked = await asyncio.to_thread(read_response, engine.release, name, body, owner, before)
        pieces = await answer(engine, asked.text.ask, request.is_disconnected, request.state.spent)
        reply = ResponseReply(asked, name, Names(engine.release.tokenizer))
        events = _stored(reply, reply.events(pieces), store, owner)
        if asked.text.stream:
            headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
            return StreamingResponse(_sent(events), media_type="text/event-stream", headers=headers)
        return JSONResponse(await _last(events))

    @app.get(f"{PATH}/{{response_id}}", response_model=None)
    async def look(request: Request, response_id: str) -> Response:
        return JSONResponse(store.get(request.state.owner, response_id, "response_id").body)

    @app.delete(f"{PATH}/{{response_id}}", response_model=None)
    async def drop(request: Request, response_id: str) -> Response:
        store.drop(request.state.owner, response_id)
        return JSONResponse({"id": response_id, "object": "response", "deleted": True})


def _before(store: ResponseStore, owner: str, ident: object) -> Chat:
    """The conversation that a request goes on from."""
    if ident is None:
        return []
    if not isinstance(ident, str):
        raise wrong("previous_response_id", ident, "is no id", "give that of a reply, or leave it out")
    return store.get(owner, ident, "previous_response_id").messages


async def _stored(
    reply: ResponseReply, events: AsyncIterator[Event], store: ResponseStore, owner: str
) -> AsyncIterator[Event]:
    """The events; the reply is kept before the last one is sent."""
    async for event in events:
        if event["type"] in ("response.completed", "response.incomplete") and reply.body["store"]:
            store.put(owner, event["response"], [*reply.asked.messages, *reply.said])
        yield event


async def _sent(events: AsyncIterator[Event]) -> AsyncIterator[str]:
    async for event in events:
        yield f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n"


async def _last(events: AsyncIterator[Event]) -> dict[str, Any]:
    """The finished reply.

    Raises:
        ApiError: 500 if the model failed, 499 if the client went away.
    """
    last: Event = {}
    async for event in events:
        last = event
    if last["type"] == "response.failed":
        raise ApiError(500, last["response"]["error"]["message"], code="model_failed")
    if "response" not in last or last["response"]["status"] == "in_progress":
        raise ApiError(499, "the client went away", code="cancelled")
    return last["response"]
