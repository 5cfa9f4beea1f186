"""How sure of an answer to be: signals, one idea a file, and the combination that is fitted to outcomes.

Each signal is a number that is larger for surer answers.
"""
