"""The receipt: it tells the deploy step which bytes were judged, and how.

Everything that verifies is standard library only (checking a signature needs `cryptography`, imported when asked for).
"""
