"""The `nexus` command: parses and calls, no logic."""

import argparse
import io
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

DEFAULT_RELEASE = "nexus-release-v1"
WEIGHTS = "nexus-weights"
STDIN = "-"
INT8 = "hold weights in eight bits: smaller, faster, a little worse; a certificate holds for one of the two"


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
    _add_gate(add)
    add("--owner", metavar="NAME", default="me", help="whose memory is asked (default: %(default)s)")
    add(
        "--weights", metavar="DIR", default=WEIGHTS, help="versions of weights, heard with --raw (default: %(default)s)"
    )
    chat.set_defaults(run=_chat)
    _add_serve(commands)
    _add_train(commands)
    _add_zoo(commands)
    doctors = _doctors(commands)
    _add_doctor_model(doctors)
    _add_doctor_run(doctors)
    _add_reason(commands)
    _add_cause(commands)
    _add_certify(commands)
    _add_memory(commands)
    _add_weights(commands)
    return made


def _add_zoo(commands: Any) -> None:
    zoo = commands.add_parser("zoo", help="the reference systems: their list, proofs, costs and speeds")
    actions = zoo.add_subparsers(title="actions", dest="action", required=True, metavar="ACTION")
    zoo.set_defaults(run=_zoo)
    section = {"metavar": "N", "type": int, "choices": range(1, 15), "help": "only this section of the documentation"}
    listed = actions.add_parser("list", help="the contents")
    listed.add_argument("--section", **section)
    listed.add_argument("--status", choices=("proved", "planned"), help="only those")
    verify = actions.add_parser("verify", help="prove systems anew and write their certificates")
    add = verify.add_argument
    add("names", metavar="NAME", nargs="*", help="a system's name, stem or title")
    add("--all", action="store_true", dest="everything", help="every system that has a proof")
    add("--section", **section)
    add("--stale", action="store_true", help="leave out what has a certificate for its present code")
    add("--seeds", metavar="N", type=int, default=3, help="how many (default: %(default)s)")
    card = actions.add_parser("card", help="what it costs and how well it is proved, as on its page")
    card.add_argument("name", metavar="NAME")
    card.add_argument("--at", metavar="SIZES", help="what it costs at other sizes, for instance d_model=4096,T=8192")
    cost = actions.add_parser("cost", help="count again what systems cost, beside their formulas")
    cost.add_argument("names", metavar="NAME", nargs="*", help="a system's name, stem or title")
    cost.add_argument("--all", action="store_true", dest="everything", help="every system that has a proof")
    cost.add_argument("--section", **section)
    for action, text in (
        ("show", "everything that is known of one system"),
        ("bench", "forward and backward beside its peers"),
        ("new", "lay out code, proof, test and page of a system that is still planned"),
    ):
        actions.add_parser(action, help=text).add_argument("name", metavar="NAME")


def _add_cause(commands: Any) -> None:
    cause = commands.add_parser("cause", help="what a treatment does to an outcome, from a CSV file")
    add = cause.add_argument
    add("data", metavar="DATA.csv", help="a table with a header line")
    add("--treatment", metavar="NAME", required=True, help="the column that is acted upon")
    add("--outcome", metavar="NAME", required=True, help="the column that may change")
    add("--graph", metavar="TEXT", help="the causes, if they are known: 'z -> t, z -> y, t -> y, a <-> b'")
    add("--method", metavar="NAME", default="auto", help="how a graph is sought (default: chosen by tests of the data)")
    add(
        "--estimator", metavar="NAME", default="auto", help="how the effect is estimated (default: as the graph allows)"
    )
    add("--hidden", action="store_true", help="allow for common causes that are not in the table")
    add("--tiers", metavar="A,B;C", help="what comes first: nothing causes what stands before it")
    add("--require", metavar="A->B", action="append", default=[], help="an edge that is known; may be repeated")
    add("--forbid", metavar="A->B", action="append", default=[], help="an edge that is ruled out; may be repeated")
    add(
        "--bootstrap",
        metavar="N",
        type=int,
        default=20,
        help="resamplings for each edge's share (default: %(default)s)",
    )
    add("--out", metavar="DIR", default="cause-report", help="where the pictures go (default: %(default)s)")
    add("--seed", metavar="N", type=int, default=0, help="of everything random (default: %(default)s)")
    cause.set_defaults(run=_cause)


def _add_certify(commands: Any) -> None:
    certify = commands.add_parser("certify", help="from which score on answers may be given, with a bound on the risk")
    add = certify.add_argument
    add("--data", metavar="FILE.jsonl", required=True, help="a line each: question and answer, or score and right")
    add("--alpha", metavar="P", type=float, default=0.05, help="risk allowed among answers (default: %(default)s)")
    add("--delta", metavar="P", type=float, default=0.05, help="how often that may fail (default: %(default)s)")
    add("--out", metavar="DIR", help="where it is written (default: the release's folder, else certificate)")
    add("--release", metavar="DIR", help="the release that is asked, or answered; the certificate is bound to it")
    add("--samples", metavar="K", type=int, default=0, help="answers drawn beside each: slower, hardly ever surer")
    add("--tokens", metavar="N", type=int, help="cut its answers off here (default: 32)")
    add("--memory", metavar="FILE", help="the journal it answered with; the certificate is bound to it")
    add("--prompt", metavar="TEXT", default="", help="how it was asked; the certificate is bound to it")
    add("--sampler", metavar="TEXT", default="", help="how tokens were chosen; the certificate is bound to it")
    add("--seed", metavar="N", type=int, default=0, help="of the split (default: %(default)s)")
    add("--int8", action="store_true", help=INT8)
    add("--weights", metavar="DIR", help="versions of weights; the certificate is bound to the one that speaks")
    add("--owner", metavar="NAME", default="me", help="whose version (default: %(default)s)")
    certify.set_defaults(run=_certify)


def _add_memory(commands: Any) -> None:
    memory = commands.add_parser(
        "memory", help="teach, ask, correct, forget, roll back: the journal of what was learnt"
    )
    actions = memory.add_subparsers(title="actions", dest="action", required=True, metavar="ACTION")
    memory.set_defaults(run=_memory)
    fact: dict[str, Any] = {"metavar": "FACT", "type": int, "help": "its number in the log"}
    version = {**fact, "metavar": "VERSION"}
    text = {"metavar": "TEXT", "help": "- reads it from stdin"}
    for action, words, arguments in (
        ("teach", "learn a text", {"text": text}),
        ("ask", "answer from what was taught, with its source", {"text": text}),
        ("correct", "put a text in another's place", {"fact": fact, "text": text}),
        ("forget", "erase a text for good", {"fact": fact}),
        ("erase", "erase what was forgotten while another process was reading", {}),
        ("feedback", "say whether an answer was right", {"verdict": {"choices": ("right", "wrong")}}),
        ("rollback", "go back to an earlier version", {"version": version}),
        ("facts", "what holds now", {}),
        ("log", "the history; * marks what holds", {}),
        ("diff", "what changed between two versions", {"old": version, "new": {**version, "nargs": "?"}}),
        ("export", "everything about an owner, as JSON", {}),
        ("verify", "check the chain and the facts", {}),
    ):
        made = actions.add_parser(action, help=words)
        for name, options in arguments.items():
            made.add_argument(name, **options)
        made.add_argument(
            "--file", metavar="FILE", default="nexus-memory.db", help="the journal (default: %(default)s)"
        )
        if action == "verify":
            made.add_argument("--head", metavar="HASH", help="a head noted earlier, which must still be there")
        if action in ("verify", "erase"):
            continue
        made.add_argument("--owner", metavar="NAME", default="me", help="whose memory (default: %(default)s)")
        if action == "forget":
            made.add_argument("--weights", metavar="DIR", default=WEIGHTS, help="versions that may have learnt it")
        if action == "teach":
            made.add_argument("--source", metavar="TEXT", default="", help="where it comes from")
        if action == "feedback":
            made.add_argument("--about", metavar="TEXT", default="", help="which answer")
        if action == "ask":
            made.add_argument("--margin", metavar="P", type=float, default=0.7, help="say nothing below this score")
            made.add_argument("--embedder", metavar="NAME", default="minilm", help="for other words than were taught: "
                              "minilm, none, or the folder of a release (default: %(default)s)")  # fmt: skip


def _add_weights(commands: Any) -> None:
    weights = commands.add_parser("weights", help="learn what was taught into weights, through gates; go back")
    actions = weights.add_subparsers(title="actions", dest="action", required=True, metavar="ACTION")
    weights.set_defaults(run=_weights)
    version = {"metavar": "VERSION", "help": "its name in the log; release for the release as it is"}
    for action, words in (
        ("consolidate", "train a version on what is new in the journal; it speaks if it passes every gate"),
        ("log", "all versions; * marks the one that speaks"),
        ("show", "what the gates measured of a version"),
        ("rollback", "let an earlier version speak (default: the one before)"),
        ("settle", "erase the versions that learnt what was forgotten since"),
    ):
        made = actions.add_parser(action, help=words)
        add = made.add_argument
        add("--owner", metavar="NAME", default="me", help="whose weights (default: %(default)s)")
        add("--weights", metavar="DIR", dest="folder", default=WEIGHTS, help="all versions (default: %(default)s)")
        if action in ("consolidate", "settle"):
            add("--file", metavar="FILE", default="nexus-memory.db", help="the journal (default: %(default)s)")
        if action in ("show", "rollback"):
            made.add_argument("version", nargs="?" if action == "rollback" else None, **version)
        if action == "consolidate":
            add("release", metavar="MODEL_DIR", nargs="?", default=DEFAULT_RELEASE, help="default: %(default)s")
            add("--steps", metavar="N", type=int, default=200, help="most training steps (default: %(default)s)")
            add("--seed", metavar="N", type=int, default=0, help="of everything random (default: %(default)s)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0 well, 2 something the user can put right, 130 Ctrl+C."""
    try:
        arguments = parser().parse_args(argv)
        return arguments.run(arguments)
    except (ValueError, OSError, ImportError) as error:
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

    from nexus.inference.release import load_release, open_release
    from nexus.inference.sampling import Sampling
    from nexus.serving.chat import answer_once, converse
    from nexus.serving.living_chat import LivingChat, open_chat
    from nexus.serving.session import ChatSession
    from nexus.serving.weights import OwnersWeights, plain

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without the letters of an answer is no reason to stop
    settings = {"temperature": arguments.temperature, "seed": arguments.seed, **_pairs(arguments.settings)}
    sampling = Sampling.from_dict(settings)
    torch.set_flush_denormal(True)  # strong decays would end in denormal numbers, which are slow
    opened = load_release if arguments.raw else open_release  # what memory or a proof answers needs no model
    release = opened(folder, int8=arguments.int8)
    asked = (release, arguments.system, sampling, arguments.max_new_tokens)
    owner = arguments.owner
    if arguments.raw:
        # versions were examined in full precision: on weights in eight bits none of them speaks
        there = not arguments.int8 and Path(arguments.weights).is_dir()
        choose = OwnersWeights(arguments.weights, release.hash, release) if there else plain
        chat: ChatSession | LivingChat = ChatSession(*asked, choose=choose, owner=owner)
    else:
        chat = open_chat(*asked, **_gate(arguments), owner=owner)
    return converse(chat) if prompt is None else answer_once(chat, prompt.strip())


def _add_gate(add: Any) -> None:
    add("--raw", action="store_true", help="let the model say whatever it likes: no proofs, no memory, no certificate")
    add("--memory", metavar="FILE", default="nexus-memory.db", help="what was taught (default: %(default)s)")
    add("--embedder", metavar="NAME", help="for other words than were taught: minilm, none, or the folder of a release "
        "(default: minilm where it can be had)")  # fmt: skip
    add("--adaptive", metavar="STEP", type=float, help="let feedback raise the certified threshold, in such steps")
    add("--int8", action="store_true", help=INT8)


def _gate(arguments: argparse.Namespace) -> dict[str, Any]:
    return {"memory": arguments.memory, "step": arguments.adaptive, "embedder": arguments.embedder}


def _add_serve(commands: Any) -> None:
    serve = commands.add_parser("serve", help="answer over HTTP as OpenAI's API does")
    add = serve.add_argument
    add("folder", metavar="MODEL_DIR", nargs="?", default=DEFAULT_RELEASE, help="a release (default: %(default)s)")
    add("--host", metavar="ADDRESS", default="127.0.0.1", help="others than loopback need a key (default: %(default)s)")
    add("--port", metavar="N", type=int, default=8000, help="0 takes any that is free (default: %(default)s)")
    add("--api-key-file", metavar="FILE", help="keys that are let in, one a line")
    add("--requests-per-minute", metavar="N", type=int, default=0, help="of each key (default: no limit)")
    add("--tokens-per-minute", metavar="N", type=int, default=0, help="of each key (default: no limit)")
    add("--cache-mib", metavar="N", type=int, default=512, help="for states of texts that were read (default: 512)")
    add("--audit", metavar="FILE", help="append a line for each request: who, when, what, tokens; never texts")
    _add_gate(add)
    add("--weights", metavar="DIR", default=WEIGHTS, help="versions of each owner's weights (default: %(default)s)")
    serve.set_defaults(run=_serve)


def _serve(arguments: argparse.Namespace) -> int:
    from nexus.serving.server import check_serving, check_versions, read_rules, serve

    keys = check_serving(arguments.host, arguments.port, arguments.api_key_file)
    if arguments.int8:
        check_versions(arguments.weights)
    rules = read_rules(arguments.requests_per_minute, arguments.tokens_per_minute, arguments.cache_mib, arguments.audit)
    folder = _release_folder(arguments.folder)

    import torch

    from nexus.inference.release import load_release
    from nexus.living.opening import open_living

    torch.set_flush_denormal(True)
    release = load_release(folder, int8=arguments.int8)
    living = None if arguments.raw else partial(open_living, release, **_gate(arguments))
    memory = None if arguments.raw else arguments.memory
    return serve(release, arguments.host, arguments.port, keys, rules, living, memory, arguments.weights)


def _zoo(arguments: argparse.Namespace) -> int:
    from nexus.zoo import commands

    options = _options(arguments, "action")
    action = "list_systems" if arguments.action == "list" else arguments.action
    return getattr(commands, action)(**options)


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


def _add_train(commands: Any) -> None:
    train = commands.add_parser("train", help="train a model as a TOML file says; run it again to go on after a stop")
    add = train.add_argument
    add("file", metavar="CONFIG.toml", help="model, data and training, see docs/tutorials/training.md")
    add("--out", metavar="DIR", default="runs/train", help="the run's folder (default: %(default)s)")
    add("--set", metavar="KEY=VALUE", action="append", default=[], dest="settings",
        help="another value for a setting, such as learning_rate=1e-4 or data.held_out=0.1")  # fmt: skip
    add("--plan", action="store_true", help="say what would run, and leave")
    train.set_defaults(run=_train)


def _doctors(commands: Any) -> Any:
    doctor = commands.add_parser("doctor", help="look for what is wrong")
    return doctor.add_subparsers(title="patients", dest="patient", required=True, metavar="PATIENT")


def _add_doctor_model(doctors: Any) -> None:
    model = doctors.add_parser("model", help="probe a model: outputs, gradients, causality, compilation, time")
    add = model.add_argument
    add(
        "folder", metavar="MODEL_DIR", nargs="?", help="a saved model or a release (default: a fresh one, see --preset)"
    )
    add("--preset", metavar="SIZE", default="tiny", help="tiny, small, base or large (default: %(default)s)")
    add("--length", metavar="N", type=int, default=32, help="tokens to probe with (default: %(default)s)")
    add("--no-compile", action="store_true", help="leave torch.compile out, which takes longest")
    add("--json", action="store_true", help="print what was found as JSON")
    model.set_defaults(run=_doctor_model)


def _doctor_model(arguments: argparse.Namespace) -> int:
    """Exit code 0 if all is well, 1 if the model is faulty."""
    if arguments.length < 8:
        raise _Wrong(f"--length: {arguments.length} is too short. cure: give 8 or more")
    from nexus.core.diagnosis import diagnose, load_model, preset

    model = load_model(arguments.folder) if arguments.folder else preset(arguments.preset)
    found = diagnose(model, arguments.length, not arguments.no_compile)
    print(found.to_json() if arguments.json else found)
    return 0 if found.good else 1


def _cause(arguments: argparse.Namespace) -> int:
    from nexus.causality.report import Question, report

    if arguments.bootstrap < 0:
        raise _Wrong(f"--bootstrap: {arguments.bootstrap} is negative. cure: give 0 or more")
    print(report(Question(**_options(arguments))))
    return 0


def _certify(arguments: argparse.Namespace) -> int:
    from nexus.living.certify import Request, run

    print(run(Request(**_options(arguments))))
    return 0


def _memory(arguments: argparse.Namespace) -> int:
    from nexus.living import memory_command
    from nexus.living.journal import Journal

    options = _options(arguments, "action", "file")
    weights = options.pop("weights", WEIGHTS)
    if options.get("text") == STDIN:
        options["text"] = sys.stdin.read()
    path = arguments.file if arguments.action == "teach" else memory_command.existing(arguments.file)
    with Journal(path) as journal:
        try:
            print(getattr(memory_command, arguments.action)(journal, **options))
        finally:  # also if the text could not be erased from the journal at once
            if arguments.action == "forget":
                from nexus.living.consolidate_command import after_forgetting

                print(after_forgetting(journal, options["owner"], weights), end="")
    return 0


def _weights(arguments: argparse.Namespace) -> int:
    from nexus.living import consolidate_command
    from nexus.training.control import Interrupted

    options = _options(arguments, "action")
    if "release" in options:
        options["release"] = str(_release_folder(options["release"]))
    try:
        print(getattr(consolidate_command, arguments.action)(**options))
    except Interrupted as stop:
        print(f"stopped ({stop.reason}), saved; the same command goes on from there", file=sys.stderr)
        return stop.exit_code
    return 0


def _add_doctor_run(doctors: Any) -> None:
    run = doctors.add_parser("run", help="diagnose a training run from its folder or log")
    add = run.add_argument
    add("path", metavar="DIR|LOG", help="what nexus train or an Auditor wrote, or another trainer's log")
    add("--json", action="store_true", help="print what was found as JSON")
    add("--page", metavar="FILE.html", help="write the curves to this file as well")
    add("--watch", action="store_true", help="keep looking at a run that goes on; Ctrl+C leaves")
    run.set_defaults(run=_doctor_run)
    mcp = doctors.add_parser("mcp", help="serve evidence and diagnosis to assistants over stdin and stdout (MCP)")
    mcp.add_argument("--root", metavar="DIR", default=".", help="only files below it are read (default: here)")
    mcp.set_defaults(run=_doctor_mcp)


def _train(arguments: argparse.Namespace) -> int:
    from nexus.training.command import run
    from nexus.training.control import Interrupted

    try:
        return run(arguments.file, arguments.out, arguments.settings, arguments.plan)
    except Interrupted as stop:
        print(
            f"stopped ({stop.reason}), saved in {arguments.out}; the same command goes on from there", file=sys.stderr
        )
        return stop.exit_code


def _doctor_run(arguments: argparse.Namespace) -> int:
    """Exit code 0 if all is well, 1 if something was found."""
    from nexus.training.audit.doctor import report
    from nexus.training.audit.live import watch

    if arguments.watch:
        watch(arguments.path)
        return 0
    return report(arguments.path, arguments.json, arguments.page)


def _doctor_mcp(arguments: argparse.Namespace) -> int:
    from nexus.training.audit.mcp import serve

    serve(arguments.root)
    return 0


def _options(arguments: argparse.Namespace, *others: str) -> dict[str, Any]:
    """What was asked of a command: all but the parser's own marks and ``others``."""
    return {key: value for key, value in vars(arguments).items() if key not in ("run", "command", *others)}


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
    """The message in one line; where a configuration has several faults, each on its own."""
    faults = getattr(error, "faults", [])
    return str(error) if len(faults) > 1 else " ".join(str(error).split())


if __name__ == "__main__":
    sys.exit(main())
