"""How much each key may ask for in a minute.

The one idea: a bucket a key, filled evenly. Requests are taken out before they are served; tokens are known only
afterwards, so they may leave a debt, and who is in debt waits until it is paid.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from nexus.serving.errors import ApiError

MINUTE = 60.0


@dataclass
class Spent:
    """Tokens of one request: those read, and those written so far."""

    prompt: int = 0
    answer: int = 0


class Limits:
    """Buckets of requests and tokens for each owner.

    Args:
        requests, tokens: a minute; 0 for no limit.
        clock: seconds that never go back.

    Raises:
        ValueError: a limit below 0.
    """

    def __init__(self, requests: int = 0, tokens: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        for option, value in (("--requests-per-minute", requests), ("--tokens-per-minute", tokens)):
            if value < 0:
                raise ValueError(f"{option}: {value} is below 0; give a number, or 0 for no limit")
        self._rates, self._clock = {"requests": requests, "tokens": tokens}, clock
        self._buckets: dict[tuple[str, str], tuple[float, float]] = {}  # (what, owner) to (level, when)

    def admit(self, owner: str) -> None:
        """Take one request out of the owner's bucket.

        Raises:
            ApiError: 429 with Retry-After if there is none, or if the owner's tokens are used up.
        """
        for kind, least in (("tokens", 0.0), ("requests", 1.0)):
            rate = self._rates[kind]
            level = self._level(kind, owner)
            if rate and (level < least or level == 0):
                raise self._refusal(kind, max(least, 1.0) - level)
        self._take("requests", owner, 1)

    def charge(self, owner: str, spent: Spent) -> None:
        """Take what a request has spent out of the owner's bucket of tokens."""
        self._take("tokens", owner, spent.prompt + spent.answer)

    def _level(self, kind: str, owner: str) -> float:
        rate, now = self._rates[kind], self._clock()
        level, then = self._buckets.get((kind, owner), (float(rate), now))
        return min(rate, level + (now - then) * rate / MINUTE)

    def _take(self, kind: str, owner: str, number: int) -> None:
        if self._rates[kind]:
            self._buckets[kind, owner] = (self._level(kind, owner) - number, self._clock())

    def _refusal(self, kind: str, lacking: float) -> ApiError:
        rate = self._rates[kind]
        after = max(1, round(lacking * MINUTE / rate + 0.5))
        message = f"{kind}: {rate} a minute are allowed; try again in {after} s"
        return ApiError(429, message, code=f"{kind}_per_minute", headers={"Retry-After": str(after)})
