"""`python -m jurist.serve`: a chat server before a function or an engine, with nothing kept."""

from .server import run_server

raise SystemExit(run_server())
