"""A judge behind our server, and requests to it."""

import json
import urllib.error
import urllib.request
from contextlib import contextmanager

from jurist.engines.budget import Budget
from jurist.recipes.scoring import Scoring
from jurist.run import Run
from jurist.serve import serving


@contextmanager
def judged_by(judge, out="served", cap=None, **how):
    """As `jurist serve JUDGE` has it, in this process."""
    with Run(out) as run:
        scoring = Scoring(judge, run.journal, Budget(cap, run.journal))
        engine = next(iter(scoring.engines), None)
        with serving(engine.answer if engine else {}, scoring=scoring, **how) as server:
            server.url = server.url.removesuffix("/v1")
            yield server


def post(url, body, **headers):
    """Status, fields and headers of a reply."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=20) as got:
            return got.status, json.loads(got.read()), got.headers
    except urllib.error.HTTPError as got:
        return got.code, json.loads(got.read()), got.headers


def score(server, *completions, prompt="Which?", **headers):
    return post(f"{server.url}/score", {"prompt": prompt, "completions": completions}, **headers)


def metrics(server, **headers):
    asked = urllib.request.Request(f"{server.url}/metrics", headers=headers)
    lines = urllib.request.urlopen(asked, timeout=5).read().decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}
