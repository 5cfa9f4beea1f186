"""The thread that runs the model, and the door to it.

The one idea: one thread owns batch and model; others put requests in and get pieces through callbacks, so nothing of
PyTorch is shared. The queue is bounded: who comes too late is told when to come again.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from nexus.inference.release import Release
from nexus.serving.batch import Ask, Batch, Piece, Row
from nexus.serving.desk import Desk
from nexus.serving.errors import ApiError
from nexus.serving.metrics import Metrics
from nexus.serving.weights import Choose
from nexus.serving.work import Steps, Work

LOG = logging.getLogger("nexus.serving")
LOOK = 0.1  # seconds between two looks whether the engine runs at all
Emit = Callable[[Piece], None]
T = TypeVar("T")


class Engine:
    """Runs a :class:`Batch` in a thread of its own.

    Args:
        release: what answers.
        rows: answers under way at once.
        queue: requests that may wait beyond these.
        cache_bytes: budget of the prefix cache; 0 turns it off.
        desk: decides what of it is let out; everything is if None. It is closed with the engine.
    """

    def __init__(
        self,
        release: Release,
        rows: int = 16,
        queue: int = 64,
        cache_bytes: int = 512 * 2**20,
        desk: Desk | None = None,
    ) -> None:
        self.release, self.metrics, self.desk = release, Metrics(), desk
        self._batch = Batch(release, rows, cache_bytes)
        self.metrics.watch("prefix_cache_states", "States in the prefix cache", lambda: len(self._batch.cache))
        self._most, self._rows = rows + queue, rows
        self._open: set[Row] = set()
        self._inbox: list[Row] = []
        self._works: deque[Work[Any]] = deque()
        self._forgets: deque[tuple[str, threading.Event]] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._seconds = 1.0  # a running mean of what an answer takes
        self._thread = threading.Thread(target=self._run, name="nexus-engine", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def follow(self, choose: Choose) -> None:
        """Ask ``choose`` for the weights of each request as it begins, such as OwnersWeights; before :meth:`start`.

        What is promoted later is found by it, so nothing has to be told to the engine and no request is lost.
        """
        self._batch.choose = choose

    @property
    def ready(self) -> bool:
        """Whether requests are taken."""
        return self._thread.is_alive() and not self._closing

    def close(self, seconds: float = 30.0) -> None:
        """Take no more requests, finish those that are open, and stop; those left after ``seconds`` are dropped."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join(seconds)
        for row in list(self._open):
            self.cancel(row)
        for work in list(self._works):
            work.drop()
        if self._thread.is_alive():
            self._thread.join(seconds)
        if self.desk is not None:
            self.desk.close()

    def submit(self, ask: Ask, emit: Emit) -> list[Row]:
        """Queue a request, one row for each choice; ``emit`` is called from the engine's thread.

        Raises:
            ApiError: 503 when closing, 429 when the queue is full.
        """
        rows = [self._batch.row(ask, emit, choice) for choice in range(ask.choices)]
        for row in rows:
            row.emit = self._observed(row, emit)
        with self._wake:
            self._admit(len(rows))
            self._open.update(rows)
            self._inbox.extend(rows)
            self._wake.notify()
        return rows

    def run(self, steps: Steps[T]) -> Work[T]:
        """Queue other work for the model; one step of it is done between two steps of the batch.

        Raises:
            ApiError: as :meth:`submit`.
        """
        with self._wake:
            self._admit(1)
            work = Work(steps)
            self._works.append(work)
            self._wake.notify()
        return work

    def forget(self, owner: str) -> None:
        """Drop all states of an owner, and return when they are gone: before the next step, however full the queue."""
        gone = threading.Event()
        with self._wake:
            self._forgets.append((owner, gone))
            self._wake.notify()
        while not gone.wait(LOOK):
            if not self._thread.is_alive():
                self._forget()

    def _admit(self, number: int) -> None:
        if not self.ready:
            raise ApiError(503, "the server is stopping; ask again later", code="stopping")
        if len(self._open) + len(self._works) + number > self._most:
            self.metrics.refused.inc()
            raise self._full()

    def cancel(self, row: Row) -> None:
        """Stop a request, if it has not ended."""
        with self._wake:
            if row in self._open:
                self._open.discard(row)
                row.cancelled = True
                self.metrics.cancelled.inc()
                self._wake.notify()

    def _full(self) -> ApiError:
        number = len(self._open) + len(self._works)
        after = max(1, round(self._seconds * (number - self._rows + 1) / self._rows))
        message = f"{number} requests are open, which is all this server takes; try again in {after} s"
        return ApiError(429, message, code="queue_full", headers={"Retry-After": str(after)})

    def _observed(self, row: Row, emit: Emit) -> Emit:
        """``emit`` with counting, and with an end to a row whose reader is gone."""
        began, metrics = time.monotonic(), self.metrics

        def observed(piece: Piece) -> None:
            took = time.monotonic() - began
            if piece.finish != "error":
                metrics.answer_tokens.inc()
            if piece.tokens == 1:
                metrics.first.observe(took)
            if piece.finish:
                metrics.whole.observe(took)
                metrics.prompt_tokens.inc(len(row.ask.prompt))
                metrics.cached_tokens.inc(row.cached)
                self._seconds += 0.1 * (took - self._seconds)
                with self._wake:
                    self._open.discard(row)
            try:
                emit(piece)
            except RuntimeError:  # the reader's event loop is closed
                self.cancel(row)

        return observed

    def _run(self) -> None:
        while True:
            with self._wake:
                while not (self._inbox or self._works or self._forgets or self._batch.busy or self._closing):
                    self._wake.wait()
                self._batch.waiting.extend(self._inbox)
                self._inbox.clear()
            self._forget()
            if self._closing and not (self._batch.busy or self._works):
                return
            if self._works and self._works[0].step():
                self._works.popleft()
            if self._batch.busy:
                self._step()

    def _forget(self) -> None:
        while self._forgets:
            owner, gone = self._forgets.popleft()
            self._batch.forget(owner)
            gone.set()

    def _step(self) -> None:
        batch, metrics = self._batch, self.metrics
        try:
            batch.step()
        except Exception as error:  # whatever it is: those who wait must hear of it, and the next ones be served
            LOG.exception("a step of the model failed")
            metrics.failed.inc(len(self._open))
            batch.fail(f"the model failed ({type(error).__name__}); see the server's log")
        metrics.running.set(len(batch.running) + len(batch.reading))
        metrics.waiting.set(len(batch.waiting))
        metrics.cache_bytes.set(batch.cache.nbytes)
