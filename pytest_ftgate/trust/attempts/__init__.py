"""Attempts: how often models were judged on the same examples, and the error rate that is left."""
