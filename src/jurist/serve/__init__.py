"""Judges, reward models and engines behind an address that other people's programs can call."""

from .server import Server, serving

__all__ = ["Server", "serving"]
