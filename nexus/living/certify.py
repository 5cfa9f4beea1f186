"""`nexus certify`: a file of questions to a certificate, a report and a curve.

Each line of the file is a JSON object. With `question` and `answer` the release is asked (see certify_release.py). With
`score` (higher is surer) and `right` (true or false) answers of any other system are certified; what else such a line
holds is left alone.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nexus.core.files import artefact_hash, atomic_write_text, sha256_file
from nexus.living.bounds import level
from nexus.living.gate import Binding, Certificate
from nexus.living.risk_control import certify
from nexus.living.risk_coverage import augrc, aurc, draw
from nexus.living.versions import Versions, weights_hash


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be certified; the fields are the command's options.

    ``release`` and ``memory`` are the folder and the journal that made the answers, ``prompt`` and ``sampler`` texts
    that name how they were asked; ``weights`` is the folder of versions, of which the ``owner``'s current one counts.
    ``samples``, ``tokens`` and ``int8`` say how the release is to be asked. ``out`` None is the folder
    ``certificate``, or the release's own if it is asked.
    """

    data: str
    alpha: float = 0.05
    delta: float = 0.05
    out: str | None = None
    release: str | None = None
    memory: str | None = None
    prompt: str = ""
    sampler: str = ""
    samples: int = 0
    tokens: int | None = None
    seed: int = 0
    int8: bool = False
    weights: str | None = None
    owner: str = "me"


def run(request: Request) -> str:
    """Certify; writes certificate.json, report.json and curve.png into `out` and returns the report in words.

    Raises:
        ValueError, FileNotFoundError: the file or an option cannot be used; the message has the cure.
    """
    path, folder = Path(request.data), Path(request.out or "certificate")
    if asks_questions(path):
        return _ask(request)
    if request.int8:
        raise ValueError("--int8: nothing is asked here. cure: leave it out, or give question and answer in each line")
    score, right = read(path)
    verdict = certify(score, right, request.alpha, request.delta, request.seed)
    made = Certificate(verdict=verdict, binding=binding(request), data=sha256_file(path))
    made.save(folder / "certificate.json")
    areas = {"augrc": augrc(score, right), "aurc": aurc(score, right), "augrc_by_chance": verdict.base_risk / 2}
    report = {"certificate": made.id, "questions": len(score), **areas, **verdict.to_dict()}
    atomic_write_text(folder / "report.json", json.dumps(report, indent=2) + "\n")
    draw(score, right, folder / "curve.png", request.alpha, verdict.threshold)
    words = f"AUGRC {areas['augrc']:.4f} (by chance {areas['augrc_by_chance']:.4f}), AURC {areas['aurc']:.4f}"
    return f"{verdict}\n{words}\ncertificate {made.id} in {folder}"


def asks_questions(path: Path) -> bool:
    """Whether the first line is a question to be asked, rather than a score."""
    if not path.is_file():
        return False  # `read` says so
    with open(path, encoding="utf-8", errors="replace") as file:
        first = next((line for line in file if line.strip()), "")
    try:
        row = json.loads(first)
    except ValueError:
        return False
    return isinstance(row, dict) and "question" in row and "score" not in row


def _ask(request: Request) -> str:
    if request.release is None:
        raise ValueError("--release: is missing. cure: name the release that is to be asked, or give score and right")
    if request.memory or request.prompt or request.sampler:
        raise ValueError("--memory, --prompt, --sampler: are found out by asking. cure: leave them out")
    from nexus.inference.release import load_release
    from nexus.living.certify_release import ReleaseRequest, certify_release
    from nexus.living.speaking import TOKENS

    wanted = ReleaseRequest(
        data=Path(request.data),
        alpha=level("alpha", request.alpha),
        delta=level("delta", request.delta),
        out=None if request.out is None else Path(request.out),
        samples=request.samples,
        tokens=TOKENS if request.tokens is None else request.tokens,
        seed=request.seed,
    )
    return certify_release(load_release(request.release, int8=request.int8), wanted, _tell)


def _tell(done: int, of: int) -> None:
    print(f"asked {done} of {of}", file=sys.stderr, flush=True)


def binding(request: Request) -> Binding:
    """The hashes of what made the answers, as they are now."""
    weights = artefact_hash(request.release) if request.release else ""
    if request.weights:
        weights = weights_hash(weights, Versions(request.weights, request.owner).chosen())
    return Binding(weights=weights, memory=_head(request.memory), prompt=request.prompt, sampler=request.sampler)


def read(path: Path) -> tuple[list[float], list[bool]]:
    """Scores and outcomes of a JSONL file.

    Raises:
        ValueError: a line is no JSON object, or lacks a field; the message has its number.
    """
    if not path.is_file():
        raise FileNotFoundError(f"--data: there is no file {path}. cure: give JSON lines with score and right")
    lines = [(n, line) for n, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1) if line.strip()]
    rows = [_row(path, number, line) for number, line in lines]
    return [score for score, _ in rows], [right for _, right in rows]


def _row(path: Path, number: int, line: str) -> tuple[float, bool]:
    where = f"{path}, line {number}"
    try:
        row: Any = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{where}: is no JSON ({error}). cure: one object a line") from None
    if not isinstance(row, dict) or not {"score", "right"} <= row.keys():
        raise ValueError(f"{where}: lacks score or right. cure: give both, such as {{'score': 0.9, 'right': true}}")
    score, right = row["score"], row["right"]
    if isinstance(score, bool) or not isinstance(score, (int, float)) or right not in (True, False):
        raise ValueError(f"{where}: score {score!r}, right {right!r}. cure: a number, and true or false")
    return float(score), bool(right)


def _head(memory: str | None) -> str:
    if memory is None:
        return ""
    if not Path(memory).is_file():
        raise FileNotFoundError(f"--memory: there is no journal at {memory}. cure: nexus memory teach makes one")
    from nexus.living.journal import Journal

    with Journal(memory) as journal:
        return journal.head()
