"""Files that are whole or absent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from nexus.core import files


def names(folder) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_writes_and_replaces(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    files.atomic_write_text(path, "größer")
    files.atomic_write_bytes(path, b"two")
    assert path.read_bytes() == b"two"
    assert names(path.parent) == {"file.txt"}


def test_an_error_inside_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError), files.atomic_write(path) as handle:
        handle.write(b"half of the n")
        raise RuntimeError
    assert path.read_text() == "old"
    assert names(tmp_path) == {"file"}


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "folder"
    with files.atomic_folder(path) as folder:
        (folder / "a").write_text("1")
        (folder / "sub").mkdir()
        (folder / "sub" / "b").write_text("2")
    with files.atomic_folder(path) as folder:
        (folder / "c").write_text("3")
    assert names(path) == {"c"}
    assert names(tmp_path) == {"folder"}


def test_an_error_inside_leaves_the_old_folder(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(RuntimeError), files.atomic_folder(path) as folder:
        (folder / "new").touch()
        raise RuntimeError
    assert names(path) == {"old"}
    assert names(tmp_path) == {"folder"}


def test_an_error_between_the_renames_puts_the_old_folder_back(tmp_path, monkeypatch):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").touch()

    def fail(point: str) -> None:
        if point == "folder.between_renames":
            raise KeyboardInterrupt

    monkeypatch.setattr(files, "kill_point", fail)
    with pytest.raises(KeyboardInterrupt), files.atomic_folder(path) as folder:
        (folder / "new").touch()
    assert names(path) == {"old"}
    assert names(tmp_path) == {"folder"}


def test_hash_of_a_folder_sees_names_and_contents_only(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "x").write_text("x")
        (tmp_path / name / "y").write_text("y")
    first = files.artefact_hash(tmp_path / "one")
    os.utime(tmp_path / "two" / "y", (1, 1))
    files.temporary_beside(tmp_path / "two" / "y").write_text("unfinished")
    assert files.artefact_hash(tmp_path / "two") == first
    (tmp_path / "two" / "y").write_text("z")
    assert files.artefact_hash(tmp_path / "two") != first
    (tmp_path / "two" / "y").write_text("y")
    (tmp_path / "two" / "y").rename(tmp_path / "two" / "z")
    assert files.artefact_hash(tmp_path / "two") != first


def test_hash_of_a_file_and_of_nothing(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert files.artefact_hash(tmp_path / "abc").startswith("ba7816bf8f01cfea414140de5dae2223")  # FIPS 180-2, B.1
    with pytest.raises(FileNotFoundError):
        files.artefact_hash(tmp_path / "nothing")


def test_size_counts_hard_links_once(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    os.link(tmp_path / "a", tmp_path / "b")
    assert files.size_on_disk(tmp_path) == files.size_on_disk(tmp_path / "a") == 5
    assert files.size_on_disk(tmp_path / "nothing") == 0


def dead_pid() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_leftovers_of_the_dead_go_and_work_of_the_living_stays(tmp_path):
    (tmp_path / "sub").mkdir()
    dead = tmp_path / "sub" / f".block.bin.{dead_pid()}-3.tmp"
    dead.touch()
    dead_folder = tmp_path / f".release.{dead_pid()}-0.tmp"
    dead_folder.mkdir()
    (dead_folder / "file").touch()
    living = files.temporary_beside(tmp_path / "block.bin")
    living.touch()
    others = [tmp_path / "mine.tmp", tmp_path / ".hidden.tmp", tmp_path / "x.123-4.tmp"]
    for path in others:
        path.touch()
    assert set(files.remove_stale_temporaries(tmp_path)) == {dead, dead_folder}
    assert living.exists()
    assert all(path.exists() for path in others)
    assert files.remove_stale_temporaries(tmp_path, exclusive=True) == [living]
    assert all(path.exists() for path in others)


@pytest.mark.parametrize(
    ("wanted", "survives"),
    [("", True), ("a", False), ("b:2", False), ("b:3", True), ("*:3", False), ("*:4", True), ("c", True)],
)
def test_kill_points(wanted, survives):
    program = "from nexus.core.files import kill_point as k; k('a' if 0 else 'x'); k('b'); k('b')"
    if wanted == "a":
        program = program.replace("'a' if 0 else 'x'", "'a'")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "NEXUS_KILL_AT": wanted}
    done = subprocess.run([sys.executable, "-c", program], env=env)
    assert done.returncode == (0 if survives else -signal.SIGKILL)


def test_needs_nothing_but_the_standard_library():
    program = "import sys, nexus.core.files; sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'rich')))"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", program], env=env).returncode == 0
