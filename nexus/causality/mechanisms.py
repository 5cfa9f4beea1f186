"""Mechanisms: how a variable comes from its causes and its own noise. All can be undone, so that noise can be read off.

value = f(causes) + s(causes) * noise. Linear and additive ones have s = 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from nexus.causality.extras import need
from nexus.causality.table import Floats

KINDS = ("linear", "additive", "neural")


class Mechanism(Protocol):
    """What a structural model needs of a mechanism."""

    def value(self, causes: Floats, noise: Floats) -> Floats:
        """(n, k) and (n,) -> (n,)."""

    def noise(self, causes: Floats, value: Floats) -> Floats:
        """The noise that leads to this value: `value` undone."""


@dataclass(frozen=True)
class Function:
    """A known mechanism: `f(causes) + noise`, f takes (n, k) and gives (n,)."""

    f: Callable[[Floats], Floats]

    def value(self, causes: Floats, noise: Floats) -> Floats:
        """See Mechanism."""
        return np.asarray(self.f(causes)) + noise

    def noise(self, causes: Floats, value: Floats) -> Floats:
        """See Mechanism."""
        return value - np.asarray(self.f(causes))


@dataclass(frozen=True)
class Linear:
    """Weights (k,) and an intercept."""

    weights: Floats
    intercept: float = 0.0

    def value(self, causes: Floats, noise: Floats) -> Floats:
        """See Mechanism."""
        return causes @ self.weights + self.intercept + noise

    def noise(self, causes: Floats, value: Floats) -> Floats:
        """See Mechanism."""
        return value - causes @ self.weights - self.intercept

    @classmethod
    def fit(cls, causes: Floats, value: Floats) -> Linear:
        """Least squares."""
        beta = np.linalg.lstsq(np.column_stack([np.ones(len(value)), causes]), value, rcond=None)[0]
        return cls(np.asarray(beta[1:], dtype=float), float(beta[0]))


def fit_additive(causes: Floats, value: Floats, bumps: int = 150) -> Function:
    """A smooth function of all causes together: a straight part and Gaussian bumps, by ridge regression."""
    pre, pipe = need("sklearn.preprocessing"), need("sklearn.pipeline")
    approximation, linear = need("sklearn.kernel_approximation"), need("sklearn.linear_model")
    kernel = approximation.Nystroem(gamma=0.5 / causes.shape[1], n_components=min(bumps, len(value)), random_state=0)
    features = pipe.make_union(pre.FunctionTransformer(), kernel)
    model = pipe.make_pipeline(pre.StandardScaler(), features, linear.RidgeCV(np.logspace(-4, 2, 13)))
    return Function(model.fit(causes, value).predict)


@dataclass(frozen=True)
class Neural:
    """Two small networks: the place and the width of the value given its causes."""

    net: Any
    centre: tuple[Floats, float] = field(repr=False)
    scale: tuple[Floats, float] = field(repr=False)

    def _heads(self, causes: Floats) -> tuple[Floats, Floats]:
        import torch

        with torch.no_grad():
            out = self.net(torch.from_numpy((causes - self.centre[0]) / self.scale[0])).numpy()
        return out[:, 0] * self.scale[1] + self.centre[1], np.exp(np.clip(out[:, 1], -6, 3)) * self.scale[1]

    def value(self, causes: Floats, noise: Floats) -> Floats:
        """See Mechanism."""
        place, width = self._heads(causes)
        return place + width * noise

    def noise(self, causes: Floats, value: Floats) -> Floats:
        """See Mechanism."""
        place, width = self._heads(causes)
        return (value - place) / width

    @classmethod
    def fit(cls, causes: Floats, value: Floats, hidden: int = 32, steps: int = 400, seed: int = 0) -> Neural:
        """Maximum Gaussian likelihood, by Adam over all rows."""
        import torch
        from torch import nn

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = nn.Sequential(nn.Linear(causes.shape[1], hidden), nn.Tanh(), nn.Linear(hidden, 2)).double()
        mechanism = cls(net, (causes.mean(0), float(value.mean())), (_spread(causes.std(0)), float(value.std() or 1.0)))
        x = torch.from_numpy((causes - mechanism.centre[0]) / mechanism.scale[0])
        y = torch.from_numpy((value - mechanism.centre[1]) / mechanism.scale[1])
        optimiser = torch.optim.AdamW(net.parameters(), lr=0.02, weight_decay=1e-3)
        for _ in range(steps):
            place, width = net(x).unbind(1)
            width = width.clamp(-6, 3)
            loss = (width + 0.5 * ((y - place) / width.exp()) ** 2).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return mechanism


def _spread(scale: Floats) -> Floats:
    return np.where(scale > 0, scale, 1.0)


def fit_mechanism(kind: str, causes: Floats, value: Floats, seed: int = 0) -> Mechanism:
    """Fit one mechanism; a variable without causes is its mean plus noise.

    Raises:
        ValueError: the kind is unknown.
    """
    if kind not in KINDS:
        raise ValueError(f"mechanisms = {kind!r} is not a choice; give one of {', '.join(KINDS)}")
    if not causes.shape[1] or kind == "linear":
        return Linear.fit(causes, value)
    return fit_additive(causes, value) if kind == "additive" else Neural.fit(causes, value, seed=seed)
