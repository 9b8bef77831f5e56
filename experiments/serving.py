"""A judge behind `jurist serve`, and in the process of others: what serving adds, and TRL's own trainer.

Load comes from a second core, each request at its fixed time, answered or not the ones before; where it is
allowed, both ends have real-time priority.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from evidence import record, run_claims
from jurist import reward_function
from jurist.engines.budget import Budget
from jurist.engines.engine import Ask
from jurist.recipes.scoring import Scoring, prompt_of
from jurist.run import Run
from serve.calls import post

SLOW = "ten minutes of two cores"
JUDGE_S, RATE, ASKED, ROUNDS, KILLS = 0.02, 200, 2000, 5, 10
JUDGE = {"kind": "pointwise", "reason": False, "engine": "scripted:serving:seven"}
TINY = {"kind": "pointwise", "engine": {"engine": "tiny:planted", "extra": {"length": 0.05}}}
STEPS, HELD_OUT, SEED = 600, 800, 47
CALLS = os.open(os.environ.get("CALLS", os.devnull), os.O_WRONLY | os.O_APPEND | os.O_CREAT)


async def seven(ask: Ask) -> str:
    """A judge that takes its time, and counts its calls in a file."""
    await asyncio.sleep(JUDGE_S)
    os.write(CALLS, b".")
    return "7"


async def echo() -> None:
    """The null: aiohttp with the same wait and nothing else."""

    async def answer(request: web.BaseRequest) -> web.Response:
        await request.json()
        await asyncio.sleep(JUDGE_S)
        return web.json_response({"scores": [0.5]})

    server = await asyncio.get_running_loop().create_server(web.Server(answer), "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


@contextmanager
def started(folder: str, *words: str, core: int = 0) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server on a core of its own, and where it is."""
    command = ["taskset", "-c", str(core), sys.executable, *words]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "CALLS": f"{folder}/calls"}
    how: Any = {"cwd": folder, "env": environ, "text": True, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, stdout=subprocess.PIPE, **how) as process:
        try:
            yield process, process.stdout.readline().strip().removesuffix("/v1")
        finally:
            process.kill()


def served(judge: dict[str, Any], *words: str) -> list[str]:
    code = "from jurist.cli import main; main()"
    return ["-c", code, "serve", "--port", "0", "--judge", json.dumps(judge), *words]


def row(n: int) -> dict[str, Any]:
    return {"prompt": "Which?", "completions": [f"{n} " + "word " * 50]}


async def at_fixed_times(ask: Callable[[int], Awaitable[object]], first: int) -> list[float]:
    """Milliseconds from when each request should have left to its answer."""
    await asyncio.gather(*(ask(-n) for n in range(1, 50)))  # connections are open, and the judge is known
    begin = time.perf_counter() + 0.1

    async def one(n: int) -> float:
        due = begin + n / RATE
        await asyncio.sleep(due - time.perf_counter())
        await ask(first + n)
        return (time.perf_counter() - due) * 1000

    return await asyncio.gather(*map(one, range(ASKED)))


async def over_http(url: str, first: int) -> list[float]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:

        async def ask(n: int) -> None:
            async with http.post(f"{url}/score", json=row(n)) as got:
                assert (await got.json())["scores"] == [0.5]

        return await at_fixed_times(ask, first)


async def in_process(folder: str, first: int) -> list[float]:
    with Run(f"{folder}/in-process") as run:
        scoring, prompt = Scoring(JUDGE, run.journal, Budget(None, run.journal)), prompt_of("Which?")

        async def ask(n: int) -> None:
            (scored,) = await scoring.rewards([(prompt, row(n)["completions"][0])])
            assert scored.score == 0.5

        return await at_fixed_times(ask, first)


def reward_endpoint() -> None:
    os.sched_setaffinity(0, {1})
    if os.geteuid() == 0:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    took: dict[str, list[list[float]]] = {"in process": [], "served": [], "echo": []}
    with tempfile.TemporaryDirectory() as folder:
        unlimited = served(JUDGE, "--concurrency", "1024")
        with started(folder, *unlimited) as (_, url), started(folder, __file__, "echo") as (_, null):
            for at in range(0, ROUNDS * ASKED, ASKED):  # in turns, so that all meet the same machine
                took["in process"].append(asyncio.run(in_process(folder, at)))
                took["served"].append(asyncio.run(over_http(url, at)))
                took["echo"].append(asyncio.run(over_http(null, at)))
        overload, (answered, again) = overloaded(folder), killed(folder)
    p50, p99 = (
        {name: [round(sorted(one)[int(share * ASKED)], 2) for one in some] for name, some in took.items()}
        for share in (0.5, 0.99)
    )
    added = sorted(one - other for one, other in zip(p99["served"], p99["in process"], strict=True))
    bare = round(statistics.median(p99["echo"]) - 1000 * JUDGE_S, 2)
    sound = overload.keys() == {"200", "503, Retry-After"} and again == 0
    record(
        "reward_endpoint",
        (round(statistics.median(added), 2), round(added[0], 2), round(added[-1], 2)),
        null={"bare aiohttp, p99 above the judge's wait in ms": bare},
        bar=f"ms that serving adds to the p99 of a journalled judge at {RATE} requests a second on one core,"
        f" median of {ROUNDS} rounds (least to most): < 5; overload: 503 and Retry-After, nothing hangs;"
        f" {KILLS} times kill -9: 0 answered calls asked again",
        holds=statistics.median(added) < 5 and sound,
        more={"p99_ms": p99, "p50_ms": p50, "overload": overload, "answered": answered, "asked_again": again},
    )


def said(url: str, n: int) -> str:
    """The status of a reply; `none` where there is none within 20 s."""
    try:
        status, _, headers = post(f"{url}/score", row(n))
    except OSError:
        return "none"
    return f"{status}, Retry-After" if "Retry-After" in headers else f"{status}"


def overloaded(folder: str) -> dict[str, int]:
    """Four hundred at once, where 8 are worked on and 16 may wait."""
    words = served(JUDGE, "--concurrency", "8", "--queue", "16", "--out", "overloaded")
    with started(folder, *words) as (_, url), ThreadPoolExecutor(400) as many:
        return Counter(many.map(partial(said, url), range(400)))


def killed(folder: str) -> tuple[int, int]:
    """Requests answered before each kill, and how many of them the judge was asked about once more."""
    answered, words = set[int](), served(JUDGE, "--out", "killed")
    for first in range(0, 200 * KILLS, 200):
        with started(folder, *words) as (process, url), ThreadPoolExecutor(16) as many:
            mine = {n: many.submit(said, url, n) for n in range(first, first + 200)}
            time.sleep(0.2)
            process.kill()
            answered |= {n for n, one in mine.items() if one.result() == "200"}
    before = Path(folder, "calls").stat().st_size
    with started(folder, *words) as (_, url), ThreadPoolExecutor(16) as many:
        assert {*many.map(partial(said, url), answered)} == {"200"}
    return len(answered), Path(folder, "calls").stat().st_size - before


def trl_with_our_reward() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded
    import small_world as world

    trial, found = world.Trial(HELD_OUT, SEED), {}
    with tempfile.TemporaryDirectory() as folder:
        with reward_function(TINY, journal=f"{folder}/journal.sqlite") as reward:
            found["reward_function"] = trial.mark(grpo(reward, f"{folder}/function"))
        with started(folder, *served(TINY), core=1) as (_, url):

            def endpoint(prompts: list[Any], completions: list[Any], **_: Any) -> list[float | None]:
                both = zip(prompts, completions, strict=True)
                rows = [{"prompt": prompt, "completions": [text]} for prompt, text in both]
                return [score for (score,) in post(f"{url}/score", {"rows": rows})[1]["scores"]]

            found["endpoint"] = trial.mark(grpo(endpoint, f"{folder}/endpoint"))
    record(
        "trl_with_our_reward",
        **world.worst_of(found.values()),
        bar=f"TRL's GRPOTrainer, {STEPS} steps, with jurist.reward_function and with the endpoint: true win"
        " rate over the initial policy above 0.5 and above the best null's (untrained, constant answers, the"
        " longest ...), both 95% intervals over held-out prompts",
        holds=all(world.beats(one) for one in found.values()),
        more={"policies": found, "held_out": HELD_OUT},
    )


def grpo(reward: Callable[..., list[float | None]], out: str) -> str:
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    import small_world as world

    requests = map(world.request, world.prompts(480, SEED))
    asked = [{"prompt": [{"role": "user", "content": one}]} for one in requests]
    cpu: Any = {"use_cpu": True, "bf16": False, "gradient_checkpointing": False, "report_to": []}
    batch: Any = {"per_device_train_batch_size": 32, "num_generations": 8, "max_steps": STEPS}
    batch |= {"learning_rate": 3e-4, "beta": 0.02, "max_completion_length": world.MOST_TOKENS}
    args = GRPOConfig(out, seed=SEED, **batch, **cpu)
    trainer = GRPOTrainer(str(world.tiny_checkpoint()), reward, args, train_dataset=Dataset.from_list(asked))
    trainer.train()
    trainer.save_model(f"{out}/model")
    return f"{out}/model"


if __name__ == "__main__":
    if sys.argv[1:] == ["echo"]:
        asyncio.run(echo())
    run_claims(reward_endpoint, trl_with_our_reward)
