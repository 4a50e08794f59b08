"""Generations -> Scores -> one Verdict per gate. Pure: no pytest, no model, no files beyond what scorers name.

Every gate has a bad null and passes only where that null is rejected (intersection-union over gates, rungs and bounded
slices: a model with any one thing wrong ships with probability at most alpha). What was not answered is never scored:
it is an ERROR.
"""
