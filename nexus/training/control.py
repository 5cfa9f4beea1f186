"""Stopping, pausing and checkpointing a long run from outside, by signals or by a control file.

The one idea: handlers only set flags. The run looks at them where it is safe (after a step, a layer, a batch), saves,
and leaves by itself, so that no signal ever lands in the middle of a write or of somebody else's library.

    with RunControl() as control:
        for batch in batches:
            step(batch)
            control.safe_point(save)        # saves if asked to, and leaves here if asked to
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, Self

LOG = logging.getLogger("nexus.control")
CONTROL_WORDS = ("pause", "checkpoint", "stop")
_SLICE = 0.2  # seconds: how soon a sleeping run notices a request


class Interrupted(BaseException):
    """The run leaves because it was asked to, after saving. Carries the exit code for the shell.

    Like KeyboardInterrupt it is not an `Exception`: a broad `except Exception` in a stage must not swallow it.
    """

    def __init__(self, reason: str, exit_code: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.exit_code = exit_code


class RunControl:
    """Turn signals and a control file into flags that a run polls.

    SIGINT stops after the step (exit 130); a second one leaves now, by KeyboardInterrupt; a third ends the process.
    SIGTERM stops likewise (exit 143). SIGUSR1 pauses: save and leave with exit 0. SIGUSR2 asks for a checkpoint.
    The control file does the same where such signals can't be sent: one word, `pause`, `checkpoint` or `stop`.

    Handlers are installed in the main thread only, on entering the `with` block, and the old ones come back on
    leaving it; in another thread the control file alone is heard.
    """

    def __init__(self, control_file: Path | str | None = None, announce: bool = False) -> None:
        """`announce`: acknowledge the first Ctrl+C on stderr, so that nobody presses it twice for want of an answer."""
        self.announce = announce
        self.control_file = Path(control_file) if control_file is not None else None
        self._stop: tuple[str, int] | None = None
        self._checkpoint = False
        self._interrupts = 0
        self._old: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._drop_old_word()
        if threading.current_thread() is threading.main_thread():
            for number, handler in self._handlers().items():
                self._old[number] = signal.signal(number, handler)
        return self

    def __exit__(self, *_: object) -> None:
        while self._old:
            number, handler = self._old.popitem()
            # None means "not installed from Python"; there is nothing to give back then but the default
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _handlers(self) -> dict[int, Callable[[int, FrameType | None], None]]:
        found = {"SIGINT": self._on_interrupt, "SIGTERM": self._on_term}
        found |= {"SIGUSR1": self._on_pause, "SIGUSR2": self._on_checkpoint}
        return {getattr(signal, name): handler for name, handler in found.items() if hasattr(signal, name)}

    def _on_interrupt(self, number: int, frame: FrameType | None) -> None:
        self._interrupts += 1
        if self._interrupts == 2:
            raise KeyboardInterrupt("second Ctrl+C")
        if self._interrupts > 2:
            os._exit(130)  # unwinding hangs somewhere; every file and the state survive this
        self.request_stop("Ctrl+C", 130)
        if self.announce:  # unbuffered: print() could have been interrupted itself
            with contextlib.suppress(OSError):
                os.write(2, b"\nCtrl+C: finishing this step and saving; once more leaves now\n")

    def _on_term(self, number: int, frame: FrameType | None) -> None:
        self.request_stop("SIGTERM", 143)

    def _on_pause(self, number: int, frame: FrameType | None) -> None:
        self.request_stop("pause", 0)

    def _on_checkpoint(self, number: int, frame: FrameType | None) -> None:
        self._checkpoint = True

    def request_stop(self, reason: str, exit_code: int) -> None:
        """Ask the run to save and leave at its next safe point. The first reason given wins."""
        if self._stop is None:
            self._stop = (reason, exit_code)

    @property
    def stop_requested(self) -> bool:
        """Whether the run should save and call `raise_stop` now."""
        self._poll_file()
        return self._stop is not None

    @property
    def checkpoint_requested(self) -> bool:
        """Whether a checkpoint was asked for and not yet taken."""
        self._poll_file()
        return self._checkpoint

    def take_checkpoint_request(self) -> bool:
        """Like `checkpoint_requested`, and forget the request."""
        wanted, self._checkpoint = self.checkpoint_requested, False
        return wanted

    def safe_point(self, save: Callable[[], object]) -> None:
        """Between two steps: `save()` if a checkpoint or a stop was asked for, then leave if it was a stop."""
        if self.stop_requested:
            save()
            self.raise_stop()
        if self.take_checkpoint_request():
            save()

    def check(self) -> None:
        """Raise `Interrupted` if the run should stop; for places where nothing needs saving."""
        if self.stop_requested:
            self.raise_stop()

    def raise_stop(self) -> NoReturn:
        """Leave the run with the reason that was given. Call it after saving."""
        reason, exit_code = self._stop or ("stop", 130)
        raise Interrupted(reason, exit_code)

    def wait(self, seconds: float) -> bool:
        """Sleep, but wake up early when a stop is asked for; tell whether it was."""
        end = time.monotonic() + seconds
        while not self.stop_requested:
            left = end - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(_SLICE, left))
        return True

    def _drop_old_word(self) -> None:
        if self.control_file is not None and self.control_file.exists():
            LOG.warning("%s was left over from an earlier run: removed", self.control_file)
            self.control_file.unlink(missing_ok=True)

    def _poll_file(self) -> None:
        if self.control_file is None or not self.control_file.exists():
            return
        word = self.control_file.read_text(encoding="utf-8", errors="replace").strip().lower()
        if not word:
            return  # its writer is between opening and writing
        self.control_file.unlink(missing_ok=True)
        if word == "pause":
            self.request_stop("pause", 0)
        elif word == "stop":
            self.request_stop("stop", 130)
        elif word == "checkpoint":
            self._checkpoint = True
        else:
            LOG.warning("%s said %r; it knows %s", self.control_file, word, ", ".join(CONTROL_WORDS))
