"""A judge behind `jurist serve`, and in the process of others: what serving adds, and TRL's own trainer.

Load comes from a second core, each request at its fixed time, whether or not those before were answered. Where
it is allowed, both ends run at a raised priority: what else the machine does is not what is measured.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
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

SLOW = "ten minutes of two cores"
JUDGE_S, RATE, ASKED, ROUNDS, KILLS = 0.02, 200, 2000, 5, 10
JUDGE = {"kind": "pointwise", "reason": False, "engine": "scripted:serving:seven"}
TINY = {"kind": "pointwise", "engine": {"engine": "tiny:planted", "extra": {"length": 0.05}}}
STEPS, HELD_OUT, SEED = 600, 800, 31


async def seven(ask: Ask) -> str:
    """A judge that takes its time, and counts its calls in a file."""
    await asyncio.sleep(JUDGE_S)
    with open("calls", "a") as calls:
        calls.write("one\n")
    return "7"


async def echo() -> None:
    """The null: aiohttp with the same wait and nothing else."""

    async def answer(request: web.Request) -> web.Response:
        await request.json()
        await asyncio.sleep(JUDGE_S)
        return web.json_response({"scores": [0.5]})

    app = web.Application()
    app.router.add_post("/score", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}/v1", flush=True)
    await asyncio.sleep(3600)


@contextmanager
def started(folder: str, *words: str, core: int = 0) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server on a core of its own, and where it is."""
    command = ["taskset", "-c", str(core), sys.executable, *words]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=folder, env=environ, text=True, **pipes) as process:
        try:
            yield process, process.stdout.readline().strip().removesuffix("/v1")  # type: ignore[union-attr]
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
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(n: int) -> None:
            async with session.post(f"{url}/score", json=row(n)) as got:
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
        os.chdir(folder)
        unlimited = served(JUDGE, "--concurrency", "1024")
        with started(folder, *unlimited) as (_, url), started(folder, __file__, "echo") as (_, null):
            for at in range(0, ROUNDS * ASKED, ASKED):  # in turns, so that all meet the same machine
                took["in process"].append(asyncio.run(in_process(folder, at)))
                took["served"].append(asyncio.run(over_http(url, at)))
                took["echo"].append(asyncio.run(over_http(null, at)))
        overload, (answered, again) = asyncio.run(overloaded(folder)), killed(folder)
    p50, p99 = (
        {name: [round(sorted(one)[int(share * ASKED)], 2) for one in some] for name, some in took.items()}
        for share in (0.5, 0.99)
    )
    added = sorted(one - other for one, other in zip(p99["served"], p99["in process"], strict=True))
    sound = overload["hung"] == overload["without_retry_after"] == again == 0 < overload["503"]
    record(
        "reward_endpoint",
        (round(statistics.median(added), 2), round(added[0], 2), round(added[-1], 2)),
        null={
            "bare aiohttp, p99 above the judge's wait in ms": statistics.median(p99["echo"]) - 1000 * JUDGE_S
        },
        bar=f"ms that serving adds to the p99 of a journalled judge at {RATE} requests a second on one core,"
        f" median of {ROUNDS} rounds (least to most): < 5; overload: 503 and Retry-After, nothing hangs;"
        f" {KILLS} times kill -9: 0 answered calls asked again",
        holds=statistics.median(added) < 5 and sound,
        more={"p99_ms": p99, "p50_ms": p50, "overload": overload, "answered": answered, "asked_again": again},
    )


async def overloaded(folder: str) -> dict[str, float]:
    """Four hundred at once, where 8 are worked on and 16 may wait."""
    seconds: dict[int, list[float]] = {200: [], 503: []}
    without = hung = 0
    words = served(JUDGE, "--concurrency", "8", "--queue", "16", "--out", "overloaded")
    with started(folder, *words) as (_, url):
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def ask(n: int) -> None:
                nonlocal without, hung
                begin = time.perf_counter()
                try:
                    async with asyncio.timeout(10), session.post(f"{url}/score", json=row(n)) as got:
                        await got.read()
                        seconds[got.status].append(time.perf_counter() - begin)
                        without += got.status == 503 and "Retry-After" not in got.headers
                except TimeoutError:
                    hung += 1

            await asyncio.gather(*map(ask, range(400)))
    counts = {str(status): len(some) for status, some in seconds.items()}
    slowest = round(max(seconds[503], default=0.0), 2)
    return {**counts, "slowest_503_s": slowest, "without_retry_after": without, "hung": hung}


def killed(folder: str) -> tuple[int, int]:
    """Requests answered before each kill, and how many of them the judge was asked about once more."""
    from serve.calls import post

    def ask(url: str, n: int) -> int:
        try:
            return n if post(f"{url}/score", row(n))[1]["scores"] == [0.5] else 0
        except OSError:
            return 0

    answered: set[int] = set()
    words = served(JUDGE, "--out", "killed")
    for kill in range(KILLS):
        with started(folder, *words) as (process, url), ThreadPoolExecutor(16) as many:
            mine = [many.submit(ask, url, 1 + 200 * kill + n) for n in range(200)]
            time.sleep(0.2)
            process.kill()
            answered |= {one.result() for one in mine} - {0}
    before = len(Path(folder, "calls").read_text())
    with started(folder, *words) as (_, url), ThreadPoolExecutor(16) as many:
        assert all(many.map(lambda n: ask(url, n), sorted(answered)))
    return len(answered), (len(Path(folder, "calls").read_text()) - before) // len("one\n")


def trl_with_our_reward() -> None:
    import torch

    import small_world as world

    torch.set_num_threads(1)
    trial, found = world.Trial(HELD_OUT, SEED), {}
    with tempfile.TemporaryDirectory() as folder:
        with reward_function(TINY, journal=f"{folder}/journal.sqlite") as reward:
            found["reward_function"] = trial.mark(grpo(reward, f"{folder}/function"))
        with started(folder, *served(TINY), core=1) as (_, url):
            found["endpoint"] = trial.mark(grpo(asking(url), f"{folder}/endpoint"))
    record(
        "trl_with_our_reward",
        **world.worst_of(found.values()),
        bar=f"TRL's GRPOTrainer, {STEPS} steps, with jurist.reward_function and with the served endpoint: true"
        " win rate over the initial policy above 0.5, and above that of the best null (untrained, a constant"
        " answer, the longest ...), both 95% intervals over held-out prompts",
        holds=all(world.beats(one) for one in found.values()),
        more={"policies": found, "held_out": HELD_OUT},
    )


def asking(url: str) -> Callable[..., list[float | None]]:
    import requests

    def by_http(prompts: Sequence[Any], completions: Sequence[Any], **_: Any) -> list[float | None]:
        both = zip(prompts, completions, strict=True)
        rows = [{"prompt": prompt, "completions": [completion]} for prompt, completion in both]
        got = requests.post(f"{url}/score", json={"rows": rows}, timeout=600)
        return [score for (score,) in got.json()["scores"]]

    return by_http


def grpo(reward: Callable[..., list[float | None]], out: str) -> str:
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    import small_world as world
    from jurist.tiny.model import tiny_checkpoint
    from jurist.tiny.world import prompts

    asked = [{"prompt": [{"role": "user", "content": world.request(one)}]} for one in prompts(480, SEED)]
    cpu: Any = {"use_cpu": True, "bf16": False, "gradient_checkpointing": False, "report_to": []}
    batch: Any = {"per_device_train_batch_size": 32, "num_generations": 8, "max_steps": STEPS}
    length = world.MOST_TOKENS
    args = GRPOConfig(
        out, learning_rate=3e-4, beta=0.02, max_completion_length=length, seed=SEED, **batch, **cpu
    )
    trainer = GRPOTrainer(str(tiny_checkpoint()), reward, args, train_dataset=Dataset.from_list(asked))
    trainer.train()
    trainer.save_model(f"{out}/model")
    return f"{out}/model"


if __name__ == "__main__":
    if sys.argv[1:] == ["echo"]:
        asyncio.run(echo())
    run_claims(reward_endpoint, trl_with_our_reward)
