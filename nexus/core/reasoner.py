"""The mind's reasoner: differentiable forward chaining over facts that only ever accumulate.

The one idea: a hidden state proposes which facts hold and which rules apply; soft rules are then applied again and
again, each step a differentiable form of "if all premises hold, so does the conclusion". What is known at position t
is the largest evidence seen up to t, so the module is causal in time and decodes with a state of one number a fact.
Papers: Evans and Grefenstette 2018, "Learning Explanatory Rules from Noisy Data" (arXiv:1711.04574), section 4, for
forward chaining by soft rules; Rocktäschel and Riedel 2017 (arXiv:1705.11040) for rules whose parts are attended to.
Made discrete, its rules are a Horn theory that the symbolic engine derives from and the independent checker checks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn

from nexus.core.base import BaseConfig, NexusModule, fault, in_range, positive

if TYPE_CHECKING:
    from nexus.reasoning.answer import Answer

__all__ = ["ReasonerConfig", "ReasoningModule"]


@dataclass(frozen=True, kw_only=True)
class ReasonerConfig(BaseConfig):
    """Sizes of a :class:`ReasoningModule`.

    ``max_steps`` is how often the rules are applied; a position whose facts change by less than ``tolerance`` in a step
    stops earlier. ``n_body`` is the number of premises of a rule; a rule with fewer points the rest at "true".
    """

    d_model: int = 256
    max_steps: int = 4
    n_facts: int = 32
    n_rules: int = 32
    n_body: int = 2
    tolerance: float = 1e-4

    def faults(self) -> list[str]:
        """Everything that is wrong with the sizes, one line each."""
        found = positive(self, "d_model", "n_facts", "n_rules", "n_body")
        return [*found, *in_range(self, "max_steps", 0), *in_range(self, "tolerance", 0.0, 1.0)]

    @classmethod
    def tiny(cls, **changes: object) -> Self:
        """A reasoner that builds and trains on a CPU in well under a second."""
        return cls(**{"d_model": 16, "max_steps": 3, "n_facts": 6, "n_rules": 5, **changes})  # type: ignore[arg-type]


class ReasoningModule(NexusModule):
    """Proposes facts and rules from hidden states, chains forward, and writes what follows back into the stream.

    Attributes:
        max_steps: how often the rules are applied; may be changed at any time.
    """

    config_class: ClassVar[type[BaseConfig] | None] = ReasonerConfig
    config: ReasonerConfig

    def __init__(self, config: ReasonerConfig | Mapping[str, Any]) -> None:
        super().__init__(config)
        c = self.config
        self.max_steps = c.max_steps
        self.norm = nn.RMSNorm(c.d_model)
        self.evidence = nn.Linear(c.d_model, c.n_facts)
        self.gate = nn.Linear(c.d_model, c.n_rules)
        self.body = nn.Parameter(torch.randn(c.n_rules, c.n_body, c.n_facts + 1))  # the last column is "true"
        self.head = nn.Parameter(torch.randn(c.n_rules, c.n_facts))
        self.out = nn.Linear(c.n_facts, c.d_model)
        nn.init.constant_(self.gate.bias, 1.0)  # rules apply until something speaks against them
        nn.init.constant_(self.evidence.bias, -2.0)  # facts need evidence

    def init_state(self, batch: int) -> Tensor:
        """What is known before the first token: nothing, (B, F)."""
        return torch.zeros(batch, self.config.n_facts, device=self.device, dtype=self.dtype)

    def forward(
        self, hidden: Tensor, return_proof: bool = False, state: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor | tuple[Tensor, dict[str, Any]]:
        """Add what follows from the facts seen so far to each position.

        Args:
            hidden: (B, T, d_model).
            return_proof: also return how it was derived.
            state: (B, F) facts known before, `proof["state"]` of the text so far; None is nothing.
            mask: (B, T) True at real tokens; the others are no evidence.

        Returns:
            (B, T, d_model), and with ``return_proof`` a dict: ``facts`` (B, T, F) as proposed, ``beliefs`` (B, T, F) at
            the end, ``state`` (B, F), and ``steps``, at most ``max_steps`` dicts, each with the strongest ``rule``
            (B, T), its ``premises`` (B, T, n_body; n_facts stands for "true"), its ``conclusion`` (B, T), its
            ``strength`` (B, T), and ``active`` (B, T): False where nothing changed any more.
        """
        self._check(hidden)
        facts, gates = self._propose(hidden, state, mask)
        beliefs, steps = self._chain(facts, gates, return_proof)
        output = hidden + self.out(beliefs)
        if not return_proof:
            return output
        return output, {"facts": facts, "beliefs": beliefs, "state": facts[:, -1], "steps": steps}

    def _check(self, hidden: Tensor) -> None:
        if hidden.dim() != 3 or hidden.shape[-1] != self.config.d_model or not hidden.shape[1]:
            cure = f"pass (B, T, {self.config.d_model}) with T at least 1"
            raise ValueError(fault("hidden", tuple(hidden.shape), "has the wrong shape", cure))
        if self.max_steps < 0:
            raise ValueError(fault("max_steps", self.max_steps, "is negative", "give 0 or more"))

    def _propose(self, hidden: Tensor, state: Tensor | None, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Facts known at each position (B, T, F), and how far each rule applies there (B, T, R)."""
        normed = self.norm(hidden)
        seen = self.evidence(normed).sigmoid()
        if mask is not None:
            seen = seen * mask[..., None]
        if state is not None:
            seen = torch.cat([torch.maximum(seen[:, :1], state[:, None].to(seen)), seen[:, 1:]], dim=1)
        return seen.cummax(dim=1).values, self.gate(normed).sigmoid()

    def _chain(self, facts: Tensor, gates: Tensor, keep: bool) -> tuple[Tensor, list[dict[str, Tensor]]]:
        """Apply the rules ``max_steps`` times; each position stops by itself, whatever the others do."""
        body, head = self.body.softmax(-1), self.head.softmax(-1)
        beliefs, steps = facts, []
        active = torch.ones(facts.shape[:2], dtype=torch.bool, device=facts.device)
        for _ in range(self.max_steps):
            known = torch.cat([beliefs, torch.ones_like(beliefs[..., :1])], dim=-1)  # (B, T, F + 1)
            premises = torch.einsum("btf,rjf->btrj", known, body)
            fired = gates * premises.prod(-1)  # (B, T, R): the product t-norm is "and"
            # "or" over the rules is the probabilistic sum; a belief never falls (arXiv:1711.04574, section 4.4)
            doubt = (1 - fired[..., None] * head).prod(-2)
            raised = 1 - (1 - beliefs) * doubt
            grown = torch.where(active[..., None], raised, beliefs)
            if keep:
                if not bool(active.any()):
                    break
                steps.append(self._step(fired, active))
            active = active & ((grown - beliefs).amax(-1) > self.config.tolerance)
            beliefs = grown
        return beliefs, steps

    @torch.no_grad()
    def _step(self, fired: Tensor, active: Tensor) -> dict[str, Tensor]:
        strength, rule = fired.max(-1)
        premises, conclusion = self.body.argmax(-1)[rule], self.head.argmax(-1)[rule]
        return {
            "rule": rule,
            "premises": premises,
            "conclusion": conclusion,
            "strength": strength,
            "active": active.clone(),
        }

    # ---- from soft rules to a checked proof -------------------------------------------------------------------------

    @torch.no_grad()
    def rules(self) -> list[tuple[tuple[int, ...], int]]:
        """The rules made discrete: premises (without "true", each once) and conclusion, by largest weight."""
        true = self.config.n_facts
        bodies, heads = self.body.argmax(-1).tolist(), self.head.argmax(-1).tolist()
        return [(tuple(sorted({f for f in body if f != true})), head) for body, head in zip(bodies, heads, strict=True)]

    @torch.no_grad()
    def prove(
        self, hidden: Tensor, goal: int, position: int = -1, threshold: float = 0.5, names: list[str] | None = None
    ) -> Answer:
        """Does fact ``goal`` follow at a position of ``hidden`` (1, T, d_model), once facts and rules are discrete?

        The neural part proposes (facts and gates above ``threshold``), the Horn engine derives, the checker checks:
        the answer says "proved" only if the checker accepted the derivation.
        """
        from nexus.reasoning.formulas import Atom, Implies, Theory, conjunction
        from nexus.reasoning.reasoner import Reasoner

        self._check(hidden)
        facts, gates = self._propose(hidden, None, None)
        atoms = [Atom(name) for name in names or [f"fact_{i}" for i in range(self.config.n_facts)]]
        axioms: list[Any] = [atoms[i] for i in (facts[0, position] > threshold).nonzero()[:, 0].tolist()]
        applies = (gates[0, position] > threshold).tolist()
        for applied, (body, head) in zip(applies, self.rules(), strict=True):
            if applied:
                axioms.append(Implies(conjunction([atoms[i] for i in body]), atoms[head]) if body else atoms[head])
        return Reasoner().prove(Theory(tuple(axioms)), atoms[goal])
