"""RunControl with real signals, sent by this process to itself or to a child."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from nexus.training.control import Interrupted, RunControl


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 0)], ids=str
)
def test_a_stop_is_a_flag_until_the_run_leaves_by_itself(number, exit_code):
    with RunControl() as control:
        control.check()
        send(number)
        assert control.stop_requested
        with pytest.raises(Interrupted) as caught:
            control.check()
    assert caught.value.exit_code == exit_code


def test_the_second_interrupt_leaves_now():
    with RunControl() as control:
        send(signal.SIGINT)
        assert control.stop_requested
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_the_third_interrupt_ends_a_process_that_hangs_in_its_clean_up():
    program = """
import os, signal
from nexus.training.control import RunControl
with RunControl():
    try:
        os.kill(os.getpid(), signal.SIGINT); os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        os.kill(os.getpid(), signal.SIGINT)
        while True: pass
"""
    done = subprocess.run([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert done.returncode == 130


def test_a_second_term_changes_nothing():
    with RunControl() as control:
        send(signal.SIGTERM)
        send(signal.SIGTERM)
        with pytest.raises(Interrupted, match="SIGTERM"):
            control.check()


def test_usr2_asks_for_one_checkpoint_and_goes_on():
    with RunControl() as control:
        send(signal.SIGUSR2)
        assert control.checkpoint_requested
        assert control.checkpoint_requested
        assert control.take_checkpoint_request()
        assert not control.take_checkpoint_request()
        control.check()


def test_a_safe_point_saves_before_it_leaves():
    saved: list[str] = []
    with RunControl() as control:
        control.safe_point(lambda: saved.append("not asked for"))
        send(signal.SIGUSR2)
        control.safe_point(lambda: saved.append("checkpoint"))
        control.safe_point(lambda: saved.append("not asked for"))
        send(signal.SIGINT)
        with pytest.raises(Interrupted):
            control.safe_point(lambda: saved.append("last"))
    assert saved == ["checkpoint", "last"]


def test_interrupted_is_not_swallowed_by_a_broad_except():
    with pytest.raises(Interrupted):
        try:
            RunControl().raise_stop()
        except Exception:
            pytest.fail("swallowed")


def test_old_handlers_come_back():
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
    before = [signal.getsignal(number) for number in numbers]
    with RunControl():
        assert [signal.getsignal(number) for number in numbers] != before
    assert [signal.getsignal(number) for number in numbers] == before


def test_another_thread_leaves_the_handlers_alone(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    seen: list[object] = []

    def work() -> None:
        with RunControl(tmp_path / "control") as control:
            seen.append(signal.getsignal(signal.SIGINT))
            (tmp_path / "control").write_text("stop")
            seen.append(control.stop_requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before, True]


@pytest.mark.parametrize(("word", "exit_code"), [("pause", 0), ("stop\n", 130), (" STOP ", 130)])
def test_the_control_file_stops(tmp_path, word, exit_code):
    file = tmp_path / "control"
    with RunControl(file) as control:
        file.write_text(word)
        with pytest.raises(Interrupted) as caught:
            control.check()
    assert caught.value.exit_code == exit_code
    assert not file.exists()


def test_the_control_file_asks_for_a_checkpoint_once(tmp_path):
    file = tmp_path / "control"
    with RunControl(file) as control:
        file.write_text("checkpoint")
        assert control.take_checkpoint_request()
        assert not control.take_checkpoint_request()
        assert not control.stop_requested


def test_an_unknown_word_is_said_and_removed(tmp_path, caplog):
    file = tmp_path / "control"
    with RunControl(file) as control:
        file.write_text("halt")
        control.check()
    assert "'halt'" in caplog.text
    assert "pause, checkpoint, stop" in caplog.text
    assert not file.exists()


def test_an_empty_control_file_is_a_word_still_being_written(tmp_path):
    file = tmp_path / "control"
    with RunControl(file) as control:
        file.touch()
        control.check()
        file.write_text("pause")
        assert control.stop_requested


def test_a_word_from_before_the_run_does_not_count(tmp_path, caplog):
    (tmp_path / "control").write_text("stop")
    with RunControl(tmp_path / "control") as control:
        control.check()
    assert "left over" in caplog.text


def test_waiting_ends_early_when_the_run_should_stop():
    with RunControl() as control:
        assert not control.wait(0.01)
        timer = threading.Timer(0.05, send, [signal.SIGINT])
        timer.start()
        assert control.wait(3600)
        timer.join()
