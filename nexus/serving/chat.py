"""`nexus chat`: a conversation in the terminal, or one answer for a pipe.

The one idea: Ctrl+C belongs to the answer, Ctrl+D to the program. Answers go to stdout and everything else to
stderr, so that a pipe carries answers only.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Generator

from nexus.inference.sampling import GREEDY, Sampling
from nexus.serving.session import ChatSession

INTERRUPTED = 130  # what shells expect of a program that Ctrl+C ended
HELP = "/exit or Ctrl+D leaves · /reset forgets · /retry answers again · Ctrl+C stops an answer"
LIVELY = {"temperature": 0.7, "top_p": 0.95}  # for /retry after a greedy answer, which would come out the same


def answer_once(chat: ChatSession, prompt: str) -> int:
    """Print the answer to one prompt, and nothing else; returns the exit code."""
    return 0 if _print(chat.say(prompt)) else INTERRUPTED


def converse(chat: ChatSession) -> int:
    """Talk until Ctrl+D, ``/exit`` or the end of the input; returns the exit code."""
    at_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if at_terminal:
        _tell(HELP)
    while True:
        try:
            line = _read_line(at_terminal)
        except EOFError:
            if at_terminal:
                _tell("")
            return 0
        except KeyboardInterrupt:  # while typing: as in a shell, the line is dropped
            _tell(f"\n{HELP}")
            continue
        if line == "/exit":
            return 0
        if line:
            _obey(chat, line)


def _obey(chat: ChatSession, line: str) -> None:
    commands: dict[str, Callable[[], None]] = {
        "/reset": lambda: _reset(chat),
        "/retry": lambda: _respond(chat.retry(_other_than_greedy(chat.sampling))),
        "/help": lambda: _tell(HELP),
    }
    if line.startswith("/") and line not in commands:
        _tell(f"{line}: unknown command; {HELP}")
        return
    commands.get(line, lambda: _respond(chat.say(line)))()


def _respond(pieces: Generator[str, None, None]) -> None:
    try:
        if not _print(pieces):
            _tell("[stopped]")
    except ValueError as error:  # no room left, nothing to retry: said, and the conversation goes on
        _tell(f"error: {error}")


def _other_than_greedy(sampling: Sampling | None) -> Sampling:
    sampling = sampling or GREEDY
    return sampling if sampling.temperature else sampling.replace(**LIVELY)


def _reset(chat: ChatSession) -> None:
    chat.reset()
    _tell("forgotten")


def _print(pieces: Generator[str, None, None]) -> bool:
    """Print as the pieces come; False if Ctrl+C stopped them."""
    whole = True
    try:
        for piece in pieces:
            sys.stdout.write(piece)
            sys.stdout.flush()
    except KeyboardInterrupt:
        whole = False
    finally:
        pieces.close()  # now, so that what was said so far is part of the conversation
    sys.stdout.write("\n")
    sys.stdout.flush()
    return whole


def _read_line(at_terminal: bool) -> str:
    if at_terminal:
        with contextlib.suppress(ImportError):  # not everywhere; gives input() a history and editing keys
            import readline  # noqa: F401

        return input("> ").strip()
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.strip()


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def forget_stdout() -> None:
    """Let the interpreter close without complaint after the reader of our pipe has gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
