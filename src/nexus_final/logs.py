"""The run's log: everything of `nexus` and `nexus_final` goes to `logs/train.log`, warnings to the terminal too."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path

from rich.console import Console

_LOGGERS = ("nexus", "nexus_final")
_BYTES, _FILES = 5 << 20, 5  # each file at most 5 MiB, and five old ones kept
_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


class _FileHandler(RotatingFileHandler):
    """A log that says once that it can't be written (a full disk) instead of throwing a traceback at every line."""

    def __init__(self, path: Path, console: Console) -> None:
        super().__init__(path, maxBytes=_BYTES, backupCount=_FILES, encoding="utf-8")
        self._console, self._said = console, False

    def handleError(self, record: logging.LogRecord) -> None:
        if not self._said:
            self._said = True
            self._console.print(f"warning: {self.baseFilename} can't be written", markup=False, soft_wrap=True)


class _ConsoleHandler(logging.Handler):
    """Print warnings above a running progress bar, one line each and without a traceback."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        line = re.sub(r"\s*\n\s*", " ", record.getMessage())
        self._console.print(f"{record.levelname.lower()}: {line}", markup=False, highlight=False, soft_wrap=True)


@contextmanager
def run_log(path: Path, console: Console) -> Iterator[logging.Logger]:
    """Append to the rotating log at `path` for the length of the block; yields the pipeline's logger."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = _FileHandler(path, console)
    file.setFormatter(logging.Formatter(_FORMAT))
    handlers: list[logging.Handler] = [file, _ConsoleHandler(console)]
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        if not logger.isEnabledFor(logging.INFO):  # DEBUG, if the user set it, stays
            logger.setLevel(logging.INFO)
        for handler in handlers:
            logger.addHandler(handler)
    try:
        yield logging.getLogger("nexus_final")
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
            for handler in handlers:
                logger.removeHandler(handler)
        file.close()
