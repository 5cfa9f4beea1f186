"""Attempts to refute an estimate: things that must not change it, and things that must make it vanish.

Passing proves nothing; failing does. The levels of all tests together stay below `level` (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nexus.causality.discovery.independence import suited_test
from nexus.causality.estimation.estimators import Estimate
from nexus.causality.extras import need
from nexus.causality.graphs import ADMG
from nexus.causality.separation import implied_independences
from nexus.causality.table import Floats, Table

Fit = Callable[[Table], Estimate]
Refuter = Callable[["Case"], "Refutation"]


@dataclass(frozen=True)
class Case:
    """What is put to the test.

    Attributes:
        fit: estimates the effect anew on another table; columns named `extra` are to be adjusted for as well.
        level: of this one test.
        times: how often the data are changed at random.
    """

    table: Table
    fit: Fit
    treatment: str
    outcome: str
    graph: ADMG | None
    estimate: Estimate
    level: float
    times: int
    rng: np.random.Generator


@dataclass(frozen=True)
class Refutation:
    """What one attempt gave: `passed` is False if it refutes the estimate."""

    name: str
    passed: bool
    p_value: float | None
    detail: str

    def __str__(self) -> str:
        return f"{'ok     ' if self.passed else 'REFUTED'} {self.name}: {self.detail}"


EXTRA = "a random common cause"
LET_PASS = 1.2


def placebo(case: Case) -> Refutation:
    """Shuffle the treatment: its effect must vanish."""
    shuffled = case.table.column(case.treatment)
    values = [
        case.fit(case.table.with_column(case.treatment, case.rng.permutation(shuffled))).value
        for _ in range(case.times)
    ]
    return _vanishes("placebo treatment", values, case)


def dummy_outcome(case: Case) -> Refutation:
    """Shuffle the outcome: the effect must vanish."""
    shuffled = case.table.column(case.outcome)
    values = [
        case.fit(case.table.with_column(case.outcome, case.rng.permutation(shuffled))).value for _ in range(case.times)
    ]
    return _vanishes("dummy outcome", values, case)


def _vanishes(name: str, values: list[float], case: Case) -> Refutation:
    mean, spread = float(np.mean(values)), float(np.std(values, ddof=1))
    statistic = mean / max(spread / np.sqrt(len(values)), 1e-300)
    p = float(2 * need("scipy.special").stdtr(len(values) - 1, -abs(statistic)))
    return Refutation(name, p > case.level, p, f"mean effect {mean:.4g} (p = {p:.2g}), should be 0")


def random_common_cause(case: Case) -> Refutation:
    """Adjust for a column of noise as well: the estimate must stay where it is.

    Noise moves an honest estimate by about se / sqrt(n) each time; a mean shift of a quarter of the standard error
    is far outside that.
    """
    shifts = []
    for _ in range(max(case.times // 4, 3)):
        noisy = case.table.with_column(EXTRA, case.rng.standard_normal(len(case.table)))
        shifts.append(case.fit(noisy).value - case.estimate.value)
    share = abs(float(np.mean(shifts))) / max(case.estimate.std_error, 1e-300)
    return Refutation("random common cause", share < 0.25, None, f"moves the estimate by {share:.2g} standard errors")


def subsets(case: Case) -> Refutation:
    """Estimate on random halves: they must differ as much as the standard error says, and not more.

    Halves of one table differ from its estimate with variance se^2 (n / m - 1) = se^2 (Politis & Romano 1994). A fifth
    more is let pass, for small tables.
    """
    half = len(case.table) // 2
    values = np.array(
        [case.fit(case.table.rows(case.rng.permutation(len(case.table))[:half])).value for _ in range(case.times)]
    )
    wider = float(values.std(ddof=1)) / max(case.estimate.std_error, 1e-300)
    freedom = case.times - 1
    p = float(need("scipy.special").chdtrc(freedom, freedom * (wider / LET_PASS) ** 2))
    return Refutation(
        "subsets", p > case.level, p, f"halves spread {wider:.2f} times as widely as they should (p = {p:.2g})"
    )


def graph_check(case: Case) -> Refutation:
    """Every independence that the graph implies is tested on the data."""
    if case.graph is None:
        return Refutation("graph", True, None, "no graph was given")
    at = case.table.names.index
    test = suited_test(case.table)
    known = case.graph.subgraph([n for n in case.graph.names if n in case.table.names])
    claims = list(implied_independences(known))
    p_values = [test.p_value(at(a), at(b), [at(n) for n in given]) for a, b, given in claims]
    if not claims:
        return Refutation("graph", True, None, "implies no independence that could be tested")
    worst = int(np.argmin(p_values))
    p = min(1.0, p_values[worst] * len(claims))
    a, b, given = claims[worst]
    claim = f"{a} independent of {b}" + (f" given {', '.join(sorted(given))}" if given else "")
    return Refutation(
        "graph", p > case.level, p, f"weakest of {len(claims)} claims: {claim} (p = {p:.2g} after correction)"
    )


REFUTERS: tuple[Refuter, ...] = (placebo, dummy_outcome, random_common_cause, subsets, graph_check)


def refute(
    table: Table,
    fit: Fit,
    treatment: str,
    outcome: str,
    graph: ADMG | None = None,
    estimate: Estimate | None = None,
    level: float = 0.05,
    times: int = 20,
    seed: int = 0,
) -> list[Refutation]:
    """Run every refuter.

    Args:
        table: the data.
        fit: estimates the effect on a table; it must adjust for the column EXTRA if there is one.
        graph: what the estimate rests on; its independences are tested.
        level: the chance that an estimate without fault fails any of the tests, at most.

    Returns:
        One Refutation for each refuter; `sensitivity` gives the E-value beside them.
    """
    first = estimate or fit(table)
    rng = np.random.default_rng(seed)
    case = Case(table, fit, treatment, outcome, graph, first, level / len(REFUTERS), times, rng)
    return [refuter(case) for refuter in REFUTERS]


def e_value(estimate: Estimate, outcome: Floats) -> tuple[float, float]:
    """How strong an unmeasured common cause had to be, as a risk ratio with treatment and outcome each.

    To move the estimate, and the nearer end of its interval, to zero (VanderWeele & Ding 2017; a mean difference d in
    standard deviations counts as a risk ratio of exp(0.91 d)). 1 means that nothing at all is needed.
    """
    spread = float(np.std(outcome))
    nearer = 0.0 if estimate.low <= 0 <= estimate.high else min(abs(estimate.low), abs(estimate.high))
    return _e(abs(estimate.value) / spread), _e(nearer / spread)


def _e(d: float) -> float:
    ratio = float(np.exp(0.91 * d))
    return ratio + float(np.sqrt(ratio * (ratio - 1)))
