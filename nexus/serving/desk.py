"""Where every request passes the gate: the living service in a thread of its own, and the model asked on its behalf.

The one idea: as one thread owns the model, one thread owns journal, solver and gate; a request is decided there, and
goes to the model only if no checked channel answers and the certificate may let an answer out. Nothing is sent before
it was decided.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, ParamSpec, TypeVar

from nexus.inference.release import Release
from nexus.inference.sampling import GREEDY
from nexus.living.answers import Answer
from nexus.living.journal import OWNER
from nexus.living.living import Living
from nexus.living.own_words import Manner
from nexus.living.speaking import CHANCE
from nexus.living.trace import Trace
from nexus.serving.batch import Ask, Piece
from nexus.serving.weights import Choose, plain

P = ParamSpec("P")
T = TypeVar("T")
Say = Callable[[Ask], Awaitable[Piece]]  # the model's whole answer as one piece


class Desk:
    """Decides requests.

    Args:
        release: what speaks.
        make: opens the living service, in the thread that will use it.
        choose: the weights of an owner's request, as the engine's.

    Raises:
        what ``make`` raises.
    """

    def __init__(self, release: Release, make: Callable[[], Living], choose: Choose = plain) -> None:
        self.release, self._choose = release, choose
        self._thread = ThreadPoolExecutor(1, "nexus-living")
        try:
            self.living = self._thread.submit(make).result()
        except BaseException:
            self._thread.shutdown()
            raise

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do something with the living service, in its thread."""
        return await asyncio.wrap_future(self._thread.submit(work, *args, **kwargs))

    def close(self) -> None:
        """Close the journal and end the thread."""
        self._thread.submit(self.living.close).result()
        self._thread.shutdown()

    async def decide(self, ask: Ask, say: Say) -> Piece:
        """The answer or the refusal, with all that stands behind it; ``say`` asks the model."""
        owner, version = ask.owner or OWNER, await self._version(ask)
        manner = replace(manner_of(ask), version=version)
        found = None  # proofs and memory speak in words; where these are no answer, they are not asked
        if not ask.held:
            found = await self.run(self.living.look_up, owner, question_of(self.release, ask))
        found = found or await self.run(self.living.refused_unheard, manner)
        if found is not None:
            return _piece(found)
        own = self.living.own
        assert own is not None
        limit = min(own.score.tokens, ask.max_new_tokens)
        memory = await self.run(self.living.forgotten, owner)  # by whatever process: no state from before is used
        asks = [
            replace(ask, memory=memory, sampling=how, max_new_tokens=limit, trace=Trace(), choices=1, logprobs=None)
            for how in (GREEDY, *(CHANCE.replace(seed=seed) for seed in range(own.score.samples)))
        ]
        first, *drawn = await _all(say, asks)
        traces = [one.trace or Trace() for one in asks]
        samples = [(piece.text.strip(), sum(t.logprobs)) for piece, t in zip(drawn, traces[1:], strict=True)]
        said = traces[0].said(first.text.strip(), first.finish == "stop", samples)
        if await self._version(ask) != version:  # promoted meanwhile: nobody knows which one spoke
            manner = replace(manner, special=True)
        found = await self.run(self.living.judge, owner, said, manner)
        return _piece(found, first.tokens, first.cached, first.finish if found.answered else "stop")

    async def _version(self, ask: Ask) -> str:
        return (await asyncio.to_thread(self._choose, ask.owner, ask.prompt)).version


def question_of(release: Release, ask: Ask) -> str:
    """What is asked: the last message if it is the user's, or the whole text where there are no messages."""
    if not ask.messages:
        return release.tokenizer.decode(ask.prompt)
    last = ask.messages[-1]
    return last["content"] if last["role"] == "user" else ""


def manner_of(ask: Ask) -> Manner:
    """How it is asked; whatever a request may say that is not known here counts as another manner."""
    first = ask.messages[0] if ask.messages else None
    told = first is not None and first["role"] == "system"
    known: dict[str, Any] = {
        "sampling": GREEDY,
        "stop": (),
        "owner": "",
        "messages": (),
        "trace": None,
        "choices": 1,
        "logprobs": None,
    }
    wishes = replace(ask, prompt=[], max_new_tokens=1, **known)
    return Manner(
        system=first["content"] if first is not None and told else "",
        turns=len(ask.messages) - told,
        sampling=ask.sampling,
        tokens=ask.max_new_tokens,
        stop=ask.stop,
        special=wishes != Ask(prompt=[], max_new_tokens=1),
    )


async def _all(say: Say, asks: Sequence[Ask]) -> list[Piece]:
    """The answers to all; when one fails the others are given up."""
    tasks = [asyncio.ensure_future(say(ask)) for ask in asks]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _piece(found: Answer, tokens: int = 0, cached: int = 0, finish: str | None = "stop") -> Piece:
    return Piece(found.text, tokens, cached, finish, nexus=found.to_dict())
