"""From a request to the pieces of its answer: the one place where HTTP meets the model.

The one idea: whatever decides about an answer (the gate, proofs, memory) is asked in :func:`answer`, and nothing else
has to know.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from nexus.serving.batch import Ask, Piece
from nexus.serving.engine import Engine
from nexus.serving.errors import ApiError
from nexus.serving.limits import Spent
from nexus.serving.logprobs import Scored

Gone = Callable[[], Awaitable[bool]]
LOOK = 0.2  # seconds between two looks whether the client is still there


@dataclass(frozen=True)
class Whole:
    """A finished answer."""

    text: str
    tokens: int
    cached: int
    finish: str
    scores: tuple[Scored, ...] = ()
    nexus: dict[str, Any] | None = None


async def answer(engine: Engine, ask: Ask, gone: Gone, spent: Spent | None = None) -> AsyncIterator[Piece]:
    """The pieces of an answer: as they come, or behind a gate all at once after it was decided.

    Args:
        engine: what answers.
        ask: the request.
        gone: whether the client has gone away.
        spent: counts the tokens.

    Raises:
        ApiError: as :func:`follow` and :func:`whole`, before anything is sent.
    """
    if engine.desk is None:
        return follow(engine, ask, gone, spent)

    async def say(one: Ask) -> Piece:
        said = await whole(follow(engine, one, gone, spent))
        return Piece(said.text, said.tokens, said.cached, said.finish)

    piece = await engine.desk.decide(ask, say)
    if piece.nexus is not None:
        engine.metrics.decided(piece.nexus["channel"], piece.nexus["answered"])
    return _each(piece, ask.choices)


async def _each(piece: Piece, choices: int) -> AsyncIterator[Piece]:
    for choice in range(choices):
        yield replace(piece, choice=choice)


def follow(engine: Engine, ask: Ask, gone: Gone, spent: Spent | None = None) -> AsyncIterator[Piece]:
    """Queue a request now, and give the pieces of all its choices as they come, until the client is ``gone``.

    ``spent`` counts the tokens.

    Raises:
        ApiError: the queue is full, or the server is stopping: before anything is sent, so that it can be a status.
    """
    loop, pieces = asyncio.get_running_loop(), asyncio.Queue[Piece]()

    def emit(piece: Piece) -> None:
        loop.call_soon_threadsafe(pieces.put_nowait, piece)

    rows = engine.submit(ask, emit)
    spent = Spent() if spent is None else spent
    spent.prompt += len(ask.prompt)

    async def pieces_of() -> AsyncIterator[Piece]:
        looked, left = time.monotonic(), len(rows)
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
                    spent.answer += 1
                    yield piece
                    left -= bool(piece.finish)
                    if not left:
                        return
        finally:
            for row in rows:
                engine.cancel(row)

    return pieces_of()


async def wholes(pieces: AsyncIterator[Piece], choices: int) -> list[Whole]:
    """Wait for the last piece of every choice.

    Raises:
        ApiError: 500 if the model failed, 499 if the client went away.
    """
    got: list[list[Piece]] = [[] for _ in range(choices)]
    async for piece in pieces:
        if piece.finish == "error":
            raise ApiError(500, piece.text, code="model_failed")
        got[piece.choice].append(piece)
    if not all(parts and parts[-1].finish for parts in got):
        raise ApiError(499, "the client went away", code="cancelled")
    return [_joined(parts) for parts in got]


async def whole(pieces: AsyncIterator[Piece]) -> Whole:
    """:func:`wholes` of a request with one choice."""
    return (await wholes(pieces, 1))[0]


def _joined(parts: list[Piece]) -> Whole:
    last = parts[-1]
    scores = tuple(scored for part in parts for scored in part.scores)
    return Whole("".join(part.text for part in parts), last.tokens, last.cached, last.finish or "", scores, last.nexus)
