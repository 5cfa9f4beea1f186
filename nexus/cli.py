"""The `nexus` command: parses and calls, no logic."""

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

DEFAULT_RELEASE = "nexus-release-v1"
STDIN = "-"


class _Wrong(ValueError):
    """A command line that cannot be carried out: one line with the cure."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _Wrong(f"command line: {message}. cure: see {self.prog} --help")


def parser() -> argparse.ArgumentParser:
    """The command line's options."""
    made = _Parser(prog="nexus", description="Live with what Nexus has distilled.")
    commands = made.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")
    chat = commands.add_parser("chat", help="talk to a release in the terminal, or ask it one thing with -p")
    add = chat.add_argument
    add("folder", metavar="MODEL_DIR", nargs="?", default=DEFAULT_RELEASE, help="a release (default: %(default)s)")
    add("-p", "--prompt", metavar="TEXT", help="print the answer to this and leave; - reads the prompt from stdin")
    add("--system", metavar="TEXT", help="what the model is told first (default: the release's own)")
    add("--max-new-tokens", metavar="N", type=int, default=512, help="cut answers off here (default: %(default)s)")
    add("--temperature", metavar="T", type=float, default=0.0, help="0 is greedy and repeatable (default: %(default)s)")
    add("--seed", metavar="N", type=int, help="makes answers with a temperature repeatable")
    add("--set", metavar="KEY=VALUE", action="append", default=[], dest="settings",
        help="top_k, top_p, min_p or repetition_penalty; may be repeated")  # fmt: skip
    chat.set_defaults(run=_chat)
    _add_reason(commands)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0 well, 2 something the user can put right, 130 Ctrl+C."""
    try:
        arguments = parser().parse_args(argv)
        return arguments.run(arguments)
    except (ValueError, OSError) as error:
        if isinstance(error, BrokenPipeError):  # the reader of our output has had enough
            from nexus.serving.chat import forget_stdout

            forget_stdout()
            return 0
        print(f"error: {_one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _chat(arguments: argparse.Namespace) -> int:
    folder = _release_folder(arguments.folder)
    if arguments.max_new_tokens < 1:
        raise _Wrong(f"--max-new-tokens: {arguments.max_new_tokens} is not positive. cure: ask for at least one")
    prompt = sys.stdin.read() if arguments.prompt == STDIN else arguments.prompt
    if prompt is not None and not prompt.strip():
        raise _Wrong("--prompt: is empty. cure: say something")

    import torch  # loaded only once the command line is known to be good

    from nexus.inference.release import load_release
    from nexus.inference.sampling import Sampling
    from nexus.serving.chat import answer_once, converse
    from nexus.serving.session import ChatSession

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without the letters of an answer is no reason to stop
    settings = {"temperature": arguments.temperature, "seed": arguments.seed, **_pairs(arguments.settings)}
    sampling = Sampling.from_dict(settings)
    torch.set_flush_denormal(True)  # strong decays would end in denormal numbers, which are slow
    chat = ChatSession(load_release(folder), arguments.system, sampling, arguments.max_new_tokens)
    return converse(chat) if prompt is None else answer_once(chat, prompt.strip())


def _add_reason(commands: Any) -> None:
    from nexus.reasoning.english import FORMS

    reason = commands.add_parser("reason", help="answer a question in controlled English, with a proof", epilog=FORMS,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    add = reason.add_argument
    add("text", metavar="TEXT", help="sentences and a question; - reads them from stdin")
    add("--json", action="store_true", help="print answer, formulas and proof as JSON")
    add("--plot", metavar="FILE", type=Path, help="draw the proof into this picture")
    add("--seconds", metavar="N", type=float, default=20.0, help="give up after this time (default: %(default)s)")
    reason.set_defaults(run=_reason)


def _reason(arguments: argparse.Namespace) -> int:
    text = sys.stdin.read() if arguments.text == STDIN else arguments.text
    if arguments.plot is not None and not arguments.plot.absolute().parent.is_dir():
        raise _Wrong(f"--plot: there is no folder {arguments.plot.parent}. cure: make it first")

    from nexus.reasoning.reasoner import Reasoner

    answers = Reasoner(seconds=arguments.seconds).ask_all(text)
    for answer in answers:
        print(answer.to_json() if arguments.json else answer)
    if arguments.plot is not None:
        answers[-1].draw(arguments.plot)
    return 0


def _release_folder(name: str) -> Path:
    """The folder; the default one is also looked for in the project, so that the command works from anywhere."""
    found = Path(name)
    if name == DEFAULT_RELEASE and not found.is_dir():
        found = Path(__file__).resolve().parents[1] / name
    if found.is_dir():
        return found
    cure = "run ./run_nexus_master.sh, which makes one" if name == DEFAULT_RELEASE else "give the folder of a release"
    raise _Wrong(f"MODEL_DIR: there is no release at {name}. cure: {cure}")


def _pairs(settings: Sequence[str]) -> dict[str, Any]:
    pairs = {}
    for setting in settings:
        key, _, value = setting.partition("=")
        try:
            pairs[key] = float(value) if "." in value or "e" in value else int(value)
        except ValueError:
            raise _Wrong(f"--set: {setting!r} is not KEY=NUMBER. cure: for example --set top_k=40") from None
    return pairs


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


if __name__ == "__main__":
    sys.exit(main())
