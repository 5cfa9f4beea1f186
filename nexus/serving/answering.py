"""From a request to the pieces of its answer: the one place where HTTP meets the model.

The one idea: whatever decides about an answer (the gate, proofs, memory) is asked in :func:`answer`, and nothing else
has to know.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from nexus.serving.batch import Ask, Piece
from nexus.serving.engine import Engine
from nexus.serving.errors import ApiError

Gone = Callable[[], Awaitable[bool]]
LOOK = 0.2  # seconds between two looks whether the client is still there


@dataclass(frozen=True)
class Whole:
    """A finished answer."""

    text: str
    tokens: int
    cached: int
    finish: str
    nexus: dict[str, Any] | None = None


async def answer(engine: Engine, ask: Ask, gone: Gone) -> AsyncIterator[Piece]:
    """The pieces of an answer: as they come, or behind a gate all at once after it was decided.

    Raises:
        ApiError: as :func:`follow` and :func:`whole`, before anything is sent.
    """
    if engine.desk is None:
        return follow(engine, ask, gone)

    async def say(one: Ask) -> Piece:
        said = await whole(follow(engine, one, gone))
        return Piece(said.text, said.tokens, said.cached, said.finish)

    piece = await engine.desk.decide(ask, say)
    if piece.nexus is not None:
        engine.metrics.decided(piece.nexus["channel"], piece.nexus["answered"])
    return _once(piece)


async def _once(piece: Piece) -> AsyncIterator[Piece]:
    yield piece


def follow(engine: Engine, ask: Ask, gone: Gone) -> AsyncIterator[Piece]:
    """Queue a request now, and give its pieces as they come; it is cancelled when the client is ``gone``.

    Raises:
        ApiError: the queue is full, or the server is stopping: before anything is sent, so that it can be a status.
    """
    loop, pieces = asyncio.get_running_loop(), asyncio.Queue[Piece]()

    def emit(piece: Piece) -> None:
        loop.call_soon_threadsafe(pieces.put_nowait, piece)

    row = engine.submit(ask, emit)

    async def pieces_of() -> AsyncIterator[Piece]:
        looked = time.monotonic()
        try:
            while True:
                try:
                    piece = await asyncio.wait_for(pieces.get(), LOOK)
                except TimeoutError:
                    piece = None
                if time.monotonic() - looked > LOOK:
                    looked = time.monotonic()
                    if await gone():
                        return
                if piece is not None:
                    yield piece
                    if piece.finish:
                        return
        finally:
            engine.cancel(row)

    return pieces_of()


async def whole(pieces: AsyncIterator[Piece]) -> Whole:
    """Wait for the last piece.

    Raises:
        ApiError: 500 if the model failed, 499 if the client went away.
    """
    texts = []
    async for piece in pieces:
        if piece.finish == "error":
            raise ApiError(500, piece.text, code="model_failed")
        texts.append(piece.text)
        if piece.finish:
            return Whole("".join(texts), piece.tokens, piece.cached, piece.finish, piece.nexus)
    raise ApiError(499, "the client went away", code="cancelled")
