"""The HTTP application: OpenAI's routes over one engine.

The one idea: a route reads JSON, makes a checked request, asks, and sends the answer in OpenAI's form; each of these is
a file of its own, and this one only joins them.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NoReturn

from nexus.inference.heap import trim_heap
from nexus.inference.release import Release
from nexus.serving.answering import answer, wholes
from nexus.serving.audit import Audit
from nexus.serving.dashboard import add_dashboard
from nexus.serving.embeddings import add_embeddings
from nexus.serving.engine import Engine
from nexus.serving.errors import ApiError
from nexus.serving.guard import Guard
from nexus.serving.journal_thread import JournalThread
from nexus.serving.limits import Limits
from nexus.serving.memory_api import add_memory
from nexus.serving.openapi import describe
from nexus.serving.replies import Reply
from nexus.serving.requests import TextRequest, check_model, read_chat, read_completion
from nexus.serving.responses import add_responses
from nexus.serving.status import add_status
from nexus.serving.weights import OwnersWeights

BODY = 2 * 2**20  # bytes of a request at most
BODY_SECONDS = 30  # for a client to send it
TIDY = 30  # seconds between two times that free memory is given back
EXACT = 2**53  # below this a float holds every whole number
STREAM = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # headers: nothing on the way may hold it back

Reader = Callable[[Release, str, dict[str, Any], str], TextRequest]


def make_app(
    engine: Engine,
    host: str = "127.0.0.1",
    keys: Sequence[str] = (),
    name: str | None = None,
    journal: JournalThread | None = None,
    limits: Limits | None = None,
    audit: Audit | None = None,
    weights: OwnersWeights | None = None,
) -> Any:
    """The application (ASGI); it starts the engine, and closes it at the end.

    Args:
        engine: what answers.
        host: the address that will be listened on, for the check of ``Host``.
        keys: API keys that are let in; none for a server on loopback only.
        name: of the model; that of the release's folder if None.
        journal: where what is taught is kept; closed at the end. Without one nothing can be taught.
        limits: how much each key may ask for; as much as it likes if None.
        audit: where each request is written down, if anywhere; closed at the end.
        weights: versions that owners' memory was learnt into, if any; what is forgotten leaves them too.

    Raises:
        ImportError: the extra ``serving`` is not installed.
    """
    try:
        from fastapi import FastAPI
    except ImportError:
        raise ImportError("nexus serve needs FastAPI; pip install 'nexus-ai[serving]'") from None

    @asynccontextmanager
    async def life(_app: FastAPI) -> AsyncIterator[None]:
        engine.start()
        tidying = asyncio.create_task(_tidy())
        yield
        tidying.cancel()
        await asyncio.gather(tidying, return_exceptions=True)
        await asyncio.to_thread(engine.close)
        if audit is not None:
            audit.close()
        if journal is not None:
            await asyncio.to_thread(journal.close)

    folder = engine.release.folder
    name = name or (folder.resolve().name if folder else "nexus")
    # no pages of documentation: they would load scripts from elsewhere
    app = FastAPI(title="Nexus", docs_url=None, redoc_url=None, lifespan=life)
    _add_errors(app)
    _add_status(app, engine, name)
    _add_text(app, engine, name, "/v1/chat/completions", read_chat)
    _add_text(app, engine, name, "/v1/completions", read_completion)
    add_embeddings(app, engine, name, _json)
    add_responses(app, engine, name, _json)
    add_dashboard(app)
    add_status(app, engine, name, journal)
    if journal is not None:
        add_memory(app, journal, _json, engine, weights)
    describe(app, engine.release, name)
    app.add_middleware(Guard, host=host, keys=keys, metrics=engine.metrics, limits=limits, audit=audit)
    return app


async def _tidy() -> None:
    """Give the heap's free pages back now and then, else they grow with every unusual mix of requests."""
    while True:
        await asyncio.sleep(TIDY)
        await asyncio.to_thread(trim_heap)


def _add_text(app: Any, engine: Engine, name: str, path: str, read: Reader) -> None:
    from fastapi import Request
    from fastapi.responses import JSONResponse, Response, StreamingResponse

    @app.post(path, response_model=None)
    async def text(request: Request) -> Response:
        # in a thread: what a schema stands for may take a while to work out
        asked = await asyncio.to_thread(read, engine.release, name, await _json(request), request.state.owner)
        pieces = await answer(engine, asked.ask, request.is_disconnected, request.state.spent)
        reply = Reply(read is read_chat, name, asked, engine.release.tokenizer)
        if asked.stream:
            return StreamingResponse(reply.events(pieces), media_type="text/event-stream", headers=STREAM)
        return JSONResponse(reply.whole(await wholes(pieces, asked.ask.choices)))


def _add_status(app: Any, engine: Engine, name: str) -> None:
    from fastapi.responses import JSONResponse, PlainTextResponse, Response

    model = {"id": name, "object": "model", "created": int(time.time()), "owned_by": "nexus"}

    @app.get("/livez", response_model=None)
    async def livez() -> Response:
        return JSONResponse({"live": True})

    @app.get("/readyz", response_model=None)
    async def readyz() -> Response:
        return JSONResponse({"ready": engine.ready}, 200 if engine.ready else 503)

    @app.get("/metrics", response_model=None, response_class=PlainTextResponse)
    async def metrics() -> Response:
        return Response(engine.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/v1/models", response_model=None)
    async def models() -> Response:
        return JSONResponse({"object": "list", "data": [model]})

    @app.get("/v1/models/{wanted}", response_model=None)
    async def one_model(wanted: str) -> Response:
        check_model(name, wanted)
        return JSONResponse(model)


def _add_errors(app: Any) -> None:
    from fastapi import Request
    from fastapi.responses import JSONResponse, Response
    from starlette.exceptions import HTTPException

    @app.exception_handler(ApiError)
    async def refused(_request: Request, error: ApiError) -> Response:
        return JSONResponse(error.body(), error.status, error.headers)

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        known = ", ".join(sorted({route.path for route in app.routes if route.path.startswith("/v1")}))
        message = f"{request.method} {request.url.path[:60]}: {error.detail}; this server has {known}"
        headers = {**(error.headers or {}), **_allowed(app, request)} if error.status_code == 405 else error.headers
        return JSONResponse(ApiError(error.status_code, message).body(), error.status_code, headers)

    @app.exception_handler(Exception)
    async def failed(_request: Request, _error: Exception) -> Response:
        return JSONResponse(ApiError(500, "the server failed; see its log", code="server_failed").body(), 500)


def _allowed(app: Any, request: Any) -> dict[str, str]:
    """The methods of every route at this path: the router names those of the first one only."""
    from starlette.routing import Match

    here = [route for route in app.routes if route.matches(request.scope)[0] is not Match.NONE]
    return {"Allow": ", ".join(sorted(set().union(*(route.methods or () for route in here))))}


async def _json(request: Any) -> dict[str, Any]:
    """The request's body, of bounded size and time."""
    from starlette.requests import ClientDisconnect

    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # other kinds are sent by web pages without asking first
        raise ApiError(415, f"Content-Type: {kind[:60]!r} is not read here; send application/json", "Content-Type")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > BODY:
                    raise ApiError(413, f"body: is larger than {BODY} bytes; send less", code="body_too_large")
    except TimeoutError:
        raise ApiError(408, f"body: did not come within {BODY_SECONDS} s; send it faster") from None
    except ClientDisconnect:  # not a failure of the server's: nothing to log
        raise ApiError(499, "body: the client went away before it was whole", code="cancelled") from None
    try:
        content = json.loads(body, parse_float=_number, parse_constant=_no_constant)
        json.dumps(content, ensure_ascii=False).encode()  # half a character, as in "\\ud800", is no text
    except (ValueError, RecursionError):
        raise ApiError(400, "body: is no JSON; send one JSON object", code="invalid_json") from None
    if not isinstance(content, dict):
        raise ApiError(400, f"body: is a {type(content).__name__}; send one JSON object", code="invalid_json")
    return content


def _number(text: str) -> float | int:
    """A number with a point or an exponent. 1.0 is a whole number in JSON Schema, and counts as one here."""
    value = float(text)
    return int(value) if value.is_integer() and abs(value) < EXACT else value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
