"""`nexus certify --release`: ask the release the questions, fit a score, certify it, and report on rows never used.

The one idea: every question serves one purpose. Some fit the score, some order and certify thresholds, and the rest is
looked at only for the report, so that its figures owe nothing to choices that were made here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nexus.core.files import atomic_write_text, sha256_file
from nexus.inference.generation import Progress
from nexus.inference.release import Release
from nexus.living.gate import Certificate
from nexus.living.own_words import CERTIFICATE, FOLDER, SCORE, binding_of
from nexus.living.questions import Question, read_questions
from nexus.living.risk_control import Bools, Floats, Verdict, certify
from nexus.living.risk_coverage import augrc, aurc, draw
from nexus.living.scores.combination import BASELINES, Score, signals_of
from nexus.living.speaking import TOKENS, Voice
from nexus.living.trace import Said

FIT, REPORT = 0.3, 0.2  # shares of the questions; the rest orders and certifies
LEAST = 20  # questions: below, a split would have next to nothing in it


@dataclass(frozen=True, kw_only=True)
class ReleaseRequest:
    """What is to be certified.

    ``samples`` is how many answers are drawn beside each greedy one; they make a better score and cost as much again
    for each. ``out`` None puts everything where `nexus chat` and `nexus serve` look for it: into the release's folder.
    """

    data: Path
    alpha: float = 0.05
    delta: float = 0.05
    out: Path | None = None
    samples: int = 0
    tokens: int = TOKENS
    seed: int = 0


@dataclass(frozen=True)
class Asked:
    """Questions with what was said, whether it was right, and which rows serve what."""

    questions: Sequence[Question]
    said: Sequence[Said]
    right: Bools
    fit: NDArray[np.int64]
    certify: NDArray[np.int64]
    report: NDArray[np.int64]


def certify_release(release: Release, request: ReleaseRequest, progress: Progress | None = None) -> str:
    """Certify; writes certificate.json, score.safetensors, report.json and curve.png, returns the report in words.

    Raises:
        ValueError, FileNotFoundError: the file or an option cannot be used; the message has the cure.
        ImportError: scikit-learn or matplotlib is missing.
    """
    voice, questions = Voice(release, request.tokens, request.samples), read_questions(request.data)
    if len(questions) < LEAST:
        raise ValueError(f"--data: {len(questions)} questions are too few. cure: give {LEAST} at least, better 1,000")
    asked = split(questions, voice.say_all([question.text for question in questions], progress), request.seed)
    folder = release.folder / FOLDER if request.out is None else request.out
    score, verdict = fit_and_certify(asked, request)
    score.save(folder / SCORE)
    made = _certificate(release, folder, score, verdict, request.data)
    made.save(folder / CERTIFICATE)
    report = {"certificate": made.id, "questions": len(questions), **report_on(asked, score, verdict)}
    atomic_write_text(folder / "report.json", json.dumps(report, indent=2) + "\n")
    rows = asked.report
    draw(_scores(asked, score, rows), asked.right[rows], folder / "curve.png", request.alpha, verdict.threshold)
    return f"{verdict}\n{_words(report)}\ncertificate {made.id} in {folder}"


def split(questions: Sequence[Question], said: Sequence[Said], seed: int) -> Asked:
    """Judge the answers, and deal the rows out by chance."""
    right = np.array([question.right(one.text) for question, one in zip(questions, said, strict=True)])
    order = np.random.default_rng(seed).permutation(len(said))
    fit, report = int(FIT * len(said)), int(REPORT * len(said))
    return Asked(questions, said, right, order[:fit], order[fit + report :], order[fit : fit + report])


def fit_and_certify(asked: Asked, request: ReleaseRequest) -> tuple[Score, Verdict]:
    """The score, with how it came out on the certifying rows as its reference, and its verdict."""
    fit, test = [asked.said[i] for i in asked.fit], asked.certify
    score = Score.fit(fit, asked.right[asked.fit].tolist(), request.tokens, request.seed)
    scores = _scores(asked, score, test)
    verdict = certify(scores, asked.right[test], request.alpha, request.delta, request.seed)
    return replace(score, reference=np.sort(scores)), verdict


def report_on(asked: Asked, score: Score, verdict: Verdict) -> dict[str, Any]:
    """The figures of the rows that nothing was chosen by."""
    rows = asked.report
    right, scores = asked.right[rows], _scores(asked, score, rows)
    answered = np.zeros(len(rows), bool) if verdict.threshold is None else scores >= verdict.threshold
    names, signals = signals_of([asked.said[i] for i in rows])
    areas = {"combined": augrc(scores, right), "by chance": float((~right).mean()) / 2}
    areas |= {name: augrc(signals[:, column], right) for column, name in enumerate(names)}
    return {
        **verdict.to_dict(),
        "fitted": score.line is not None,
        "report_questions": len(rows),
        "augrc": areas,
        "aurc": aurc(scores, right),
        "report_coverage": float(answered.mean()),
        "report_risk": float((~right)[answered].mean()) if answered.any() else 0.0,
        "over_refusal": float((~answered)[right].mean()) if right.any() else 0.0,
        "by_kind": _by_kind([asked.questions[i].kind for i in rows], answered, right),
    }


def _by_kind(kinds: Sequence[str], answered: Bools, right: Bools) -> dict[str, dict[str, float]]:
    rows = {}
    for kind in sorted(set(kinds)):
        of_kind = np.array([one == kind for one in kinds])
        said, wrong = answered[of_kind], (answered & ~right)[of_kind]
        rows[kind] = {"questions": int(of_kind.sum()), "answered": float(said.mean()), "false": float(wrong.mean())}
    return rows


def _certificate(release: Release, folder: Path, score: Score, verdict: Verdict, data: Path) -> Certificate:
    """The verdict, bound to what is on disk now."""
    binding = binding_of(release, score, sha256_file(folder / SCORE))
    return Certificate(verdict=verdict, binding=binding, data=sha256_file(data))


def _scores(asked: Asked, score: Score, rows: NDArray[np.int64]) -> Floats:
    """Scores of some rows; a score that was not fitted reads no samples."""
    return score([asked.said[i] for i in rows])


def _words(report: dict[str, Any]) -> str:
    areas = report["augrc"]
    shown = ["combined", *(signal.__name__ for signal in BASELINES), "by chance"]
    lines = ["AUGRC " + ", ".join(f"{name.replace('_', ' ')} {areas[name]:.4f}" for name in shown)]
    if not report["fitted"]:
        lines.append("too few right or too few wrong answers to fit a score: mean token probability stands in for it")
    lines.append(
        f"on {report['report_questions']} other questions: {report['report_coverage']:.1%} answered, "
        f"{report['report_risk']:.1%} of these wrong, {report['over_refusal']:.1%} of what was right refused"
    )
    for kind, row in report["by_kind"].items():
        if kind:
            lines.append(f"  {kind}: {row['answered']:.1%} answered, {row['false']:.1%} answered wrongly")
    return "\n".join(lines)
