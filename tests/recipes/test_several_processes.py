"""A loop in several processes: one asks and writes, all train."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import pytest
from jobs import LEARNS, MOVES, loop_settings

from jurist.config import dump_yaml
from jurist.engines.engine import Ask
from jurist.recipes.loop.folder import LoopRun
from jurist.recipes.loop.labels import LabelledRun
from jurist.recipes.loop.rounds import LoopOutcome, Round
from jurist.recipes.rlaif import RlaifConfig
from jurist.run import read_json
from jurist.serve import serving
from jurist.tiny.judges import Planted

LAUNCH = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
SCRIPT = "from jurist.cli import main\nmain()\n"
ENV = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}


def test_the_others_wait_for_what_the_first_does_and_write_nothing(tmp_path, monkeypatch):
    cfg = loop_settings(RlaifConfig, tmp_path, judge="shorter")

    def other():
        with LoopRun(cfg) as loop:
            round = Round(loop, 1)
            rows.append(round.label("tiny:sloppy", "nobody:at all"))
            loop.write("mine", rows)
            loop.write_json("mine.json", rows[0])

    rows: list[LabelledRun] = []
    monkeypatch.setenv("RANK", "1")
    waits = threading.Thread(target=other)
    waits.start()
    waits.join(0.3)
    assert waits.is_alive()
    assert not (tmp_path / "loop").exists()
    monkeypatch.setenv("RANK", "0")
    with LoopRun(cfg) as loop:
        first = Round(loop, 1).label("tiny:sloppy", "shorter")
        waits.join(20)

    assert rows == [first]
    assert not list((tmp_path / "loop").glob("mine*"))


@pytest.mark.slow
def test_two_processes_ask_every_question_once_and_train_together(tmp_path):
    pytest.importorskip("transformers", reason="training is an extra")
    (tmp_path / "start.py").write_text(SCRIPT)
    asked: list[Ask] = []
    planted = Planted()
    with serving(lambda ask: asked.append(ask) or planted(ask)) as served:
        judge = {"engine": f"vllm:judge@{served.url}"}
        compare = {"judge": judge, "held_out": 0.3}
        ppo = {**MOVES, "rollout": {"max_tokens": 24}}
        cfg = loop_settings(
            RlaifConfig, tmp_path, judge=judge, compare=compare, k=2, reward_model=LEARNS, ppo=ppo
        )
        (tmp_path / "mine.yaml").write_text(dump_yaml(cfg))
        words = [sys.executable, *LAUNCH, str(tmp_path / "start.py"), "run", str(tmp_path / "mine.yaml")]
        said = subprocess.run(words, env={**os.environ, **ENV}, capture_output=True, text=True, timeout=300)

    assert said.returncode == 0, said.stderr
    assert said.stdout.count("win rate against initial policy") == 1
    assert said.stderr.count("process 1 takes part in the trainings of") == 1
    assert len(asked) == len(set(asked)) > 0
    for step in ("reward_model", "policy"):
        facts = json.loads((tmp_path / "loop" / "round-1" / step / "model" / "training.json").read_text())
        assert facts["processes"] == 2
    assert read_json(tmp_path / "loop" / "summary.json", LoopOutcome).rounds[0].compared.kl != 0
