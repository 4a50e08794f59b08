"""Eval sets: files that say what a model is asked, read and checked."""
