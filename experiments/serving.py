"""A judge behind `jurist serve` and in the process of others: what serving adds, and TRL's own trainer.

Load comes from a second core, request after request at fixed times, whether or not those before were answered.
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

from evidence import ROOT, record, run_claims
from jurist.engines.budget import Budget
from jurist.engines.engine import Ask
from jurist.recipes.scoring import Scoring, prompt_of
from jurist.run import Run

SLOW = "half an hour of two cores"
JUDGE_S, RATE, ASKED, ROUNDS, KILLS = 0.02, 200, 2000, 5, 10
JUDGE = {"kind": "pointwise", "reason": False, "engine": "scripted:serving:seven"}
STEPS, HELD_OUT, SEED = 1200, 800, 31


async def seven(ask: Ask) -> str:
    """A judge that takes its time and counts its calls in a file, if it is told where."""
    await asyncio.sleep(JUDGE_S)
    if "CALLS" in os.environ:
        with open(os.environ["CALLS"], "a") as calls:
            calls.write(f"{ask.messages[-1].content.count('x')}\n")
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
    environ = {**os.environ, "CALLS": f"{folder}/calls", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = ["taskset", "-c", str(core), sys.executable, *words]
    with subprocess.Popen(command, cwd=folder, env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip().removesuffix("/v1")
        finally:
            process.kill()


def jurist(*words: str, judge: dict[str, Any] = JUDGE) -> list[str]:
    how = ["-c", "from jurist.cli import main; main()", "serve", "--port", "0", "--judge", json.dumps(judge)]
    return [*how, *words]


def row(n: int) -> dict[str, Any]:
    return {"prompt": "Which?", "completions": [f"{n} " + "word " * 50]}


async def at_fixed_times(ask: Callable[[int], Awaitable[object]], first: int) -> list[float]:
    """Seconds from when a request should have left to its answer."""
    begin = time.perf_counter() + 0.1

    async def one(n: int) -> float:
        due = begin + n / RATE
        await asyncio.sleep(due - time.perf_counter())
        await ask(first + n)
        return time.perf_counter() - due

    return await asyncio.gather(*(one(n) for n in range(ASKED)))


async def over_http(url: str, first: int) -> list[float]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(n: int) -> None:
            async with session.post(f"{url}/score", json=row(n)) as got:
                assert (await got.json())["scores"] == [0.5]

        await asyncio.gather(*(ask(-n) for n in range(1, 50)))  # connections are open, and the judge known
        return await at_fixed_times(ask, first)


async def in_process(folder: str, first: int) -> list[float]:
    with Run(f"{folder}/in-process") as run:
        scoring = Scoring(JUDGE, run.journal, Budget(None, run.journal))
        prompt = prompt_of("Which?")

        async def ask(n: int) -> None:
            (scored,) = await scoring.rewards([(prompt, row(n)["completions"][0])])
            assert scored.score == 0.5

        await asyncio.gather(*(ask(-n) for n in range(1, 50)))
        return await at_fixed_times(ask, first)


def quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[int(share * len(values))] * 1000


def reward_endpoint() -> None:
    os.sched_setaffinity(0, {1})
    sys.path.insert(0, str(Path(__file__).parent))
    took: dict[str, list[list[float]]] = {"in process": [], "served": [], "echo": []}
    with tempfile.TemporaryDirectory() as folder:
        with (
            started(folder, *jurist("--concurrency", "1024")) as (_, url),
            started(folder, __file__, "echo") as (_, null),
        ):
            for at in range(ROUNDS):  # in turns, so that what else the machine does meets all alike
                took["in process"].append(asyncio.run(in_process(folder, at * ASKED)))
                took["served"].append(asyncio.run(over_http(url, at * ASKED)))
                took["echo"].append(asyncio.run(over_http(null, at * ASKED)))
        overload = asyncio.run(overloaded(folder))
        answered, again = killed(folder)
    p99 = {name: [round(quantile(one, 0.99), 2) for one in some] for name, some in took.items()}
    p50 = {name: [round(quantile(one, 0.5), 2) for one in some] for name, some in took.items()}
    added = [served - alone for served, alone in zip(p99["served"], p99["in process"], strict=True)]
    value = round(statistics.median(added), 2)
    bare = statistics.median(p99["echo"]) - JUDGE_S * 1000
    sound = overload["hung"] == overload["without_retry_after"] == again == 0 and overload["503"] > 0
    record(
        "reward_endpoint",
        (value, round(min(added), 2), round(max(added), 2)),
        null={"bare aiohttp with the same wait, p99 above that wait in ms": round(bare, 2)},
        bar=f"ms that serving adds to the judge's p99 at {RATE} requests a second on one core, median of"
        f" {ROUNDS} rounds (between the least and the most): < 5; overload refused with 503 and Retry-After at"
        f" once, nothing hangs; {KILLS} times kill -9: 0 answered calls asked again",
        holds=value < 5 and sound,
        unit="ms; a judge behind an engine has no window, a reward model's is 2 ms when busy",
        more={"p99_ms": p99, "p50_ms": p50, "overload": overload, "answered": answered, "asked_again": again},
    )


async def overloaded(folder: str) -> dict[str, float]:
    """Four hundred at once, where 8 are worked on and 16 may wait."""
    seconds: dict[int, list[float]] = {200: [], 503: []}
    without = hung = 0
    limits = ("--concurrency", "8", "--queue", "16", "--out", "overloaded")
    with started(folder, *jurist(*limits)) as (_, url):
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

            await asyncio.gather(*(ask(n) for n in range(400)))
    slowest = round(max(seconds[503], default=0.0), 2)
    counts = {"200": len(seconds[200]), "503": len(seconds[503]), "slowest_503_s": slowest}
    return {**counts, "without_retry_after": without, "hung": hung}


def killed(folder: str) -> tuple[int, int]:
    """Requests answered before each kill, and how many of them the judge was asked about once more."""
    from serve.calls import post

    answered: set[int] = set()

    def ask(url: str, n: int) -> None:
        try:
            asked = {"prompt": "Which?", "completions": ["x" * n]}
            if post(f"{url}/score", asked)[1]["scores"] == [0.5]:
                answered.add(n)
        except OSError:
            return

    def calls() -> list[str]:
        return Path(folder, "calls").read_text().splitlines()

    for kill in range(KILLS):
        with started(folder, *jurist("--out", "killed")) as (process, url), ThreadPoolExecutor(16) as many:
            for n in range(200):
                many.submit(ask, url, 1 + 200 * kill + n)
            time.sleep(0.2)
            process.kill()
    before = len(calls())
    with started(folder, *jurist("--out", "killed")) as (_, url), ThreadPoolExecutor(16) as many:
        deque = [many.submit(ask, url, n) for n in sorted(answered)]
        for one in deque:
            one.result()
        return len(answered), len(calls()) - before


def trl_with_our_reward() -> None:
    import torch

    import jurist as package
    import small_world as world

    torch.set_num_threads(1)
    judge = {"kind": "pointwise", "engine": {"engine": "tiny:planted", "extra": {"length": 0.05}}}
    trial, found = world.Trial(HELD_OUT, SEED), {}
    with tempfile.TemporaryDirectory() as folder:
        with package.reward_function(judge, journal=f"{folder}/journal.sqlite") as reward:
            found["reward_function"] = trial.mark(grpo(reward, f"{folder}/function"))
        with started(folder, *jurist(judge=judge), core=1) as (_, url):
            found["endpoint"] = trial.mark(grpo(asking(url), f"{folder}/endpoint"))
    print(json.dumps(found, indent=1))
    record(
        "trl_with_our_reward",
        **world.worst_of(found.values()),
        bar=f"TRL's own GRPOTrainer, {STEPS} steps, with jurist.reward_function and with the endpoint: true win"
        " rate over the initial policy above 0.5, and above that of the best null (untrained, a constant"
        " answer, ...), both 95% intervals over held-out prompts",
        holds=all(world.beats(one) for one in found.values()),
        more={"policies": found, "held_out": HELD_OUT},
    )


def asking(url: str) -> Callable[..., list[float | None]]:
    """The endpoint as a reward of TRL's: what docs/serving.md shows."""
    import requests

    def served(prompts: list[Any], completions: list[Any], **_: Any) -> list[float | None]:
        pairs = zip(prompts, completions, strict=True)
        rows = [{"prompt": prompt, "completions": [completion]} for prompt, completion in pairs]
        got = requests.post(f"{url}/score", json={"rows": rows}, timeout=600)
        got.raise_for_status()
        return [score for (score,) in got.json()["scores"]]

    return served


def grpo(reward: Callable[..., list[float | None]], out: str) -> str:
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    import small_world as world
    from jurist.tiny.model import tiny_checkpoint
    from jurist.tiny.world import prompts

    asked = [{"prompt": [{"role": "user", "content": world.request(one)}]} for one in prompts(480, SEED)]
    args = GRPOConfig(
        out,
        max_steps=STEPS,
        per_device_train_batch_size=32,
        num_generations=8,
        max_completion_length=world.MOST_TOKENS,
        learning_rate=3e-4,
        beta=0.02,
        seed=SEED,
        logging_steps=50,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
    )
    trainer = GRPOTrainer(str(tiny_checkpoint()), reward, args, train_dataset=Dataset.from_list(asked))
    trainer.train()
    trainer.save_model(f"{out}/model")
    return f"{out}/model"


if __name__ == "__main__":
    if sys.argv[1:] == ["echo"]:
        asyncio.run(echo())
    run_claims(reward_endpoint, trl_with_our_reward)
