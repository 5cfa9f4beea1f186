"""Running language models: weights in and out, generation, caches."""
