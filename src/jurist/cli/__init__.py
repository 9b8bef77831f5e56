"""The command line: one verb per step, each usable alone. Heavy imports happen inside the verbs."""

from .app import main

__all__ = ["main"]
