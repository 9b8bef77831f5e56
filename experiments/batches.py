"""Do batches halve the price, and does every row come once, whatever happens to a batch or to the run?

Three sets of jobs over a vendor with batches, half of them OpenAI's and half Anthropic's; some of the replies
cannot be read, so that a second, smaller batch follows. 40 are killed with kill -9 at a random moment and
finished by the same command; 30 have rows that fail, expire, are missing, damaged, doubled or a stranger's,
and faults at every request about a batch; 60 have a random budget, most with faults as well. By the books of
the vendor: no call that was answered is asked again, every row is a label or dropped with a reason, no budget
is exceeded, and what was billed is spent or uncertain. The nulls: the same job sent live costs twice as much,
and a start that knew of no open batch would pay again for what was answered.

    python experiments/batches.py
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import chdir
from pathlib import Path
from typing import Any

from evidence import ROOT, record
from support.batches import HTTP_FAULTS, ROW_FAULTS, batching, quick
from support.job import at, label, pairs, read, sound, summary, write
from support.replies import question

SLOW = "six minutes"
ROWS, KILLS, FAULTY, BUDGETS = 70, 40, 30, 60
KINDS = ("openai", "anthropic")
PRICE = (1.0, 2.0)
WORDS = (
    "--judge.engine.price.input",
    1,
    "--judge.engine.price.output",
    2,
    "--judge.engine.give_up_after",
    20,
)
BATCH = ("--judge.engine.batch", "true")
QUICK = "from support.batches import quick; quick(); from jurist.cli import main; main()"
UNSEEN = ("missing", "half", "unreadable", "odd")  # billed, and no reply that could be read
FILES = ("preferences", "matchups", "export/trl/train")


def judge(request: dict[str, Any]) -> Any:
    """Sound, but of its first answers two thirds cannot be read."""
    asked_again = any(turn["role"] == "assistant" for turn in request["messages"])
    rambles = not asked_again and int(question(request).split()[2]) % 3
    return "Both answers have their merits." if rambles else sound(request)


def start(kind: str, url: str) -> subprocess.Popen[bytes]:
    judge = ("--judge", f"{kind}:judge@{url}", *BATCH, *WORDS)
    job = ("label", "--pairs", "pairs.jsonl", "--budget", "1usd", *judge)
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), str(ROOT / "src")])}
    argv = [sys.executable, "-c", QUICK, *map(str, job)]
    return subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def finish(vendor: Any, kind: str, *words: Any) -> int:
    return int(label(at(vendor, kind), *BATCH, *WORDS, *words).code)


def look(vendor: Any) -> dict[str, Any]:
    """The job by the books of the vendor."""
    now, rows = summary(), Counter(json.dumps(one.body) for one in vendor.log if one.fault not in UNSEEN)
    most, counted = now["usd"] + now["uncertain_usd"], all(one.fault != "no usage" for one in vendor.log)
    dropped = sum(now["dropped"].values())
    return {
        "paid_twice": sum(n - 1 for n in rows.values()),
        "unaccounted": ROWS - now["labels"] - dropped if now["state"] == "done" else 0,
        "off_the_books": vendor.dollars > most + 1e-9 or (counted and now["usd"] > vendor.dollars + 1e-9),
        "batches": len(vendor.batches),
        "dollars": round(vendor.dollars, 6),
    }


def killed(number: int, lasted: float, files: dict[str, Any]) -> dict[str, Any]:
    """kill -9 at some moment between the first request and the last."""
    kind, dice = KINDS[number % 2], random.Random(f"kill {number}")
    with batching(judge, price=PRICE, took=0.5) as vendor:
        job, moment = start(kind, vendor.url), dice.uniform(0.0, lasted)
        while job.poll() is None and not vendor.asked:
            time.sleep(0.002)
        time.sleep(moment)
        job.kill()
        early, answered = job.wait() != 0, len(vendor.log)
        code = finish(vendor, kind, "--budget", "1usd")
        found = look(vendor)
    exact = abs(summary()["usd"] - vendor.dollars) < 1e-9 and not summary()["uncertain_usd"]
    found |= {"how": f"{kind}, killed after {moment:.2f} s", "early": early, "answered": answered}
    return found | {"wrong": code or not exact or made() != files[kind]}


def made() -> dict[str, Any]:
    return {name: read(f"run/{name}.jsonl") for name in FILES}


def faulty(number: int, cap: float | None = None) -> dict[str, Any]:
    """Rows and requests with random faults; with a budget, every third job without."""
    kind, dice = KINDS[number % 2], random.Random(f"faults {number} {cap}")
    share = 0.0 if cap and number % 3 == 0 else dice.uniform(0.02, 0.3)

    def of_row(request: dict[str, Any]) -> str | None:
        drawn = random.Random(f"{number} {request}")
        return drawn.choice(ROW_FAULTS) if drawn.random() < share else None

    def of_request(step: str, attempt: int) -> str | None:
        return dice.choice(HTTP_FAULTS) if dice.random() < share else None

    with batching(judge, price=PRICE, took=0.1, row_faults=of_row, http_faults=of_request) as vendor:
        code = finish(vendor, kind, *(("--budget", f"{cap:.6f}usd") if cap else ()))
        found = look(vendor)
    found |= {"how": f"{kind}, faults {share:.2f}", "cap": cap, "stopped": code == 3}
    over = bool(cap) and vendor.dollars > cap * (1 + 1e-9)
    return found | {"over": over, "wrong": code not in ((0, 3) if cap else (0,))}


def main() -> None:
    quick()
    files, dollars, lasted, costs = {}, {}, 0.0, {}
    with tempfile.TemporaryDirectory(prefix="jurist-batches-") as name:

        def in_folder(what: str, act: Any, *given: Any) -> Any:
            folder = Path(name) / what
            folder.mkdir()
            with chdir(folder):
                write("pairs.jsonl", pairs(ROWS))
                return act(*given)

        def undisturbed(kind: str) -> None:
            nonlocal lasted
            with batching(judge, price=PRICE, took=0.5) as vendor:
                started = time.perf_counter()
                assert finish(vendor, kind) == 0
                lasted, costs[kind] = time.perf_counter() - started, summary()["usd"]
                files[kind] = made()
                assert label(at(vendor, kind), *WORDS, out="live").code == 0
                dollars[kind] = summary("live")["usd"]

        for kind in KINDS:
            in_folder(kind, undisturbed, kind)
        kills = [in_folder(f"k{n}", killed, n, lasted, files) for n in range(KILLS)]
        faults = [in_folder(f"f{n}", faulty, n) for n in range(FAULTY)]
        dice = random.Random("budgets")
        caps = [round(dice.uniform(0.1, 4.0) * costs[KINDS[n % 2]], 6) for n in range(BUDGETS)]
        budgets = [in_folder(f"b{n}", faulty, n, cap) for n, cap in enumerate(caps)]
    every = [*kills, *faults, *budgets]
    amiss = [one for one in every if any(one[what] for what in ("paid_twice", "unaccounted", "wrong"))]
    amiss += [one for one in every if one.get("over") or one["off_the_books"]]
    ratio = max(costs[kind] / dollars[kind] for kind in KINDS)
    record(
        "batch_engine",
        len(amiss),
        null={
            "the price of the same job sent live, by that in batches": round(1 / ratio, 4),
            "calls answered at the moment of a kill": sum(one["answered"] for one in kills),
        },
        bar=f"0 of {KILLS} killed, {FAULTY} faulty, {BUDGETS} budgeted jobs with a row lost or paid twice, a"
        " dollar off the books or a budget exceeded; and half the price",
        holds=not amiss and abs(ratio - 0.5) < 1e-9 and sum(one["early"] for one in kills) >= KILLS * 0.7,
        more={
            "price_ratio": ratio,
            "killed_before_the_end": sum(one["early"] for one in kills),
            "batches": sum(one["batches"] for one in every),
            "stopped_by_their_budget": sum(one["stopped"] for one in budgets),
            "amiss": amiss,
        },
    )


if __name__ == "__main__":
    main()
