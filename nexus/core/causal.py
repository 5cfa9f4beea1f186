"""The causal engine: a neural module whose structure is always a DAG, and the same questions for tables.

In a model it reads causal variables off hidden states, learns which of them drive which, and feeds back what the
structure predicts; an intervention replaces a variable and lets the effect run down the graph. For tables it is the
door to `nexus.causality`: discover, identify, estimate, intervene, counterfactual, refute, explain.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.causality.discovery.discover import Discovery, Settings
from nexus.causality.discovery.log_det import log_det_acyclicity, strongest_dag
from nexus.causality.estimation.estimators import Estimate
from nexus.causality.estimation.refute import Refutation
from nexus.causality.graphs import ADMG, DAG, as_graph, topological_order
from nexus.causality.identification.identify import Identification
from nexus.causality.knowledge import Knowledge
from nexus.causality.study import CausalStudy
from nexus.causality.table import Table
from nexus.core.base import BaseConfig, NexusModule, in_range, positive


@dataclass(frozen=True, kw_only=True)
class CausalConfig(BaseConfig):
    """Sizes and weights of a :class:`CausalInferenceEngine`.

    ``dag_weight`` multiplies the log-determinant penalty on cycles, ``sparsity_weight`` the sum of the edges' absolute
    weights; edges weaker than ``threshold`` do not count.
    """

    d_model: int = 512
    n_variables: int = 8
    dag_weight: float = 1.0
    sparsity_weight: float = 0.1
    threshold: float = 0.05

    def faults(self) -> list[str]:
        """Everything that is wrong with the values, one line each."""
        found = positive(self, "d_model", "n_variables")
        for name in ("dag_weight", "sparsity_weight", "threshold"):
            found += in_range(self, name, 0)
        return found

    @classmethod
    def tiny(cls) -> CausalConfig:
        """For tests."""
        return cls(d_model=16, n_variables=4)


class CausalInferenceEngine(NexusModule):
    """Causal variables, their structure, and what follows from both.

    Attributes:
        dag_weight, sparsity_weight: as in the configuration; may be changed at any time.
        weights: (n, n), [i, j] how strongly variable i drives j, before the projection to a DAG.
        study: the table questions' state.
    """

    config_class = CausalConfig
    config: CausalConfig
    given: Tensor
    is_given: Tensor

    def __init__(self, config: CausalConfig | Mapping[str, Any] | None = None) -> None:
        super().__init__(CausalConfig() if config is None else config)
        d, n = self.config.d_model, self.config.n_variables
        self.dag_weight, self.sparsity_weight = self.config.dag_weight, self.config.sparsity_weight
        self.norm = nn.RMSNorm(d)
        self.read = nn.Linear(d, n)
        self.weights = nn.Parameter(0.1 * torch.randn(n, n) / n**0.5)
        self.write = nn.Linear(n, d, bias=False)
        self.gain = nn.Parameter(torch.zeros(d))  # a fresh engine leaves the stream nearly as it is
        nn.init.constant_(self.gain, 1e-2)
        self.register_buffer("given", torch.zeros(n, n, dtype=torch.bool))
        self.register_buffer("is_given", torch.zeros((), dtype=torch.bool))
        self.study = CausalStudy()

    # ---- the neural side --------------------------------------------------------------------------------------------

    def adjacency(self) -> Tensor:
        """(n, n) booleans: the structure, a DAG whatever the weights are."""
        return torch.where(self.is_given, self.given, strongest_dag(self.weights, self.config.threshold))

    def structure(self) -> DAG:
        """The structure as a graph over x0, x1, ..."""
        return DAG([f"x{i}" for i in range(self.config.n_variables)], self.adjacency().cpu().numpy())

    def variables(self, hidden: Tensor) -> Tensor:
        """(B, T, d_model) -> (B, T, n): the causal variables of each position."""
        return self.read(self.norm(hidden))

    def forward(self, hidden: Tensor, do: Mapping[int, float | Tensor] | None = None) -> Tensor:
        """Add to each position what the structure says about it. (B, T, d_model) -> the same shape.

        A position's output depends on that position's input alone, so nothing can leak from the future.

        Args:
            do: variable number -> value; the effect runs down the graph, every other variable keeping its own noise.

        Raises:
            ValueError: the width is wrong, or a variable's number is unknown.
        """
        self._check(hidden, do)
        values = self.variables(hidden)
        predicted = values @ self._edges(values)
        told = predicted if not do else predicted + self._shift(values, do)
        return hidden + self.gain * self.write(torch.tanh(told))

    def _edges(self, like: Tensor) -> Tensor:
        return (self.weights * self.adjacency()).to(like.dtype)

    def intervened(self, values: Tensor, do: Mapping[int, float | Tensor]) -> Tensor:
        """Counterfactual variables: abduction, action, prediction with the linear structure. (B, T, n) both ways."""
        edges = self._edges(values)
        noise = values - values @ edges
        done = list(values.unbind(-1))
        for node in topological_order(self.adjacency().cpu().numpy()):
            if node in do:
                done[node] = torch.zeros_like(done[node]) + do[node]
            else:
                done[node] = noise[..., node] + torch.stack(done, -1) @ edges[:, node]
        return torch.stack(done, -1)

    def _shift(self, values: Tensor, do: Mapping[int, float | Tensor]) -> Tensor:
        return self.intervened(values, do) - values

    def loss(self, hidden: Tensor) -> Tensor:
        """What training adds: how badly the structure explains the variables, its cycles and its edges.

        The fit is the log of each variable's residual variance on standardised values, which no scale can cheat.
        """
        self._check(hidden, None)
        values = self.variables(hidden).flatten(0, -2).float()
        z = (values - values.mean(0)) / values.std(0, unbiased=False).clamp_min(1e-4)
        off = self.weights.float() * (1 - torch.eye(len(self.weights), device=z.device))
        weights = off * self.given if bool(self.is_given) else off
        fit = 0.5 * torch.log((z - z @ weights).square().mean(0) + 1e-6).sum()
        write = F.mse_loss(self.write(torch.tanh(z)), self.norm(hidden).flatten(0, -2).float())
        return fit + write + self.dag_weight * self._cycles(weights) + self.sparsity_weight * weights.abs().sum()

    @staticmethod
    def _cycles(weights: Tensor) -> Tensor:
        """h(W) with s large enough for these weights to lie inside its region (s > spectral radius of W∘W)."""
        bound = (weights.detach() ** 2).sum(0).max()  # a row-sum norm bounds the radius
        return log_det_acyclicity(weights, s=max(1.0, 1.1 * float(bound)))

    def _check(self, hidden: Tensor, do: Mapping[int, Any] | None) -> None:
        if hidden.ndim < 2 or hidden.shape[-1] != self.config.d_model:
            raise ValueError(f"hidden has shape {tuple(hidden.shape)}; give (B, T, {self.config.d_model})")
        unknown = [key for key in do or () if not (isinstance(key, int) and 0 <= key < self.config.n_variables)]
        if unknown:
            raise ValueError(f"do names variable {unknown[0]!r}; give numbers from 0 to {self.config.n_variables - 1}")

    # ---- graphs -----------------------------------------------------------------------------------------------------

    def set_graph(self, graph: Any) -> ADMG:
        """Take a graph as known: a tensor or array, text, pairs or a graph of ours.

        With as many variables as the engine has, it also becomes the structure of the neural side.

        Raises:
            CycleError: "Causal graph is not DAG", with the cycle.
        """
        known = as_graph(graph, self.study.table.names if self.study.table is not None else ())
        self.study.set_graph(known)
        if len(known.names) == self.config.n_variables and not known.confounded:
            own = self.structure().names  # x0, x1, ... may be named in any order; other names count in theirs
            order = [known.index[name] for name in own] if set(own) == set(known.names) else range(len(own))
            self.given.copy_(torch.from_numpy(known.directed[np.ix_(order, order)]))
            self.is_given.fill_(True)
        return known

    def clear_graph(self) -> None:
        """Go back to the learnt structure."""
        self.is_given.fill_(False)

    # ---- tables -----------------------------------------------------------------------------------------------------

    def discover(
        self,
        data: Any,
        method: str = "auto",
        knowledge: Knowledge | None = None,
        interventions: Sequence[Collection[str]] | None = None,
        bootstrap: int = 0,
        **settings: Any,
    ) -> Discovery:
        """Find the causal graph of a table (NumPy, pandas, a mapping, a CSV file).

        Args:
            method: "auto" or one of :data:`nexus.causality.discovery.discover.METHODS`; "log_det" uses this engine's
                `dag_weight` and `sparsity_weight`.
            knowledge, interventions, bootstrap, settings: see :func:`nexus.causality.discovery.discover.discover`.
        """
        chosen = Settings(
            method=method, **{"dag_weight": self.dag_weight, "sparsity_weight": self.sparsity_weight, **settings}
        )
        self.study = CausalStudy(data)
        return self.study.discover(chosen, knowledge, interventions, bootstrap)

    def identify(self, treatment: str, outcome: str, graph: Any = None) -> Identification:
        """Whether and how an effect can be computed, in the graph at hand or the one given."""
        return self._study(None, graph).identify(treatment, outcome)

    def estimate(
        self,
        treatment: str,
        outcome: str,
        data: Any = None,
        graph: Any = None,
        method: str = "auto",
        level: float = 0.95,
    ) -> Estimate:
        """The effect of one variable on another, with an interval."""
        return self._study(data, graph).estimate(treatment, outcome, method, level)

    def intervene(
        self,
        do: Mapping[str, Any],
        data: Any = None,
        graph: Any = None,
        n: int = 1000,
        mechanisms: str = "linear",
        seed: int = 0,
    ) -> Table:
        """n units as they would be under the action `do`."""
        return self._study(data, graph).intervene(do, n, mechanisms, seed)

    def counterfactual(
        self, units: Any, do: Mapping[str, Any], data: Any = None, graph: Any = None, mechanisms: str = "linear"
    ) -> Table:
        """What the given units would have been under the action `do`."""
        return self._study(data, graph).counterfactual(units, do, mechanisms)

    def refute(
        self, treatment: str, outcome: str, data: Any = None, graph: Any = None, method: str = "auto", seed: int = 0
    ) -> list[Refutation]:
        """Try to refute the estimated effect."""
        return self._study(data, graph).refute(treatment, outcome, method, seed=seed)

    def explain(self) -> str:
        """Everything found about the table so far, in words."""
        return self.study.explain()

    def _study(self, data: Any, graph: Any) -> CausalStudy:
        """The study at hand, or a new one where data are given; a graph that is known already is kept."""
        if data is not None:
            known = self.study.graph
            self.study = CausalStudy(data, graph if graph is not None else known)
        elif graph is not None:
            self.set_graph(graph)
        return self.study
