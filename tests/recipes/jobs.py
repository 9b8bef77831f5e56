"""Small jobs for these tests: rows of the small world, and its judges behind a real HTTP server."""

import json

import msgspec

from jurist.cli.options import known_settings, parse
from jurist.config import load_settings, settings_from
from jurist.recipes.label import label
from jurist.recipes.settings import LabelConfig
from jurist.selftest import make_rows, write_rows
from jurist.tiny import world


def write_pairs(folder, n=20):
    rows = make_rows(n)
    write_rows(rows, folder / "pairs.jsonl")
    return rows


def write_prompts(folder, n=12):
    lines = [json.dumps({"prompt": one.messages[-1].content}) for one in world.prompts(n)]
    (folder / "prompts.jsonl").write_text("\n".join(lines) + "\n")


def settings(folder, judge, **others):
    source = {} if {"prompts", "completions", "pairs"} & others.keys() else {"pairs": "pairs.jsonl"}
    tree = {**source, "out": "run", **others, "judge": judge}
    for key in ("out", "prompts", "completions", "pairs", "labels"):
        if key in tree and tree[key] != "given":
            tree[key] = str(folder / tree[key])
    return settings_from(LabelConfig, tree)


LEARNS = {"batch": 8, "save_every": 0, "lr": 1e-3}
MOVES = {"batch": 8, "save_every": 0, "lr": 3e-4}


def loop_settings(recipe, folder, *words, n=16, **more):
    """A loop over a few prompts of the small world: two steps of each kind of training."""
    rows = (msgspec.json.encode(one) + b"\n" for one in world.prompts(n, seed=2))
    (folder / "prompts.jsonl").write_bytes(b"".join(rows))
    given = {
        "out": str(folder / "loop"),
        "prompts": str(folder / "prompts.jsonl"),
        "policy": "tiny",
        "sampling": {"max_tokens": 24},
        "compare": {"judge": "shorter", "held_out": 0.3},
    }
    overrides, _ = parse(words, known_settings(recipe))
    return load_settings(recipe, None, overrides, **{**given, **more})


def run(folder, judge, **others):
    return label(settings(folder, judge, **others))


def at(served, name="oracle", **engine):
    """A judge behind that server."""
    return {"engine": {"engine": f"vllm:{name}@{served.url}", **engine}}


def lines(folder, noun):
    return [json.loads(line) for line in (folder / "run" / f"{noun}.jsonl").read_text().splitlines()]


def accounted(folder):
    """Each matchup of the run, and what became of it: it has to be exactly one thing."""
    met = {one[0]: frozenset(one[1:]) for row in lines(folder, "matchups") for one in row["matchups"]}
    labels = {frozenset((one["chosen"]["id"], one["rejected"]["id"])) for one in lines(folder, "preferences")}
    lost = [row["subject_id"] for row in lines(folder, "dropped")]
    return all((pair in labels) + lost.count(matchup) == 1 for matchup, pair in met.items())
