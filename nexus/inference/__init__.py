"""Running language models: weights in and out, generation, caches."""

from nexus.inference.release import Release, load_release, open_release

__all__ = ["Release", "load_release", "open_release"]
