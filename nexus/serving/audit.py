"""Who asked for what and when: one line of JSON a request, in a file that only its owner reads.

The one idea: enough to bill and to notice misuse, and nothing that was said. A key is written as the beginning of its
digest, an unknown address as `other`.
"""

import json
import logging
import os
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from pathlib import Path

from nexus.serving.limits import Spent

WHO = 12  # letters of a key's digest


class Audit:
    """Appends to a file; it may be moved away at any time (logrotate), a new one is then begun.

    Raises:
        ValueError: the file cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        try:
            os.close(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600))
            self._file = WatchedFileHandler(path, encoding="utf-8")
        except OSError as error:
            raise ValueError(f"--audit: {path} cannot be written ({error.strerror}); name another file") from None

    def note(self, who: str | None, method: str, route: str, status: int, seconds: float, spent: Spent) -> None:
        """Write one line; ``who`` is the digest of a key, empty where no key is needed, None for no valid one."""
        line = {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "who": "unknown" if who is None else who[:WHO] or "local",
            "method": method,
            "route": route,
            "status": status,
            "seconds": round(seconds, 3),
            "prompt_tokens": spent.prompt,
            "answer_tokens": spent.answer,
        }
        self._file.handle(logging.makeLogRecord({"msg": json.dumps(line)}))

    def close(self) -> None:
        """Close the file."""
        self._file.close()
