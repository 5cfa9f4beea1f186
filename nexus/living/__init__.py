"""The living service: when to answer (the gate) and what was learnt (the journal).

Nothing is imported here: the journal needs the standard library alone, and a process that only teaches starts fast.
"""
