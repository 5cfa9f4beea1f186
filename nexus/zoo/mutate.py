"""Planted mistakes: a proof is run with a mistake in the system's source, and has to notice.

The one idea: the module's text is changed on its way from the file into Python, so that nothing on disk is touched and
whatever imports the module gets the faulty one. It happens in a process of its own (``python -m nexus.zoo.mutate STEM
SEED...``), because operators that a faulty module registers with torch would outlive it.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from torch._library.custom_ops import CustomOpDef
from torch.library import Library

from nexus.catalog import PACKAGE, Row, find
from nexus.zoo.proof import Mutation

ROOT = PACKAGE.parent
TIMEOUT = 1_800  # seconds for all mistakes of one system
# What a clumsy replacement ends in. It says nothing about the proof, so it does not count as caught.
BROKEN = (SyntaxError, NameError, ImportError, AttributeError)


def catches(row: Row, seeds: Sequence[int]) -> dict[str, str | None]:
    """For each planted mistake what gave it away, or None where the proof noticed nothing.

    Raises:
        ValueError: a mistake cannot be planted: its text is not in the file exactly once, or breaks the code.
    """
    command = [sys.executable, "-m", __name__, row.stem, *map(str, seeds)]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise ValueError(f"{row.name}: the planted mistakes took more than {TIMEOUT} s; does one never end?") from None
    if done.returncode:
        told = done.stderr.strip().splitlines() or ["it died without a word"]
        raise ValueError(f"{row.name}: the planted mistakes could not be tried: {told[-1]}")
    return json.loads(done.stdout.splitlines()[-1])  # a library may have printed something before


def mutated_text(row: Row, mutation: Mutation) -> tuple[Path, str]:
    """The file that the mistake is planted in, and its text with the mistake."""
    file = ROOT / mutation.file if mutation.file else row.file
    if not file.is_file():
        raise ValueError(f"{row.name}, mistake {mutation.name!r}: there is no file {mutation.file}")
    text = file.read_text(encoding="utf-8")
    count = text.count(mutation.old)
    if count != 1:
        raise ValueError(
            f"{row.name}, mistake {mutation.name!r}: {mutation.old!r} stands {count} times in {file.name}; "
            "it has to be there once"
        )
    return file, text.replace(mutation.old, mutation.new)


@contextmanager
def planted(file: Path, text: str) -> Iterator[None]:
    """Within the block every module of Nexus is loaded anew, and ``file`` with other text.

    A module that gives torch an operator stays, unless the mistake is in it: registered a second time, an operator is
    dead for all that was imported before (std::bad_alloc, or a crash).
    """
    module = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    kept = _loaded()
    finder = _Finder(module, file, text)
    for name, found in kept.items():
        if name == module or not any(isinstance(thing, CustomOpDef | Library) for thing in vars(found).values()):
            del sys.modules[name]
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in _loaded():
            del sys.modules[name]
        sys.modules.update(kept)


def _loaded() -> dict[str, ModuleType]:
    return {name: found for name, found in sys.modules.items() if name.split(".")[0] == "nexus"}


class _Finder(MetaPathFinder):
    def __init__(self, module: str, file: Path, text: str) -> None:
        self.module, self.loader, self.file = module, _Loader(module, str(file), text), file

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != self.module:
            return None
        return importlib.util.spec_from_file_location(name, self.file, loader=self.loader)


class _Loader(SourceFileLoader):
    def __init__(self, module: str, file: str, text: str) -> None:
        super().__init__(module, file)
        self.text = text

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.text, self.path, "exec", dont_inherit=True)


def noticed(row: Row, mutation: Mutation, seeds: Sequence[int]) -> str | None:
    """What gave the mistake away; call it in a process that nothing else happens in."""
    file, text = mutated_text(row, mutation)
    with planted(file, text):
        try:
            verify = importlib.import_module("nexus.zoo.verify")
            findings = verify.run_proof(row.stem, seeds)
        except BROKEN as error:
            raise ValueError(
                f"{row.name}, mistake {mutation.name!r}: breaks the code ({type(error).__name__}: {error})"
            ) from error
        except Exception as error:  # whatever a wrong shape or value leads to
            return f"raised {type(error).__name__}"
        return f"{findings.worst} off by {findings.largest:.1e}" if not findings.holds else None


def main(stem: str, *seeds: str) -> None:
    """Try all mistakes of one system and print what gave them away as a line of JSON."""
    row = find(stem)
    proof = importlib.import_module(f"nexus.zoo.proofs.{stem}")
    result = {mutation.name: noticed(row, mutation, [int(seed) for seed in seeds]) for mutation in proof.MUTATIONS}
    print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
