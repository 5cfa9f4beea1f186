"""From an identification and a table to a number: takes the way that exists, and says which."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nexus.causality.estimation.estimators import (
    Estimate,
    aipw,
    dml,
    first_stage_f,
    from_influence,
    front_door_linear,
    g_formula,
    ipw,
    resampled,
    two_stage,
)
from nexus.causality.identification.estimand import Joint, effect_on
from nexus.causality.identification.identify import Identification
from nexus.causality.table import Floats, Table

BACK_DOOR: dict[str, Callable[..., tuple[float, Floats]]] = {
    "g-formula": g_formula,
    "ipw": ipw,
    "aipw": aipw,
    "dml": dml,
}
METHODS = ("auto", *BACK_DOOR, "front-door", "instrument", "id")
OVERLAP = 0.02  # a note is made if the propensities come this near to 0 or 1
MAX_CELLS = 200_000


def estimate_effect(
    table: Table, found: Identification, method: str = "auto", level: float = 0.95, resamplings: int = 200
) -> Estimate:
    """Estimate an effect.

    Args:
        table: the data.
        found: which ways exist.
        method: one of METHODS. "auto" is AIPW (or, for a treatment with more values, the g-formula's slope) if
            a back-door set exists, else the front door, else the formula of ID, else an instrument.
        level: of the interval.
        resamplings: of the bootstrap, where the way has no closed form for its standard error ("id").

    Raises:
        ValueError: the effect is not identified that way; the message has the witness.
    """
    if method not in METHODS:
        raise ValueError(f"method = {method!r} is not a choice; give one of {', '.join(METHODS)}")
    if not 0 < level < 1:
        raise ValueError(f"level = {level!r} is out of range; give a number between 0 and 1")
    if method == "auto":
        method = _way(table, found)
    if method in BACK_DOOR:
        return _by_back_door(table, found, method, level)
    if method == "id":
        return _by_formula(table, found, level, resamplings)
    return (_by_front_door if method == "front-door" else _by_instrument)(table, found, level)


def _way(table: Table, found: Identification) -> str:
    if found.adjust is not None:
        return "aipw" if table.is_binary(found.treatment) else "g-formula"
    discrete = all(map(table.is_discrete, table.names))
    if found.mediators is not None:
        return "id" if discrete else "front-door"
    if found.identified and discrete:
        return "id"
    if found.instrument is not None:
        return "instrument"
    raise ValueError(_why_not(found, "auto"))


def _why_not(found: Identification, method: str) -> str:
    what = f"the effect of {found.treatment} on {found.outcome} is not identified (method {method!r})"
    if not found.reaches:
        return f"{what}: the graph has no directed path between them, so it says that the effect is 0"
    if found.hedge is not None:
        return f"{what}: {found.hedge}; measure one of these common causes, or find an instrument"
    ways = ", ".join(found.ways)
    return f"{what}; ways that the graph offers: {ways}. 'id' needs discrete columns"


def treatment_column(table: Table, name: str) -> Floats:
    """The treatment; two values become 0 (the smaller) and 1."""
    t = table.column(name)
    return (t == t.max()).astype(float) if table.is_binary(name) else t


def _columns(table: Table, found: Identification) -> tuple[Floats, Floats]:
    return table.column(found.outcome), treatment_column(table, found.treatment)


def covariates(table: Table, names: frozenset[str]) -> Floats:
    """The adjustment columns; texts with more than two levels become indicators."""
    parts = []
    for name in sorted(names):
        column = table.column(name)
        levels = np.unique(column)
        wide = name in table.levels and len(levels) > 2
        parts += [(column == level).astype(float) for level in levels[1:]] if wide else [column]
    return np.column_stack(parts) if parts else np.empty((len(table), 0))


def _by_back_door(table: Table, found: Identification, method: str, level: float) -> Estimate:
    if found.adjust is None:
        raise ValueError(_why_not(found, method))
    y, t = _columns(table, found)
    z = covariates(table, found.adjust)
    value, influence = BACK_DOOR[method](y, t, z)
    return from_influence(value, influence, method, level, _overlap(t, z) if table.is_binary(found.treatment) else ())


def _overlap(t: Floats, z: Floats) -> tuple[str, ...]:
    from nexus.causality.estimation.regression import logistic, sigmoid, with_intercept

    p = sigmoid(with_intercept(z) @ logistic(with_intercept(z), t))
    outside = float(((p < OVERLAP) | (p > 1 - OVERLAP)).mean())
    return (f"{outside:.0%} of the rows have hardly any counterpart in the other group",) if outside > 0.01 else ()


def _by_front_door(table: Table, found: Identification, level: float) -> Estimate:
    if found.mediators is None:
        raise ValueError(_why_not(found, "front-door"))
    y, t = _columns(table, found)
    result = front_door_linear(y, t, table.select(sorted(found.mediators)))
    return from_influence(*result, "front-door", level, ("linear mechanisms are assumed",))


def _by_instrument(table: Table, found: Identification, level: float) -> Estimate:
    if found.instrument is None:
        raise ValueError(_why_not(found, "instrument"))
    name, given = found.instrument
    y, t = _columns(table, found)
    z, lever = covariates(table, given), table.column(name)
    strength = first_stage_f(t, z, lever)
    notes = (
        f"a linear effect is assumed; first-stage F = {strength:.1f}"
        + (" (weak: distrust it)" if strength < 10 else ""),
    )
    return from_influence(*two_stage(y, t, z, lever), f"instrument {name}", level, notes)


def _by_formula(table: Table, found: Identification, level: float, resamplings: int) -> Estimate:
    """Plug the shares in the data into ID's formula."""
    rough = [name for name in table.names if not table.is_discrete(name)]
    if found.estimand is None or rough:
        why = _why_not(found, "id")
        raise ValueError(f"{why}; not discrete: {', '.join(rough)}" if rough else why)
    names = [n for n in table.names if n in _variables(found)]
    cells = np.prod([float(len(np.unique(table.column(n)))) for n in names])
    if cells > MAX_CELLS:
        raise ValueError(f"method = 'id' would need {cells:.0f} cells; give fewer or coarser columns")
    return resampled(lambda rows: _contrast(table.rows(rows), found, names), len(table), "id", level, resamplings)


def _variables(found: Identification) -> set[str]:
    import re

    return {found.treatment, found.outcome, *re.findall(r"[^\s,|(){}\[\]]+", str(found.estimand))}


def _contrast(table: Table, found: Identification, names: list[str]) -> float:
    assert found.estimand is not None
    joint = Joint.from_table(table, names)
    values, high = np.unique(table.column(found.outcome)), len(np.unique(table.column(found.treatment))) - 1
    means = [values @ effect_on(found.estimand, joint, [found.outcome], {found.treatment: code}) for code in (high, 0)]
    return float(means[0] - means[1])
