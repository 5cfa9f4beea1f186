"""The auditor: live statistics of a training run, diagnosis with evidence, and what to do about it."""
