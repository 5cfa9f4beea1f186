"""Texts as vectors: `/v1/embeddings`.

The one idea: the mean of a text's hidden states after the last norm, made a unit vector, is what a language model that
was trained for nothing else can say about whole texts. A model made for it is better: give one as ``embed``.
"""

import asyncio
import base64
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray

from nexus.core.state_space import HybridLM
from nexus.inference.release import Release
from nexus.serving.answering import LOOK
from nexus.serving.batch import PART
from nexus.serving.engine import Engine
from nexus.serving.errors import ApiError, wrong
from nexus.serving.fields import Fields
from nexus.serving.requests import check_model
from nexus.serving.work import Steps

TEXTS = 256  # most texts a request
TOKENS = 65_536  # most tokens of all its texts

Vectors = NDArray[np.floating[Any]]
ReadJson = Callable[[Any], Awaitable[dict[str, Any]]]
Embed = Callable[[Sequence[str]], Vectors]  # n texts to (n, d); called in a thread of its own


@dataclass(frozen=True)
class Asked:
    """A checked request; ``ids`` are those of each text."""

    texts: list[str]
    ids: list[list[int]]
    base64: bool
    width: int | None

    @property
    def tokens(self) -> int:
        """Of all texts."""
        return sum(map(len, self.ids))


def add_embeddings(app: Any, engine: Engine, name: str, read_json: ReadJson, embed: Embed | None = None) -> None:
    """Add the route.

    Args:
        app: the application.
        engine: runs the student.
        name: of the model.
        read_json: takes the body off a request.
        embed: makes the vectors; the student's own hidden states if None.
    """
    from fastapi import Request
    from fastapi.responses import JSONResponse, Response

    @app.post("/v1/embeddings", response_model=None)
    async def embeddings(request: Request) -> Response:
        asked = read_request(engine.release, name, await read_json(request))
        if embed is None:
            vectors = await _own(engine, asked, request.is_disconnected)
        else:
            vectors = await asyncio.to_thread(embed, asked.texts)
        if asked.width not in (None, vectors.shape[1]):
            cure = f"leave it out, or give {vectors.shape[1]}"
            raise wrong("dimensions", asked.width, "is not what this model gives", cure)
        request.state.spent.prompt += asked.tokens
        engine.metrics.prompt_tokens.inc(asked.tokens)
        return JSONResponse(_reply(name, asked, vectors))


def read_request(release: Release, name: str, body: dict[str, Any]) -> Asked:
    """A request, checked.

    Raises:
        ApiError: 400 for a field that is wrong or not supported, 404 for another model.
    """
    fields = Fields(body)
    check_model(name, fields.text("model"))
    texts, ids = _inputs(release, fields.take("input"))
    kind = fields.take("encoding_format", "float")
    if kind not in ("float", "base64"):
        raise fields.wrong("encoding_format", kind, "is unknown", "give float or base64")
    width = fields.whole("dimensions", 1, 2**20)
    fields.labels("user")
    fields.finish()
    return Asked(texts, ids, kind == "base64", width)


def embed_ids(model: HybridLM, rows: Sequence[Sequence[int]]) -> Steps[Vectors]:
    """Unit vectors (n, d_model) of texts given as ids, a part of one text a step."""
    means = []
    for ids in rows:
        state, total = model.init_state(1), torch.zeros(model.config.d_model, dtype=torch.float64)
        for start in range(0, len(ids), PART):
            part = torch.tensor([ids[start : start + PART]], device=model.device)
            hidden, after = model.backbone(model.embed(part), state)
            assert after is not None
            state, total = after, total + hidden[0].double().sum(0).cpu()
            yield
        means.append((total / total.norm().clamp(min=1e-12)).float().numpy())
    return np.stack(means)


async def _own(engine: Engine, asked: Asked, gone: Callable[[], Awaitable[bool]]) -> Vectors:
    """What the student makes of the texts; the work is dropped when the client is ``gone``."""
    work = engine.run(embed_ids(engine.release.model, asked.ids))
    waiting = asyncio.wrap_future(work.result)
    while not (await asyncio.wait([waiting], timeout=LOOK))[0]:
        if await gone():
            work.drop()
    return await waiting


def _inputs(release: Release, value: object) -> tuple[list[str], list[list[int]]]:
    """Each text, and its ids."""
    given: list[Any] = value if isinstance(value, list) and not _is_ids(value) else [value]
    if not given or len(given) > TEXTS or not all(isinstance(text, str) or _is_ids(text) for text in given):
        cure = f"give a string, a list of token ids, or a list of at most {TEXTS} of these"
        raise wrong("input", value, "is no text", cure)
    tokenizer, config = release.tokenizer, release.model.config
    ids = [tokenizer.encode(text, special=True) if isinstance(text, str) else list(text) for text in given]
    for i, row in enumerate(ids):
        if not row or not all(0 <= token < tokenizer.vocab_size for token in row):
            cure = f"give at least one token, ids below {tokenizer.vocab_size}"
            raise wrong(f"input[{i}]", given[i], "is empty, or holds an unknown id", cure)
        if len(row) > config.max_seq_length or sum(map(len, ids)) > TOKENS:
            message = f"input[{i}]: {len(row)} tokens, {config.max_seq_length} a text and {TOKENS} in all; give less"
            raise ApiError(400, message, "input", "context_length_exceeded")
    texts = [text if isinstance(text, str) else tokenizer.decode(text) for text in given]
    return texts, ids


def _is_ids(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and bool(value) and all(type(token) is int for token in value)


def _reply(name: str, asked: Asked, vectors: Vectors) -> dict[str, Any]:
    rows = vectors.astype("<f4")
    shown = [base64.b64encode(row.tobytes()).decode() if asked.base64 else row.tolist() for row in rows]
    data = [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(shown)]
    usage = {"prompt_tokens": asked.tokens, "total_tokens": asked.tokens}
    return {"object": "list", "data": data, "model": name, "usage": usage}
