"""`nexus chat`: a conversation in the terminal, or one answer for a pipe.

The one idea: Ctrl+C belongs to the answer, Ctrl+D to the program. Answers go to stdout and everything else to
stderr, so that a pipe carries answers only.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Generator

from nexus.inference.sampling import GREEDY, Sampling
from nexus.serving.living_chat import LivingChat
from nexus.serving.session import ChatSession

Chat = ChatSession | LivingChat
INTERRUPTED = 130  # what shells expect of a program that Ctrl+C ended
HELP = "/exit or Ctrl+D leaves · /reset forgets · /retry answers again · Ctrl+C stops an answer"
GATED_HELP = "/exit or Ctrl+D leaves · /right and /wrong tell me about my last answer · Ctrl+C stops an answer"
LIVELY = {"temperature": 0.7, "top_p": 0.95}  # for /retry after a greedy answer, which would come out the same


def answer_once(chat: Chat, prompt: str) -> int:
    """Print the answer to one prompt, and nothing else; returns the exit code."""
    return 0 if _print(chat.say(prompt)) else INTERRUPTED


def converse(chat: Chat) -> int:
    """Talk until Ctrl+D, ``/exit`` or the end of the input; returns the exit code."""
    at_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if at_terminal:
        _tell(_help(chat))
    while True:
        try:
            line = _read_line(at_terminal)
        except EOFError:
            if at_terminal:
                _tell("")
            return 0
        except KeyboardInterrupt:  # while typing: as in a shell, the line is dropped
            _tell(f"\n{_help(chat)}")
            continue
        if line == "/exit":
            return 0
        if line:
            _obey(chat, line)


def _obey(chat: Chat, line: str) -> None:
    commands = _commands(chat)
    if line.startswith("/") and line not in commands:
        _tell(f"{line}: unknown command; {_help(chat)}")
        return
    commands.get(line, lambda: _respond(chat.say(line)))()
    if isinstance(chat, LivingChat) and line not in commands and (behind := chat.behind()):
        _tell(behind)


def _commands(chat: Chat) -> dict[str, Callable[[], None]]:
    if isinstance(chat, LivingChat):
        return {
            "/right": lambda: _note(chat, True),
            "/wrong": lambda: _note(chat, False),
            "/help": lambda: _tell(GATED_HELP),
        }
    return {
        "/reset": lambda: _reset(chat),
        "/retry": lambda: _respond(chat.retry(_other_than_greedy(chat.sampling))),
        "/help": lambda: _tell(HELP),
    }


def _help(chat: Chat) -> str:
    return GATED_HELP if isinstance(chat, LivingChat) else HELP


def _note(chat: LivingChat, right: bool) -> None:
    try:
        _tell(chat.feedback(right))
    except ValueError as error:
        _tell(f"error: {error}")


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
