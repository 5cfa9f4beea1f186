"""States of texts that were read before, so that a prompt's known beginning is not read again.

The one idea: a state stands for exactly the ids that it has read, so it serves every prompt that begins with them. The
state of a recurrent model cannot be cut back, so where two prompts part, a state of their common beginning is made too
(`Found.branch`): the third prompt profits. Branch points as in Marconi, Pan et al. 2024 (arXiv:2411.19379).

A linear search over at most some hundred texts, each compared in one vector operation, is quicker than one step of a
model; a tree would be more to get wrong.
"""

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nexus.core.lm_state import LMState
from nexus.serving.rows import compact

Ids = NDArray[np.int32]


@dataclass(frozen=True)
class Scope:
    """Whose state it is and what made it; states of one scope are never found from another.

    Attributes:
        owner: who asked.
        weights: version of the weights that read the ids.
        memory: the owner's last event of forgetting, 0 if there is none.
    """

    owner: str = ""
    weights: str = ""
    memory: int = 0


LEAST = 16  # ids: what is shorter is read again as quickly as it is copied


@dataclass(frozen=True)
class Found:
    """What the cache knows of a prompt.

    Attributes:
        length: how many of the prompt's first ids ``state`` has read; 0 if there is no state.
        state: an independent copy, or None.
        branch: where the prompt parts from a text that was read before, if that is worth a state of its own; else 0.
    """

    length: int = 0
    state: LMState | None = None
    branch: int = 0


@dataclass(frozen=True)
class _Entry:
    ids: Ids
    state: LMState
    nbytes: int


class PrefixCache:
    """States by scope and ids, the least recently used dropped first.

    Args:
        budget: bytes that all states together may take; 0 keeps none.

    Attributes:
        nbytes: bytes taken now.
    """

    def __init__(self, budget: int) -> None:
        self.budget, self.nbytes = budget, 0
        self._entries: OrderedDict[tuple[Scope, bytes], _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, scope: Scope, prompt: list[int]) -> Found:
        """The longest known beginning of ``prompt``, at least one id of which is left over to be read."""
        wanted = np.asarray(prompt, dtype=np.int32)
        best, branch = None, 0
        for key, entry in self._entries.items():
            if key[0] != scope:
                continue
            shared = _common(entry.ids, wanted)
            branch = max(branch, min(shared, len(prompt) - 1))
            whole = shared == len(entry.ids) < len(prompt)
            if whole and (best is None or shared > len(self._entries[best].ids)):
                best = key
        length = 0 if best is None else len(self._entries[best].ids)
        branch = branch if branch >= length + LEAST else 0
        if best is None:
            return Found(branch=branch)
        self._entries.move_to_end(best)
        return Found(length, self._entries[best].state.fork(), branch)

    def put(self, scope: Scope, ids: list[int], state: LMState) -> None:
        """Keep a copy of the state of one row that has read ``ids``, if it is worth it and fits the budget."""
        if len(ids) < LEAST or not self.budget:
            return
        known = np.asarray(ids, dtype=np.int32)
        key = (scope, known.tobytes())
        if key in self._entries:
            self._entries.move_to_end(key)
            return
        entry = _entry(key[1], state)
        if entry.nbytes > self.budget:
            return
        self._entries[key] = entry
        self.nbytes += entry.nbytes
        while self.nbytes > self.budget:
            self.nbytes -= self._entries.popitem(last=False)[1].nbytes

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self.nbytes = 0

    def drop(self, owner: str) -> None:
        """Forget an owner's states, any of which may hold what was erased from memory or from weights."""
        for key in [key for key in self._entries if key[0].owner == owner]:
            self.nbytes -= self._entries.pop(key).nbytes


def _entry(ids: bytes, state: LMState) -> _Entry:
    """``ids`` are those of the key, which are not copied."""
    kept = compact(state)
    return _Entry(np.frombuffer(ids, dtype=np.int32), kept, kept.nbytes() + len(ids))


def _common(one: Ids, other: Ids) -> int:
    """How many first ids two rows share."""
    n = min(len(one), len(other))
    differ = one[:n] != other[:n]
    return int(differ.argmax()) if differ.any() else n
