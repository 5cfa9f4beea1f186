"""The factory: turns registered teachers into a finished student, stage by stage, resumably."""
