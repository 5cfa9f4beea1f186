"""The own STRIPS planner: best-first search over sets of atoms held as bits.

The one idea: how far a state is from the goal is estimated by planning without deletions (Hoffmann and Nebel 2001, the
FF heuristic); greedy search finds a plan fast, and breadth-first search a shortest one. `fast_downward` asks the
planner of that name instead, through unified-planning. Whoever found a plan, the checker simulates it.
"""

from __future__ import annotations

import heapq
import itertools
from collections import defaultdict, deque
from collections.abc import Iterator

from nexus.reasoning.budget import Budget, OutOfBudget
from nexus.reasoning.extras import needs
from nexus.reasoning.formulas import Atom, Planning


class _Bits:
    """The problem with each atom a bit of an integer."""

    def __init__(self, problem: Planning) -> None:
        atoms: dict[Atom, int] = {}
        for atom in itertools.chain(problem.start, problem.goal, *((*a.needs, *a.adds) for a in problem.actions)):
            atoms.setdefault(atom, len(atoms))
        self.count = len(atoms)

        def mask(several: frozenset[Atom]) -> int:
            return sum(1 << atoms[a] for a in several if a in atoms)  # an atom no action adds cannot become true

        self.start, self.goal = mask(problem.start), mask(problem.goal)
        ordered = sorted(problem.actions, key=lambda a: a.name)
        self.names = [a.name for a in ordered]
        self.actions = [(mask(a.needs), mask(a.forbids), mask(a.adds), mask(a.deletes)) for a in ordered]
        self.waiting: dict[int, list[int]] = defaultdict(list)  # bit -> actions that need it
        for number, (wanted, _, _, _) in enumerate(self.actions):
            for bit in _ones(wanted):
                self.waiting[bit].append(number)
        self.free = [n for n, (wanted, _, _, _) in enumerate(self.actions) if not wanted]

    def successors(self, state: int) -> Iterator[tuple[int, int]]:
        for number, (wanted, barred, adds, deletes) in enumerate(self.actions):
            if state & wanted == wanted and not state & barred:
                yield number, state & ~deletes | adds

    def estimate(self, state: int) -> int | None:
        """Length of a plan that ignores deletions; None if even that does not exist."""
        open_ = [bin(wanted).count("1") for wanted, _, _, _ in self.actions]
        made_by: dict[int, int] = {}
        reached, queue = state, deque(_ones(state))
        ready = deque(self.free)
        while queue or ready:
            if reached & self.goal == self.goal:
                break
            for number in self.waiting[queue.popleft()] if queue else ():
                open_[number] -= 1
                if not open_[number]:
                    ready.append(number)
            while ready:
                number = ready.popleft()
                for bit in _ones(self.actions[number][2] & ~reached):
                    made_by[bit] = number
                    reached |= 1 << bit
                    queue.append(bit)
        if reached & self.goal != self.goal:
            return None
        return self._extract(state, made_by)

    def _extract(self, state: int, made_by: dict[int, int]) -> int:
        chosen: set[int] = set()
        wanted = _ones(self.goal & ~state)
        while wanted:
            number = made_by[wanted.pop()]
            if number not in chosen:
                chosen.add(number)
                wanted += _ones(self.actions[number][0] & ~state)
        return len(chosen)


def _ones(mask: int) -> list[int]:
    found = []
    while mask:
        low = mask & -mask
        found.append(low.bit_length() - 1)
        mask ^= low
    return found


def plan(problem: Planning, budget: Budget, shortest: bool = False) -> list[str] | None:
    """Names of actions that lead to the goal, or None if there is no plan (all reachable states were seen).

    Raises:
        OutOfBudget: time or memory ran out before either was known.
    """
    bits = _Bits(problem)
    if shortest:
        return _breadth_first(bits, budget)
    return _greedy(bits, budget)


def _greedy(bits: _Bits, budget: Budget) -> list[str] | None:
    first = bits.estimate(bits.start)
    if first is None:
        return None
    counter = itertools.count()
    queue = [(first, next(counter), bits.start)]
    came: dict[int, tuple[int, int] | None] = {bits.start: None}
    while queue:
        state = heapq.heappop(queue)[2]
        if state & bits.goal == bits.goal:
            return _path(bits, came, state)
        for number, further in bits.successors(state):
            budget.spend()
            if further not in came:
                came[further] = (state, number)
                distance = bits.estimate(further)
                if distance is not None:
                    heapq.heappush(queue, (distance, next(counter), further))
    return None


def _breadth_first(bits: _Bits, budget: Budget) -> list[str] | None:
    queue = deque([bits.start])
    came: dict[int, tuple[int, int] | None] = {bits.start: None}
    while queue:
        state = queue.popleft()
        if state & bits.goal == bits.goal:
            return _path(bits, came, state)
        for number, further in bits.successors(state):
            budget.spend()
            if further not in came:
                came[further] = (state, number)
                queue.append(further)
    return None


def _path(bits: _Bits, came: dict[int, tuple[int, int] | None], state: int) -> list[str]:
    steps = []
    while (before := came[state]) is not None:
        state, number = before
        steps.append(bits.names[number])
    return steps[::-1]


def fast_downward(problem: Planning, budget: Budget) -> list[str] | None:
    """A plan by Fast Downward through unified-planning (extra ``planners``; its licence is the GPL)."""
    with needs("unified_planning", "planners"):
        from unified_planning.engines import PlanGenerationResultStatus as Status
        from unified_planning.shortcuts import OneshotPlanner, get_environment
    from nexus.reasoning.planners import to_unified

    get_environment().credits_stream = None
    unified, names = to_unified(problem)
    with OneshotPlanner(name="fast-downward") as planner:
        result = planner.solve(unified, timeout=max(1.0, budget.left))
    if result.status in (Status.UNSOLVABLE_PROVEN, Status.UNSOLVABLE_INCOMPLETELY):
        return None
    if result.plan is None:
        raise OutOfBudget(f"Fast Downward ended with {result.status.name}")
    return [names[step.action.name] for step in result.plan.actions]
