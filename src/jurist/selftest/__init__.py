"""Judges whose answers are known, sent through the whole pipeline over HTTP; then what came out is checked.

It runs in seconds, needs no key and no network, and answers one question: would this installation, today,
turn right verdicts into right labels, and wrong replies into none?
"""

from .run import Check, Result, run_selftest

__all__ = ["Check", "Result", "run_selftest"]
