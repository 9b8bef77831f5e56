"""Does a loop that is killed again and again come to the same models, and ask its judge nothing twice?

Two rounds of RLAIF in the tiny world, each with labels, a reward model and PPO, once undisturbed and once
killed with SIGKILL at moments drawn over its whole life. The judge writes every question that reaches it
into a file. Both loops must end with the same weights, bit by bit, and the same figures; what was in flight
at a kill, or answered within one commit window of it, may be asked again. A loop that begins anew after each
kill would ask everything again that had been asked before it.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from evidence import record
from jurist.tiny.model import tiny_checkpoint
from jurist.tiny.world import prompts

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
DRIVER = """
import json, sys
import msgspec, torch
from jurist.recipes.rlaif import RlaifConfig, rlaif
from jurist.config import load_settings

torch.set_num_threads(1)
print(msgspec.json.encode(rlaif(load_settings(RlaifConfig, sys.argv[1]))).decode())
"""


def launch(folder: Path, out: str) -> subprocess.Popen[bytes]:
    training = {"save_every": 4, "batch": 16}
    recipe = {
        "recipe": "rlaif",
        "out": str(folder / out),
        "prompts": str(folder / "prompts.jsonl"),
        "policy": "tiny",
        "judge": {"engine": "loop_judge:asked"},
        "rounds": 2,
        "sampling": {"max_tokens": 48},
        "compare": {"judge": {"engine": "tiny:oracle"}, "held_out": 0.3},
        "reward_model": {**training, "lr": 1e-3},
        "ppo": {**training, "lr": 3e-4, "rollout": {"max_tokens": 48}, "epochs": 2},
    }
    (folder / f"{out}.yaml").write_text(json.dumps(recipe))  # JSON is YAML
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(folder / f"{out}.yaml")],
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "ASKED": str(folder / f"{out}.asked"),
            "PYTHONPATH": f"{folder}:{Path(__file__).resolve().parent.parent / 'src'}",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finish(job: subprocess.Popen[bytes]) -> dict[str, Any]:
    out, err = job.communicate(timeout=600)
    if job.returncode:
        raise SystemExit(f"the loop ended with {job.returncode}: {err.decode()[-2000:]}")
    outcome: dict[str, Any] = json.loads(out)
    return outcome


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
    draw = random.Random(0)
    folder = Path(tempfile.mkdtemp())
    try:
        (folder / "loop_judge.py").write_text(JUDGE)
        rows = (msgspec.json.encode(one) + b"\n" for one in prompts(PROMPTS, seed=11))
        (folder / "prompts.jsonl").write_bytes(b"".join(rows))
        began = time.monotonic()
        whole = finish(launch(folder, "whole"))
        life = time.monotonic() - began
        killed = anew = 0
        for _ in range(KILLS):
            job = launch(folder, "killed")
            try:
                # It needs seconds before it does anything: each kill lets it come a little further.
                job.wait(timeout=draw.uniform(0.15, 0.6) * life)
                break
            except subprocess.TimeoutExpired:
                job.send_signal(signal.SIGKILL)
                job.communicate()
                killed += 1
                anew += len(questions(folder, "killed"))
        again = finish(launch(folder, "killed"))
        once, more = questions(folder, "whole"), questions(folder, "killed")
        same = figures(whole["rounds"]) == figures(again["rounds"])
        twice = sum(more.values()) - len(more)
        unknown = len(set(more) ^ set(once))
    finally:
        shutil.rmtree(folder)
    record(
        "loop_resumes",
        value=float(twice),
        null={"questions asked again by a loop that begins anew after each kill": float(anew)},
        bar=f"the same weights and figures after {KILLS} kills, at most 64 questions a kill asked again",
        holds=same and killed >= 3 and not unknown and twice <= min(64 * killed, anew),
        kills=killed,
        questions=sum(once.values()),
        asked_again=twice,
        other_questions=unknown,
        same_weights_and_figures=same,
        packages=("jurist", "torch", "transformers"),
    )


if __name__ == "__main__":
    main()
