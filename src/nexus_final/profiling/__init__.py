"""The parts of the profiler: what is measured, each in a file of its own. `nexus_final.profiler` puts them together."""
