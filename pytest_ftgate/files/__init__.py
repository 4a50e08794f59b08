"""Reads files that people wrote, strictly, and shows untrusted text safely."""
