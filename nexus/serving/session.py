"""A chat that remembers: the model's state is kept between turns, so nothing is read twice.

The one idea: what the state has read is known as text, so a turn feeds only what the template adds to it. Where a
template rewrites what was said before, the whole chat is read again: slower, never wrong.
"""

from collections.abc import Generator
from dataclasses import dataclass, replace

from nexus.core.state_space import LMState
from nexus.inference.generation import TokenStream, stream
from nexus.inference.release import Release
from nexus.inference.sampling import Sampling
from nexus.inference.text import Detokenizer
from nexus.living.versions import PLAIN
from nexus.serving.weights import PLAIN_WEIGHTS, Choose, plain
from nexus.training.adapters import RowAdapters


@dataclass(frozen=True)
class _Memory:
    """A model's state with the text that it and the ids still unread stand for, ``length`` tokens in all.

    ``version`` is that of the weights which read them.
    """

    state: LMState
    version: str = PLAIN
    text: str = ""
    unread: tuple[int, ...] = ()
    length: int = 0

    def fork(self) -> "_Memory":
        return replace(self, state=self.state.fork())


class ChatSession:
    """One conversation with a release.

    Args:
        release: model, tokenizer and defaults.
        system: what the model is told first; the release's own if None.
        sampling: how tokens are chosen; greedy if None.
        max_new_tokens: length at which an answer is cut off.
        choose, owner: the weights of a turn, such as :class:`nexus.serving.weights.OwnersWeights`, and whose they are.

    Attributes:
        messages: the conversation so far, as the template sees it.

    ::

        chat = ChatSession(load_release("nexus-release-v1"))
        for piece in chat.say("What is the capital of France?"):
            print(piece, end="", flush=True)
    """

    def __init__(
        self,
        release: Release,
        system: str | None = None,
        sampling: Sampling | None = None,
        max_new_tokens: int = 512,
        choose: Choose = plain,
        owner: str = "",
    ) -> None:
        self._choose, self._owner, self._rows = choose, owner, RowAdapters(release.model)
        self.release, self.sampling, self.max_new_tokens = release, sampling, max_new_tokens
        self.system = release.generation.system if system is None else system
        self.messages: list[dict[str, str]] = []
        self.reset()

    def reset(self) -> None:
        """Forget the conversation."""
        self.messages = [{"role": "system", "content": self.system}] if self.system else []
        self._memory = self._blank()
        self._before: _Memory | None = None  # the last turn
        self._weights = PLAIN_WEIGHTS  # what speaks in it

    def say(self, text: str) -> Generator[str, None, None]:
        """Take a turn, and yield the answer piece by piece; nothing happens before the first piece is asked for.

        Whoever stops reading, by an exception or by closing the iterator, leaves a conversation in which the answer
        ends there.

        Raises:
            ValueError: no room is left in the model's context, or the template refuses the conversation; the turn is
                then not taken.
        """
        before = self._memory.fork()
        self.messages.append({"role": "user", "content": text})
        try:
            answer = self._answer(self._memory, self.sampling)
        except ValueError:
            self.messages.pop()
            raise
        self._before = before
        yield from self._pieces(answer)

    def retry(self, sampling: Sampling | None = None) -> Generator[str, None, None]:
        """Take the last answer back and give another, by ``sampling`` if given, else as the first time.

        Raises:
            ValueError: nothing was said yet.
        """
        if self._before is None:
            raise ValueError("retry: nothing was said yet; say something first")
        self.messages.pop()
        yield from self._pieces(self._answer(self._before.fork(), sampling or self.sampling))

    def _blank(self) -> _Memory:
        return _Memory(self.release.model.init_state(1))

    def _answer(self, memory: _Memory, sampling: Sampling | None) -> TokenStream:
        """Start the answer to the conversation, of which ``memory`` holds a part."""
        full = self.release.tokenizer.render(self.messages)
        self._weights = self._choose(self._owner, self.release.tokenizer.encode(full))
        if not full.startswith(memory.text) or memory.version != self._weights.version:
            memory = self._blank()
        unread = (*memory.unread, *self.release.tokenizer.encode(full[len(memory.text) :]))
        length = memory.length - len(memory.unread) + len(unread)
        most = self.release.model.config.max_seq_length
        if length >= most:
            raise ValueError(f"conversation: {length} tokens fill the model's {most}; say less, or start anew")
        answer = stream(
            self.release.model,
            unread,
            max_new_tokens=min(self.max_new_tokens, most - length),
            eos_ids=self.release.generation.eos_ids,
            sampling=sampling,
            state=memory.state,
        )
        self._memory = _Memory(memory.state, self._weights.version, full, unread, length)
        return answer

    def _pieces(self, answer: TokenStream) -> Generator[str, None, None]:
        text = Detokenizer(self.release.tokenizer)
        try:
            with self._rows.using(self._weights.adapter):
                yield from filter(None, map(text.feed, answer))
            if rest := text.finish():
                yield rest
        finally:
            self._take_in(answer)

    def _take_in(self, answer: TokenStream) -> None:
        """Make the answer, however far it came, part of the conversation."""
        decode = self.release.tokenizer.decode
        said = self._memory.text + decode(answer.tokens, skip_special=False)
        length = self._memory.length + len(answer.tokens)
        self._memory = _Memory(answer.state, self._weights.version, said, tuple(answer.unread), length)
        self.messages.append({"role": "assistant", "content": decode(answer.tokens)})
