"""What the mind says: prompts of any kind in, answers of the same kind out.

The one idea: a text and a row of ids differ only at the edges; between them there is one kind of prompt (lists of ids),
and :mod:`nexus.inference.generation` answers it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from nexus.core.state_space import HybridLM
from nexus.inference.generation import TokenStream, generate, stream
from nexus.inference.sampling import GREEDY, Sampling
from nexus.inference.text import Detokenizer, TextTokenizer

Prompt = str | Tensor | Sequence[str] | Sequence[int] | Sequence[Sequence[int]]


@dataclass(frozen=True)
class Request:
    """How to answer: how long, by which chance, and where to stop."""

    max_new_tokens: int
    sampling: Sampling
    eos_ids: tuple[int, ...] = ()
    stop: tuple[str, ...] = ()
    tokenizer: TextTokenizer | None = None
    keep: bool = False  # go on from the state that an earlier answer left, and leave one

    def words(self) -> TextTokenizer:
        """The tokenizer; a ValueError says how to attach one."""
        if self.tokenizer is None:
            raise ValueError("tokenizer: there is none, so texts cannot be read; set model.tokenizer, or pass ids")
        return self.tokenizer

    def stopper(self) -> Callable[[list[int]], bool] | None:
        """Whether an answer holds a stop string."""
        if not self.stop:
            return None
        words = self.words()
        return lambda answer: _first(words.decode(answer), self.stop) is not None


def as_tokenizer(tokenizer: Any) -> TextTokenizer | None:
    """What was attached to a model, as the project's tokenizer.

    Raises:
        ValueError: it is neither a `tokenizers.Tokenizer` nor a :class:`TextTokenizer`.
    """
    from tokenizers import Tokenizer

    if tokenizer is None or isinstance(tokenizer, TextTokenizer):
        return tokenizer
    if isinstance(tokenizer, Tokenizer):
        return TextTokenizer(tokenizer)
    raise ValueError(
        f"tokenizer: is a {type(tokenizer).__name__}; give a tokenizers.Tokenizer or a "
        "nexus.inference.text.TextTokenizer"
    )


def sampling_of(do_sample: bool, **limits: Any) -> Sampling:
    """The rules of chance; without ``do_sample`` they are checked all the same, and only the penalty has an effect."""
    sampling = Sampling(**limits)
    if do_sample:
        return sampling
    return GREEDY.replace(repetition_penalty=sampling.repetition_penalty)


def answer(model: HybridLM, prompt: Prompt, request: Request) -> Any:
    """Answer a prompt, or each of a batch of prompts: str to str, list to list, tensor (B, T) to tensor (B, new).

    Rows of a tensor that end early are filled up with the id that ended them.
    """
    if isinstance(prompt, str):
        return _texts(model, [prompt], request)[0]
    if isinstance(prompt, Tensor):
        rows = _ids(model, _rows_of(prompt), request)
        longest = max(map(len, rows))
        full = torch.tensor([row + row[-1:] * (longest - len(row)) for row in rows], device=prompt.device)
        return full if prompt.dim() == 2 else full[0]
    prompts: list[Any] = list(prompt)
    if not prompts:
        raise ValueError("prompt: is empty; give a text, ids, or a list of either")
    if all(isinstance(one, str) for one in prompts):
        return _texts(model, prompts, request)
    if all(isinstance(one, int) for one in prompts):
        return _ids(model, [prompts], request)[0]
    return _ids(model, [list(one) for one in prompts], request)


def pieces(model: HybridLM, prompt: Prompt, request: Request) -> Iterator[Any]:
    """The answer to one prompt as it comes: pieces of text for a text, ids for ids.

    Text that may be the beginning of a stop string is held back until it is known not to be.
    """
    if isinstance(prompt, str):
        return _Pieces(model, request.words().encode(prompt), request)
    rows = _rows_of(prompt) if isinstance(prompt, Tensor) else [prompt]
    if len(rows) != 1 or not all(isinstance(one, int) for one in rows[0]):
        raise ValueError("prompt: only one at a time can be streamed; pass a text or one row of ids")
    return _start(model, list(rows[0]), request)  # type: ignore[arg-type]


def _rows_of(prompt: Tensor) -> list[list[int]]:
    if prompt.dim() not in (1, 2) or prompt.is_floating_point() or not prompt.numel():
        raise ValueError(
            f"prompt: Expected ids with 1 or 2 dimensions, got {tuple(prompt.shape)} of {prompt.dtype}; "
            "pass (batch, length) of torch.long"
        )
    return prompt.tolist() if prompt.dim() == 2 else [prompt.tolist()]


def _texts(model: HybridLM, prompts: list[str], request: Request) -> list[str]:
    words = request.words()
    answers = _ids(model, [words.encode(prompt) for prompt in prompts], request)
    return [_until(words.decode(ids), request.stop) for ids in answers]


def _ids(model: HybridLM, prompts: list[list[int]], request: Request) -> list[list[int]]:
    if len(prompts) == 1:
        return [list(_start(model, prompts[0], request))]
    return generate(
        model, prompts, max_new_tokens=request.max_new_tokens, eos_ids=request.eos_ids, sampling=request.sampling,
        stop=request.stopper(),
    )  # fmt: skip


@dataclass
class _Running(Iterator[int]):
    """One answer under way, and the text whose state it leaves behind."""

    model: HybridLM
    prompt: list[int]
    tokens: TokenStream
    keep: bool

    def __next__(self) -> int:
        try:
            return next(self.tokens)
        except StopIteration:
            self.leave()
            raise

    def leave(self) -> None:
        """Keep the state for a prompt that goes on from here."""
        if self.keep:
            read = [*self.prompt, *self.tokens.tokens]
            read = read[: len(read) - len(self.tokens.unread)]
            self.model.backbone.kept = (tuple(read), self.tokens.state)


def _start(model: HybridLM, prompt: list[int], request: Request) -> _Running:
    """Begin to answer; where states are kept and the prompt goes on from a text read before, only the rest is read."""
    kept, model.backbone.kept = model.backbone.kept, None  # a state is used up by whoever goes on from it
    rest, state = prompt, None
    keep = request.keep and request.sampling.repetition_penalty == 1  # the penalty has to know the whole prompt
    if keep and kept is not None and len(kept[0]) < len(prompt) and tuple(prompt[: len(kept[0])]) == kept[0]:
        rest, state = prompt[len(kept[0]) :], kept[1]
    tokens = stream(
        model, rest, max_new_tokens=request.max_new_tokens, eos_ids=request.eos_ids, sampling=request.sampling,
        state=state, stop=request.stopper(),
    )  # fmt: skip
    return _Running(model, prompt, tokens, keep)


@dataclass
class _Pieces(Iterator[str]):
    """Pieces of text out of ids, cut off before a stop string."""

    model: HybridLM
    prompt: list[int]
    request: Request
    held: str = ""
    done: bool = False
    running: _Running = field(init=False)
    detokenizer: Detokenizer = field(init=False)

    def __post_init__(self) -> None:
        self.running = _start(self.model, self.prompt, self.request)
        self.detokenizer = Detokenizer(self.request.words())

    def __next__(self) -> str:
        while not self.done:
            token = next(self.running, None)
            self.done = token is None
            self.held += self.detokenizer.finish() if token is None else self.detokenizer.feed(token)
            end = _first(self.held, self.request.stop)
            if end is not None:
                self.done = True
                self.running.leave()
            free = len(self.held) if self.done else len(self.held) - _overhang(self.held, self.request.stop)
            piece, self.held = self.held[: free if end is None else end], self.held[free:]
            if piece:
                return piece
        raise StopIteration


def _first(text: str, stops: Sequence[str]) -> int | None:
    """Where the first stop string begins."""
    found = [place for stop in stops if (place := text.find(stop)) >= 0]
    return min(found, default=None)


def _until(text: str, stops: Sequence[str]) -> str:
    end = _first(text, stops)
    return text if end is None else text[:end]


def _overhang(text: str, stops: Sequence[str]) -> int:
    """How many last characters may be the beginning of a stop string."""
    sizes = (n for stop in stops for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n]))
    return max(sizes, default=0)
