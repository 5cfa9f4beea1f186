"""What the server counts, for Prometheus.

The one idea: counts and times only. No metric carries a text, a key or a client's name.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from nexus.training.audit.memory import heap_bytes, resident_megabytes

RECENT = 200  # decisions that a chart of them shows
TIMES = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)  # seconds


class Metrics:
    """Counters, gauges and histograms in a registry of their own.

    Raises:
        ImportError: the extra ``serving`` is not installed.
    """

    def __init__(self) -> None:
        try:
            from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
        except ImportError:
            raise ImportError("nexus serve needs prometheus-client; pip install 'nexus-ai[serving]'") from None
        self.registry = CollectorRegistry()
        made: Any = {"registry": self.registry}
        self.requests = Counter("nexus_requests", "HTTP requests by path and status", ["path", "status"], **made)
        self.prompt_tokens = Counter("nexus_prompt_tokens", "Tokens of all prompts", **made)
        self.cached_tokens = Counter("nexus_cached_tokens", "Of these, tokens that the prefix cache spared", **made)
        self.answer_tokens = Counter("nexus_answer_tokens", "Tokens of all answers", **made)
        self.cancelled = Counter("nexus_cancelled", "Requests whose client went away", **made)
        self.decisions = Counter("nexus_decisions", "Questions to the gate", ["channel", "answered"], **made)
        self.recent = deque[bool](maxlen=RECENT)  # whether each of the last questions was answered
        self.refused = Counter("nexus_refused", "Requests refused because the queue was full", **made)
        self.failed = Counter("nexus_failed", "Requests that ended in an error of the model", **made)
        self.running = Gauge("nexus_running", "Answers under way", **made)
        self.waiting = Gauge("nexus_waiting", "Requests in the queue", **made)
        self.cache_bytes = Gauge("nexus_prefix_cache_bytes", "Bytes of states in the prefix cache", **made)
        self.first = Histogram("nexus_first_token_seconds", "From request to first token", buckets=TIMES, **made)
        self.whole = Histogram("nexus_answer_seconds", "From request to last token", buckets=TIMES, **made)

        self._watch_memory()

    def watch(self, name: str, words: str, look: Callable[[], float]) -> None:
        """Tell of a number that ``look`` reads whenever it is asked for, in whatever thread asks."""
        from prometheus_client import Gauge

        Gauge(f"nexus_{name}", words, registry=self.registry).set_function(look)

    def _watch_memory(self) -> None:
        """What the process takes, as far as this system says: what nobody holds is no leak, it is used again."""
        if resident_megabytes() is not None:
            self.watch("resident_bytes", "Of the process, in RAM", lambda: 2**20 * (resident_megabytes() or 0.0))
        if heap_bytes() is not None:
            self.watch("heap_used_bytes", "Of the heap, held by somebody", lambda: _heap(0))
            self.watch("heap_free_bytes", "Of the heap, free and not given back to the system", lambda: _heap(1))

    def decided(self, channel: str, answered: bool) -> None:
        """Count what the gate did with one question."""
        self.decisions.labels(channel or "none", str(answered).lower()).inc()
        self.recent.append(answered)

    def value(self, name: str) -> float:
        """What one of our own counts stands at, by its name for Prometheus; 0 if nothing was counted."""
        return self.registry.get_sample_value(name) or 0.0

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        from prometheus_client import generate_latest

        return generate_latest(self.registry)


def _heap(part: int) -> float:
    heap = heap_bytes()
    return 0.0 if heap is None else heap[part]
