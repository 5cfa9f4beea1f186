"""The set-up scripts: from any folder, twice in a row, killed half way, beside each other, with a user's environment.

Most tests set up a toy project without dependencies, with the real scripts, Python and pip; the last the real thing.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[1]
KEPT = ("HOME", "LANG", "TERM")  # and whatever configures pip: the rest of the environment must not matter

PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "toy"
version = "1.0"
"""
BACKEND = """
import zipfile

WHEEL = "Wheel-Version: 1.0\\nGenerator: toy\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
METADATA = "Metadata-Version: 2.1\\nName: toy\\nVersion: 1.0\\nProvides-Extra: dev\\nProvides-Extra: factory\\n"


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    name, info = "toy-1.0-py3-none-any.whl", "toy-1.0.dist-info"
    with zipfile.ZipFile(f"{wheel_directory}/{name}", "w") as wheel:
        wheel.writestr("toy.py", "")
        wheel.writestr(f"{info}/METADATA", METADATA)
        wheel.writestr(f"{info}/WHEEL", WHEEL)
        wheel.writestr(f"{info}/RECORD", f"toy.py,,\\n{info}/METADATA,,\\n{info}/WHEEL,,\\n{info}/RECORD,,\\n")
    return name
"""
PIPELINE = "import os, sys, toy; print(os.getpid(), sys.argv[1:], os.getcwd(), flush=True); sys.exit(7)\n"


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """A project with the real scripts and nothing to install, in a folder with a space in its name."""
    project = tmp_path / "a project"
    (project / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "run_nexus_master.sh", project)
    shutil.copy(ROOT / "scripts" / "setup_env.sh", project / "scripts")
    for name, text in {
        "pyproject.toml": PROJECT,
        "constraints.txt": "# none\n",
        "backend.py": BACKEND,
        "scripts/nexus_pipeline.py": PIPELINE,
    }.items():
        (project / name).write_text(text)
    return project


def _environment(**more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k in KEPT or k.startswith(("PIP_", "SSL_", "REQUESTS_"))}
    return {**kept, "PATH": os.environ["PATH"], **more}


def _master(project: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Call run_nexus_master.sh from a folder that has nothing to do with the project."""
    command = [str(project / "run_nexus_master.sh"), *options]
    return subprocess.run(command, cwd="/", env=_environment(**environment), capture_output=True, text=True)


def test_twice_in_a_row_from_another_folder(toy):
    first = _master(toy, "--models", "A, B")
    assert first.returncode == 7, first.stderr  # the pipeline's own exit code
    assert "making a virtual environment" in first.stdout
    assert first.stdout.splitlines()[-1].endswith("['--models', 'A, B'] /")
    second = _master(toy)
    assert (second.returncode, second.stderr) == (7, "")
    assert len(second.stdout.splitlines()) == 1, "the second time there is nothing to set up"


def test_signals_reach_the_pipeline(toy):
    _master(toy)
    (toy / "scripts" / "nexus_pipeline.py").write_text(
        "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [toy / "run_nexus_master.sh"], env=_environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        assert int(process.stdout.readline()) == process.pid  # Python has taken the script's place
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == -signal.SIGTERM


def test_a_changed_pin_installs_again_without_starting_over(toy):
    _master(toy)
    (toy / ".venv" / "mine.txt").touch()
    (toy / "constraints.txt").write_text("# changed\n")
    told = _master(toy).stdout
    assert "installing Nexus" in told
    assert "making" not in told
    assert (toy / ".venv" / "mine.txt").exists()


@pytest.mark.parametrize("moment", [".nexus-made", "bin/pip", "install.log"])
def test_a_killed_set_up_is_repaired(toy, moment):
    process = subprocess.Popen(
        [toy / "run_nexus_master.sh"], env=_environment(), stdout=subprocess.DEVNULL, start_new_session=True
    )
    while not (toy / ".venv" / moment).exists():
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (toy / ".venv" / ".nexus-stamp").exists()
    again = _master(toy)
    assert again.returncode == 7, again.stderr
    assert "did not finish" in again.stdout


def test_a_moved_project_gets_a_new_environment(toy):
    _master(toy)
    moved = toy.rename(toy.with_name("moved"))
    again = _master(moved)
    assert again.returncode == 7, again.stderr
    assert "was moved" in again.stdout
    assert (moved / ".venv" / "bin" / "pip").read_text().startswith(f"#!{moved}")


def test_a_failed_install_shows_its_end_and_can_be_repeated(toy):
    (toy / "backend.py").write_text(f"raise SystemExit('no luck today')\n{BACKEND}")
    failed = _master(toy)
    assert failed.returncode == 1
    assert "no luck today" in failed.stderr
    assert "Run the same command again" in failed.stderr
    (toy / "backend.py").write_text(BACKEND)
    assert _master(toy).returncode == 7


def test_an_environment_of_the_users_own_is_used_and_never_thrown_away(toy, tmp_path):
    own = tmp_path / "own"
    subprocess.run([sys.executable, "-m", "venv", str(own)], check=True)
    (own / "mine.txt").touch()
    assert _master(toy, NEXUS_VENV=str(own)).returncode == 7
    (own / ".nexus-stamp").unlink()  # as if that had been killed
    assert _master(toy, NEXUS_VENV=str(own)).returncode == 7
    assert (own / "mine.txt").exists()
    assert not (toy / ".venv").exists()


def test_a_folder_that_is_no_environment_is_refused_and_left_alone(toy):
    (toy / ".venv").mkdir()
    (toy / ".venv" / "thesis.txt").touch()
    refused = _master(toy)
    assert refused.returncode == 1
    assert "NEXUS_VENV" in refused.stderr
    assert (toy / ".venv" / "thesis.txt").exists()


def test_two_at_once_do_not_clash(toy):
    command = [toy / "run_nexus_master.sh"]
    both = [
        subprocess.Popen(command, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    told = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [7, 7]
    if shutil.which("flock"):
        assert sum("making a virtual environment" in text for text in told) == 1


def test_without_python_it_says_how_to_get_one(toy, tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in "bash basename cat cksum dirname env flock grep ls mkdir readlink rm tr".split():  # noqa: SIM905
        if found := shutil.which(name):
            (tools / name).symlink_to(found)
    refused = _master(toy, PATH=str(tools))
    assert refused.returncode == 1
    assert "Python 3.11 or newer is needed" in refused.stderr
    assert "sudo apt install" in refused.stderr


def test_the_real_project_installs_and_starts_from_another_folder(tmp_path):
    copy = tmp_path / "nexus"
    made = ("memory", "checkpoints", "results", "nexus-release-v1", "logs", "data")

    def leave_out(folder: str, names: list[str]) -> list[str]:
        at_root = made if Path(folder) == ROOT else ()
        return [name for name in names if name in (*at_root, ".venv", ".git") or name.endswith("_cache")]

    shutil.copytree(ROOT, copy, ignore=leave_out)
    for _ in range(2):
        told = _master(copy, "--help")
        assert told.returncode == 0, told.stderr
        assert "--models" in told.stdout
    assert "making" not in told.stdout
    python = copy / ".venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "check"], check=True)
    frozen = subprocess.run([python, "-m", "pip", "freeze"], check=True, capture_output=True, text=True).stdout
    pins = set((ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines())
    installed = {line.split("+")[0] for line in frozen.splitlines() if "==" in line and not line.startswith("#")}
    assert installed <= pins, "installed, but not pinned"
