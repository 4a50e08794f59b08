"""What a run leaves for the deploy step: a receipt that says which bytes were judged, and how.

Everything that verifies is standard library only (checking a signature needs `cryptography`, imported when asked for).
"""
