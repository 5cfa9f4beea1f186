"""A journal with a thread of its own, so that a commit to disk never holds up the answers.

The one idea: SQLite's connection is made, used and closed in one thread; others hand it work and wait for the result.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from nexus.living.journal import Journal

T = TypeVar("T")


class JournalThread:
    """Opens a journal, and makes it if it is not there.

    Raises:
        ValueError: the file is no journal.
        OSError: it cannot be made.
    """

    def __init__(self, path: str | Path) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="nexus-journal")
        try:
            self._journal = self._pool.submit(Journal, path).result()
        except BaseException:
            self._pool.shutdown()
            raise

    async def run(self, work: Callable[[Journal], T]) -> T:
        """What ``work`` makes of the journal. It is done even if nobody waits for it any more."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, self._journal)

    def close(self) -> None:
        """Finish what was begun, and close the file."""
        self._pool.submit(self._journal.close)
        self._pool.shutdown()
