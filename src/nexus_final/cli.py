"""The pipeline's command line: `./run_nexus_master.sh` and `scripts/nexus_pipeline.py` call `main`."""

from __future__ import annotations

import argparse
import errno
import os
import sqlite3
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from nexus.core.config import ConfigError
from nexus.training.control import Interrupted, RunControl
from nexus_final.config import RunConfig, split_names
from nexus_final.errors import UserError
from nexus_final.lock import holder
from nexus_final.paths import Paths
from nexus_final.reset import delete, describe, reset_stage, reset_targets
from nexus_final.runner import Runner, open_context
from nexus_final.stage import Context, Stage
from nexus_final.state import StateStore
from nexus_final.status import show_plan, show_status

Build = Callable[[RunConfig], list[Stage]]
_EVERYTHING = "*"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _Declined(Exception):
    """The user said no to a reset."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError("command line", message, f"see {self.prog} --help")


def parser() -> argparse.ArgumentParser:
    """The command line's options."""
    made = _Parser(prog="run_nexus_master.sh", description="Distil the registered teachers into a student.")
    add = made.add_argument
    add("command", nargs="?", choices=["run", "status"], default="run", help="run the pipeline, or show where it is")
    add("--models", metavar="A,B", help="teachers to use (default: every ready one in the registry)")
    add("--datasets", metavar="X/Y,Z", help="data sets to use, or 'all' for everything that is there")
    add("--reset", metavar="STAGE", nargs="?", const=_EVERYTHING,
        help="start anew: deletes the state file, memory/, checkpoints/ and nexus-release-v1/ (asks first); "
             "with a name, only that stage and what depends on it")  # fmt: skip
    add("--yes", action="store_true", help="don't ask before --reset")
    add("--quick", action="store_true", default=None, help="a small run, to see that everything works")
    add("--plan", action="store_true", help="show what would run and what it will cost, and change nothing")
    add("--seed", metavar="N", type=int, help="the seed of everything random (default 0)")
    add("--root", metavar="DIR", type=Path, help="the folder to work in (default: the project)")
    add("--registry", metavar="FILE", type=Path, help="another list of teachers")
    add("--set", metavar="KEY=VALUE", action="append", default=[], help="any other setting; may be repeated")
    return made


def main(argv: Sequence[str] | None = None, build: Build | None = None) -> int:
    """Run the command line and return the exit code.

    0 done, paused or nothing to do; 1 a fault of the program (with its traceback); 2 something the user can put right
    (one line on stderr for each fault; what lies behind it stands in `logs/train.log`); 130 and 143 stopped by Ctrl+C
    and by SIGTERM.

    Args:
        build: makes the stages from the configuration; default `nexus_final.stages.build_stages`.
    """
    try:
        return _dispatch(parser().parse_args(argv), build or _default_stages)
    except Interrupted as stop:
        _print_error(f"stopped ({stop.reason}), all is saved; the same command without --reset goes on from here")
        return stop.exit_code
    except KeyboardInterrupt:
        _print_error("left at once; the same command goes on from the last save")
        return 130
    except _Declined:
        _print_error("nothing was deleted and nothing was run")
        return 0
    except Exception as error:
        return _explain(error)


def _dispatch(options: argparse.Namespace, build: Build) -> int:
    config = _config(options)
    console = Console()
    if options.command == "status":
        show_status(Paths(config.root), console)
    elif options.plan:
        if options.reset:
            raise UserError("--plan", "changes nothing, so it can't reset", "leave out --plan or --reset")
        _plan(config, build, console)
    else:
        _run(config, build, options, console)
    return 0


def _config(options: argparse.Namespace) -> RunConfig:
    names = ("root", "registry", "quick", "seed")
    given = {name: getattr(options, name) for name in names}
    for name in ("models", "datasets"):
        text = getattr(options, name)
        given[name] = None if text is None else split_names(text)
        if given[name] == ():
            raise UserError(f"--{name}", f"{text!r} names nothing", "name some, separated by commas, or leave it out")
    config = RunConfig.from_command_line(options.set, **given)
    if not config.root.expanduser().is_dir():
        raise UserError("--root", f"{config.root} is not a folder", "make it first, or name another")
    return config


def _run(config: RunConfig, build: Build, options: argparse.Namespace, console: Console) -> None:
    stages = build(config)  # bad input shows here, before anything is deleted or written

    def prepare(paths: Paths) -> None:
        if options.reset == _EVERYTHING:
            _reset(paths, ask=not options.yes, console=console)

    with open_context(config, console, prepare) as ctx:
        if options.reset and options.reset != _EVERYTHING:
            console.print(f"reset: {', '.join(reset_stage(options.reset, stages, ctx))}", markup=False)
        log = ctx.paths.relative(ctx.paths.train_log)
        ctx.say(f"root {ctx.paths.root}, pid {os.getpid()}, log {log}; Ctrl+C saves and stops")
        Runner(ctx).run(stages)


def _reset(paths: Paths, ask: bool, console: Console) -> None:
    targets = reset_targets(paths)
    if not targets:
        console.print("reset: there is nothing to delete")
        return
    console.print(f"reset deletes {describe(targets)}", markup=False, highlight=False, soft_wrap=True)
    if ask and sys.stdin.isatty() and input("delete this? [y/N] ").strip().lower() not in ("y", "yes"):
        raise _Declined
    delete(targets)


def _plan(config: RunConfig, build: Build, console: Console) -> None:
    paths = Paths(config.root)
    if (pid := holder(paths.lock)) is not None:
        console.print(f"a run is active (pid {pid}); this is the plan as of now")
    with StateStore(paths.state if paths.state.exists() else ":memory:") as store:
        ctx = Context(paths, config, console, RunControl(), store)
        show_plan(Runner(ctx).plan(build(config)), paths, console)


def _default_stages(config: RunConfig) -> list[Stage]:
    import torch  # heavy, as are the stages; `status` does without

    from nexus.training.allocator import keep_freed_memory
    from nexus_final.stages import build_stages

    # Strong decays fall below the smallest normal number, and processors then slow down several times; before any work,
    # since threads take the setting over when they are made.
    torch.set_flush_denormal(True)
    keep_freed_memory()

    return list(build_stages(config))


def _explain(error: Exception) -> int:
    """Print one line (one for each fault of a configuration) and return the exit code."""
    if isinstance(error, ConfigError):
        for fault in error.faults:
            _print_error(f"error: {fault}")
        return 2
    if (isinstance(error, OSError) and error.errno in _FULL) or _database_full(error):
        where = getattr(error, "filename", None) or "a file of the run"
        _print_error(f"error: disk: no room to write {where}. cure: free some and run the same command again")
        return 2
    if isinstance(error, ValueError):
        _print_error(f"error: {error}")
        return 2
    traceback.print_exception(error)
    _print_error("error: that was a fault of the program, not yours. What was done is saved; a rerun resumes")
    return 1


def _database_full(error: Exception) -> bool:
    return isinstance(error, sqlite3.OperationalError) and any(sign in str(error) for sign in ("full", "disk I/O"))


def _print_error(text: str) -> None:
    print(" ".join(text.split()), file=sys.stderr, flush=True)
