"""Does a loop that is killed again and again come to the same models, and ask its judge nothing twice?

Two rounds of RLAIF in the tiny world, each with labels, a reward model and PPO, once undisturbed and once
killed with SIGKILL at moments drawn over its whole life. The judge writes every question that reaches it into
a file. What was in flight at a kill, or answered within one commit window of it, may be asked again.
"""

import json
import random
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from evidence import ROOT, record, write_rows
from jurist.tiny.model import tiny_checkpoint
from jurist.tiny.world import prompts
from support.cli import spawn

SLOW = "two minutes"
KILLS, PROMPTS = 8, 96
JUDGE = """
import os
from jurist.records import content_id
from jurist.tiny.judges import Planted

judge = Planted(position=0.4)


def asked(ask):
    with open(os.environ["ASKED"], "a") as file:
        file.write(content_id(ask) + "\\n")
    return judge(ask)
"""
TRAINING = {"save_every": 4, "batch": 16}
RECIPE: dict[str, Any] = {
    "recipe": "rlaif",
    "policy": "tiny",
    "judge": {"engine": "loop_judge:asked"},
    "rounds": 2,
    "sampling": {"max_tokens": 48},
    "compare": {"judge": {"engine": "tiny:oracle"}, "held_out": 0.3},
    "reward_model": {**TRAINING, "lr": 1e-3},
    "ppo": {**TRAINING, "lr": 3e-4, "rollout": {"max_tokens": 48}, "epochs": 2},
}


def launch(folder: Path, out: str) -> subprocess.Popen[str]:
    recipe = {**RECIPE, "out": str(folder / out), "prompts": str(folder / "prompts.jsonl")}
    env = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "ASKED": f"{folder}/{out}.asked"}
    env["PYTHONPATH"] = f"{folder}:{ROOT / 'src'}"
    return spawn("run", write_rows(folder / f"{out}.yaml", [recipe]), env=env)  # JSON is YAML


def finish(folder: Path, out: str) -> Any:
    """The figures of its rounds."""
    job = launch(folder, out)
    said = job.communicate(timeout=600)[1]
    if job.returncode:
        raise SystemExit(f"the loop ended with {job.returncode}: {said[-2000:]}")
    return figures(json.loads((folder / out / "summary.json").read_text())["rounds"])


def figures(found: Any) -> Any:
    """What may not depend on how often the loop was killed."""
    if not isinstance(found, dict):
        return [figures(one) for one in found] if isinstance(found, list) else found
    return {name: figures(value) for name, value in found.items() if name not in ("seconds", "policy")}


def questions(folder: Path, out: str) -> Counter[str]:
    file = folder / f"{out}.asked"
    return Counter(file.read_text().split() if file.exists() else ())


def main() -> None:
    tiny_checkpoint()
    draw, killed, anew = random.Random(0), 0, 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "loop_judge.py").write_text(JUDGE)
        write_rows(folder / "prompts.jsonl", prompts(PROMPTS, seed=11))
        began = time.monotonic()
        whole = finish(folder, "whole")
        life = time.monotonic() - began
        for _ in range(KILLS):
            job = launch(folder, "killed")
            try:
                # It needs seconds before it does anything: each kill lets it come a little further.
                job.wait(timeout=draw.uniform(0.15, 0.6) * life)
                break
            except subprocess.TimeoutExpired:
                job.kill()
                job.communicate()
                killed, anew = killed + 1, anew + len(questions(folder, "killed"))
        same = finish(folder, "killed") == whole
        once, more = questions(folder, "whole"), questions(folder, "killed")
    twice, unknown = more.total() - len(more), len(set(more) ^ set(once))
    record(
        "loop_resumes",
        float(twice),
        null={"questions asked again by a loop that begins anew after each kill": float(anew)},
        bar=f"the same weights and figures after {KILLS} kills, at most 64 questions a kill asked again",
        holds=same and killed >= 3 and not unknown and twice <= min(64 * killed, anew),
        same_weights_and_figures=same,
        more={"kills": killed, "questions": once.total(), "other_questions": unknown},
    )


if __name__ == "__main__":
    main()
