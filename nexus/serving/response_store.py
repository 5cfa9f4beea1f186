"""Responses that clients may refer to later, in memory and within bounds.

The one idea: nothing that was said is written to disk, so what is kept is kept for a while: the oldest go first, all go
with the server, and a client that refers to one that is gone is told to send the conversation itself. They are kept as
the bytes of their JSON, so that what is counted is what is taken: as objects they would take several times as much.
"""

import json
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from nexus.serving.errors import ApiError
from nexus.serving.response_input import Chat

NUMBER, BYTES = 1_024, 32 * 2**20  # at most, of all owners together


@dataclass(frozen=True)
class Stored:
    """A reply as it was sent, and the conversation up to it."""

    body: dict[str, Any]
    messages: Chat


class ResponseStore:
    """Replies by owner and id, the oldest dropped first.

    Args:
        number, nbytes: bounds.

    Attributes:
        nbytes: taken now.
    """

    def __init__(self, number: int = NUMBER, nbytes: int = BYTES) -> None:
        self._number, self._most, self.nbytes = number, nbytes, 0
        self._kept: OrderedDict[tuple[str, str], bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, owner: str, body: dict[str, Any], messages: Chat) -> None:
        """Keep a reply."""
        kept = self._kept[owner, body["id"]] = json.dumps([body, messages], ensure_ascii=False).encode()
        self.nbytes += len(kept)
        while self._kept and (len(self._kept) > self._number or self.nbytes > self._most):
            self.nbytes -= len(self._kept.popitem(last=False)[1])

    def get(self, owner: str, ident: str, field: str) -> Stored:
        """A reply of this owner.

        Raises:
            ApiError: 404; ``field`` is where the client named it.
        """
        if (owner, ident) not in self._kept:
            message = (
                f"{field}: {ident[:60]!r} is not known here: replies are kept in memory, the last {self._number} at "
                "most and never over a restart; send the whole conversation as input"
            )
            raise ApiError(404, message, field, "response_not_found")
        return Stored(*json.loads(self._kept[owner, ident]))

    def drop(self, owner: str, ident: str) -> None:
        """Forget a reply; raises as :meth:`get`."""
        self.get(owner, ident, "response_id")
        self.nbytes -= len(self._kept.pop((owner, ident)))
