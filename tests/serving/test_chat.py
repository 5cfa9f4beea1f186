"""`nexus chat`: one-shot in pipes, conversations, Ctrl+C on a real process, errors of one line."""

import contextlib
import io
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nexus import cli
from nexus.inference.generation import generate
from nexus.inference.release import load_release
from nexus.serving.chat import HELP
from nexus.serving.session import ChatSession
from tests.tiny_release import never_end, tiny_model, write_release

ROOT = Path(__file__).resolve().parents[2]
ENDLESS = str(10**9)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(write_release(tmp_path_factory.mktemp("release")))


@pytest.fixture(scope="module")
def endless(tmp_path_factory):
    """A release whose greedy answers never end."""
    model = never_end(tiny_model(max_seq_length=10**9, tie_embeddings=False))
    return str(write_release(tmp_path_factory.mktemp("endless"), model))


def answer_to(folder, prompt, tokens, *before):
    release = load_release(folder)
    ids = release.tokenizer.chat_ids([*before, {"role": "user", "content": prompt}])
    (answer,) = generate(release.model, [ids], max_new_tokens=tokens, eos_ids=release.generation.eos_ids)
    return release.tokenizer.decode(answer)


def chat(*arguments, typed=None, monkeypatch=None):
    if typed is not None:
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    return cli.main(["chat", "--raw", *arguments])


def test_one_shot_prints_the_answer_and_nothing_else(folder, capsys):
    assert chat(folder, "-p", "Hello", "--max-new-tokens", "9") == 0
    assert capsys.readouterr() == (answer_to(folder, "Hello", 9) + "\n", "")


def test_one_shot_reads_the_prompt_from_a_pipe(folder, capsys, monkeypatch):
    assert chat(folder, "-p", "-", "--max-new-tokens", "9", typed="Hello\n", monkeypatch=monkeypatch) == 0
    assert capsys.readouterr() == (answer_to(folder, "Hello", 9) + "\n", "")


def test_a_system_message_goes_first(folder, capsys):
    assert chat(folder, "-p", "Hello", "--max-new-tokens", "9", "--system", "Be kind.") == 0
    expected = answer_to(folder, "Hello", 9, {"role": "system", "content": "Be kind."})
    assert capsys.readouterr().out == expected + "\n"


def test_sampling_is_repeatable_by_its_seed(folder, capsys):
    def sampled(*more):
        assert chat(folder, "-p", "Hello", "--max-new-tokens", "9", "--temperature", "2", *more) == 0
        return capsys.readouterr().out

    assert sampled("--seed", "1") == sampled("--seed", "1") != sampled("--seed", "2")
    assert sampled("--seed", "1", "--set", "top_k=1") == answer_to(folder, "Hello", 9) + "\n"


def test_a_conversation_from_a_pipe(folder, capsys, monkeypatch):
    typed = "Hello\n\n/retry\n/reset\nHello\n/nonsense\n/help\n/exit\nnever read\n"
    assert chat(folder, "--max-new-tokens", "9", typed=typed, monkeypatch=monkeypatch) == 0
    out, err = capsys.readouterr()
    hello = answer_to(folder, "Hello", 9) + "\n"
    assert out.startswith(hello)
    assert out.endswith(hello)
    retried = out[len(hello) : -len(hello)]
    assert retried.endswith("\n")
    assert retried != hello, "the same again is no retry"
    assert err == f"forgotten\n/nonsense: unknown command; {HELP}\n{HELP}\n"


def test_what_cannot_be_answered_does_not_end_the_conversation(folder, capsys, monkeypatch):
    assert chat(folder, "--max-new-tokens", "9", typed="/retry\nHello", monkeypatch=monkeypatch) == 0
    assert capsys.readouterr() == (
        answer_to(folder, "Hello", 9) + "\n",
        "error: retry: nothing was said yet; say something first\n",
    )


def test_ctrl_c_in_one_shot_stops_with_130(folder, capsys, monkeypatch):
    def three_pieces(_chat, _prompt):
        yield from ("one ", "two ", "three")
        raise KeyboardInterrupt

    monkeypatch.setattr(ChatSession, "say", three_pieces)
    assert chat(folder, "-p", "Hello") == 130
    assert capsys.readouterr() == ("one two three\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["chat", "nowhere"], "MODEL_DIR: there is no release at nowhere. cure: give the folder of a release"),
        (["chat"], "MODEL_DIR: there is no release at nexus-release-v1. cure: run ./run_nexus_master.sh"),
        (["chat", "FOLDER", "--max-new-tokens", "0"], "--max-new-tokens: 0 is not positive. cure: "),
        (
            ["chat", "FOLDER", "--max-new-tokens", "x"],
            "command line: argument --max-new-tokens: invalid int value: 'x'. cure: ",
        ),
        (["chat", "FOLDER", "-p", " "], "--prompt: is empty. cure: "),
        (["chat", "FOLDER", "-p", "x", "--temperature", "-1"], "temperature = -1.0 is out of range; give a number"),
        (["chat", "FOLDER", "-p", "x", "--set", "top_n=1"], "unknown key 'top_n'; did you mean 'top_p'?"),
        (["chat", "FOLDER", "-p", "x", "--set", "top_k=many"], "--set: 'top_k=many' is not KEY=NUMBER. cure: "),
        (["chat", "EMPTY", "-p", "x"], "tokenizer.json does not exist"),
        (["dance"], "invalid choice: 'dance'"),
        ([], "the following arguments are required: COMMAND"),
    ],
)
def test_errors_are_one_line_with_the_cure(arguments, message, folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cli, "__file__", str(tmp_path / "a" / "cli.py"))  # no release in the project either
    monkeypatch.chdir(tmp_path)
    places = {"FOLDER": folder, "EMPTY": str(tmp_path)}
    assert cli.main([places.get(argument, argument) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1


def test_the_default_release_is_found_from_anywhere(tmp_path, monkeypatch):
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    (project / cli.DEFAULT_RELEASE).mkdir(parents=True)
    elsewhere.mkdir()
    monkeypatch.setattr(cli, "__file__", str(project / "nexus" / "cli.py"))
    monkeypatch.chdir(elsewhere)
    assert cli._release_folder(cli.DEFAULT_RELEASE) == project / cli.DEFAULT_RELEASE
    (elsewhere / cli.DEFAULT_RELEASE).mkdir()
    assert cli._release_folder(cli.DEFAULT_RELEASE).resolve() == elsewhere / cli.DEFAULT_RELEASE


@contextlib.contextmanager
def run(folder, *arguments, **streams):
    command = [sys.executable, "-m", "nexus.cli", "chat", "--raw", folder, *arguments]
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONUNBUFFERED": "1"}, **streams) as process:
        try:
            yield process
        finally:
            process.kill()  # after a failed check it would talk for ever


def read_until(descriptor, wanted):
    """What a process writes, up to and with ``wanted``; gives up when nothing comes for a long time."""
    seen = b""
    while wanted not in seen:
        ready, _, _ = select.select([descriptor], [], [], 120)
        assert ready, f"waited for {wanted!r}, got {seen!r}"
        byte = os.read(descriptor, 1)
        assert byte, f"waited for {wanted!r}, it ended with {seen!r}"
        seen += byte
    return seen


def first_of(descriptor):
    """The first bytes of an answer."""
    assert select.select([descriptor], [], [], 120)[0], "no answer"
    return os.read(descriptor, 100)


def drain(descriptor):
    """Throw away what is there by now."""
    while select.select([descriptor], [], [], 0)[0]:
        os.read(descriptor, 4_096)


def test_ctrl_c_stops_the_answer_and_not_the_program(endless):
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with run(endless, "--max-new-tokens", ENDLESS, **pipes) as process:
        for _ in range(2):
            os.write(process.stdin.fileno(), b"Hello\n")
            assert first_of(process.stdout.fileno())  # it is answering, and would go on for ever
            process.send_signal(signal.SIGINT)
            assert read_until(process.stderr.fileno(), b"\n") == b"[stopped]\n"
            drain(process.stdout.fileno())
        _, err = process.communicate(b"/exit\n", timeout=120)
        assert (process.returncode, err) == (0, b"")


def test_at_a_terminal_ctrl_c_drops_the_line_and_ctrl_d_leaves(endless):
    master, slave = pty.openpty()
    with run(endless, "--max-new-tokens", ENDLESS, stdin=slave, stdout=slave, stderr=slave) as process:
        os.close(slave)
        read_until(master, b"> ")
        process.send_signal(signal.SIGINT)  # at the prompt
        while not select.select([master], [], [], 1)[0]:  # readline is deaf for an instant after it has shown one
            process.send_signal(signal.SIGINT)
        assert b"/exit or Ctrl+D" in read_until(master, b"\n> ")
        time.sleep(0.5)
        drain(master)
        os.write(master, b"Hello\n")
        read_until(master, b"Hello\r\n")
        assert first_of(master)
        process.send_signal(signal.SIGINT)  # in the answer
        read_until(master, b"[stopped]\r\n")
        read_until(master, b"> ")
        os.write(master, b"\x04")
        assert process.wait(timeout=120) == 0
    os.close(master)


def test_a_reader_that_leaves_early_is_no_fault(endless):
    pipes = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
    with run(endless, "-p", "Hello", "--max-new-tokens", ENDLESS, **pipes) as process:
        assert first_of(process.stdout.fileno())
        process.stdout.close()
        assert process.wait(timeout=120) == 0
        assert process.stderr.read() == b""
