"""Golden files: what an oracle answered whose packages clash with ours, frozen with versions and hashes.

    python -m nexus.zoo.golden [STEM ...]     make them anew, each in an environment of its own, and compare

The one idea: nobody has to believe a frozen number, because the script that made it lies beside it and says, in the
form that PEP 723 gives inline requirements, what it was made with. ``tests/golden/<stem>.py`` begins with

    # /// script
    # dependencies = ["torch==2.13.0", "safetensors", "transformers==4.57.6"]
    # ///

and has ``def tensors() -> dict[str, Tensor]``: inputs, weights, outputs, gradients. A proof reads them with `read`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from nexus.catalog import PACKAGE
from nexus.core.files import atomic_file

if TYPE_CHECKING:
    from torch import Tensor

ROOT = PACKAGE.parent
FOLDER = ROOT / "tests" / "golden"
LIMIT = 1_000_000  # bytes: they are kept in the repository
_REQUIREMENTS = re.compile(r"^# /// script\n(?P<lines>(?:#[^\n]*\n)+?)# ///$", re.MULTILINE)


def read(stem: str, folder: Path | None = None) -> dict[str, Tensor]:
    """The frozen tensors.

    Raises:
        ValueError: the file is not one of these, was changed, or its script was.
    """
    from safetensors import SafetensorError, safe_open

    file = (folder or FOLDER) / f"{stem}.safetensors"
    cure = f"make it anew with `python -m nexus.zoo.golden {stem}`"
    try:
        with safe_open(file, "pt") as handle:
            header, tensors = handle.metadata() or {}, {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    except (SafetensorError, FileNotFoundError) as error:
        raise ValueError(f"{file.name}: cannot be read ({error}); {cure}") from None
    if header.get("sha256") != digest(tensors):
        raise ValueError(f"{file.name}: its tensors are not those that were frozen; {cure}")
    if header.get("script") != _hash(file.with_suffix(".py")):
        raise ValueError(f"{file.name}: was made by another text of {stem}.py; {cure}")
    return tensors


def versions(stem: str, folder: Path | None = None) -> dict[str, str]:
    """The packages that a golden file was made with."""
    from safetensors import safe_open

    with safe_open((folder or FOLDER) / f"{stem}.safetensors", "pt") as handle:
        return json.loads(handle.metadata()["versions"])


def write(script: Path, file: Path) -> None:
    """Run a script's ``tensors()`` here and now, and freeze what it gives.

    Raises:
        ValueError: that is more than a repository should hold.
    """
    from safetensors.torch import save_file

    spec = importlib.util.spec_from_file_location(script.stem, script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    tensors = {name: tensor.detach().contiguous() for name, tensor in module.tensors().items()}
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if size > LIMIT:
        raise ValueError(f"{script.name}: {size:,} bytes are more than {LIMIT:,}; take a smaller example")
    packages = [re.split(r"[^\w.-]", requirement)[0] for requirement in requirements(script)]
    header = {
        "versions": json.dumps({name: version(name) for name in packages}),
        "sha256": digest(tensors),
        "script": _hash(script),
    }
    with atomic_file(file) as path:
        save_file(tensors, path, metadata=header)


def digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and values."""
    import torch

    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        total.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def requirements(script: Path) -> list[str]:
    """What a script says that it needs.

    Raises:
        ValueError: it says nothing.
    """
    match = _REQUIREMENTS.search(script.read_text(encoding="utf-8"))
    if match is None:
        raise ValueError(f"{script.name}: says nothing of what it needs; begin it with '# /// script', see PEP 723")
    lines = [line.removeprefix("#").removeprefix(" ") for line in match["lines"].splitlines()]
    return list(tomllib.loads("\n".join(lines)).get("dependencies", []))


def regenerate(stem: str, folder: Path | None = None) -> str:
    """Make a golden file anew in an environment of its own, and say in words how far it is from the old one."""
    script = (folder or FOLDER) / f"{stem}.py"
    file = script.with_suffix(".safetensors")
    before = _frozen(file)
    with tempfile.TemporaryDirectory(prefix="nexus-golden-") as place:
        venv.create(place, with_pip=True)
        python = str(next(Path(place).glob("[bS]*/python*")))  # bin, or Scripts on Windows
        subprocess.run([python, "-m", "pip", "install", "-q", *requirements(script)], check=True)
        code = "import sys, pathlib as p; from nexus.zoo.golden import write; write(*map(p.Path, sys.argv[1:]))"
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run([python, "-c", code, script, file], env=environment, check=True)
    return f"{stem}: {_compared(before, read(stem, folder))}"


def _frozen(file: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(file) if file.is_file() else {}


def _compared(before: dict[str, Tensor], after: dict[str, Tensor]) -> str:
    from nexus.zoo.proof import Comparison

    if not before:
        return f"frozen, {len(after)} tensors"
    if before.keys() != after.keys():
        return f"other tensors than before: {', '.join(sorted(before.keys() ^ after.keys()))}"
    largest = max(Comparison(name, after[name], before[name]).difference for name in after)
    return f"{len(after)} tensors, largest difference to before {largest:.1e}"


def _hash(script: Path) -> str:
    return hashlib.sha256(script.read_text(encoding="utf-8").encode()).hexdigest() if script.is_file() else ""


def main(*stems: str) -> None:
    """Make the named files anew, or all; a script that does not say what it needs has to be run by hand."""
    for script in [FOLDER / f"{stem}.py" for stem in stems] or sorted(FOLDER.glob("*.py")):
        if not stems and not _REQUIREMENTS.search(script.read_text(encoding="utf-8")):
            print(f"{script.stem}: not run, for it does not say what it needs; its first lines say how", flush=True)
        else:
            print(regenerate(script.stem), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
