"""Training: control of long runs, guards, checkpoints, losses, optimisers, schedules."""
