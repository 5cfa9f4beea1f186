"""Which graph: constraint-based, score-based, non-Gaussian and differentiable methods, and the choice among them."""
