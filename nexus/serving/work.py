"""Work for the model that is no answer, in steps between those of the batch.

The one idea: the work is a generator. What it does between two yields is one step, so that answers under way never wait
long, and what it returns is the result, which other threads wait for.
"""

import logging
from collections.abc import Generator
from concurrent.futures import Future
from typing import Generic, TypeVar

import torch

from nexus.serving.errors import ApiError

LOG = logging.getLogger("nexus.serving")
T = TypeVar("T")
Steps = Generator[None, None, T]


class Work(Generic[T]):
    """Steps with a result to come.

    Attributes:
        result: what the steps return, once they are done; ApiError if they failed or were dropped.
    """

    def __init__(self, steps: Steps[T]) -> None:
        self.result: Future[T] = Future()
        self.result.set_running_or_notify_cancel()  # from now on, only the model's thread ends it
        self._steps, self._dropped = steps, False

    def drop(self) -> None:
        """Nobody waits any more: the next step ends the work."""
        self._dropped = True

    @torch.inference_mode()
    def step(self) -> bool:
        """Do one step in the model's thread; True if it was the last."""
        if self._dropped:
            self.result.set_exception(ApiError(503, "the server dropped this work; ask again", code="cancelled"))
            return True
        try:
            next(self._steps)
        except StopIteration as end:
            self.result.set_result(end.value)
            return True
        except Exception as error:  # whatever it is: who waits must hear of it, and the next ones be served
            LOG.exception("a step of the model failed")
            message = f"the model failed ({type(error).__name__}); see the server's log"
            self.result.set_exception(ApiError(500, message, code="model_failed"))
            return True
        return False
