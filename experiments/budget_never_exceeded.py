"""Does a run ever spend more than its budget, by the books of the server that bills it?

500 random jobs over HTTP: prices, lengths (mixed, or short to long), latency, concurrency, faults (429, 500,
dropped connections, half replies, none at all), samples a prompt (`n`, or one by one), judges; some start
twice. What the server worked on is billed, seen or not. Null: without a budget they cost more. Then 50 jobs
on a server that bills more than `max_tokens` allows: at most the budget and the excess of the calls under way
when the last one left. Where no call may cost above 5 % of it, and none was lost, at least 90 % is used.
"""

from __future__ import annotations

import json
import math
import random
import tempfile
from pathlib import Path
from typing import Any

from evidence import record
from jurist.config import settings_from
from jurist.errors import BudgetSpent
from jurist.recipes.label import label
from jurist.recipes.settings import LabelConfig
from support.replies import label_reply
from support.server import Server, serving

SLOW = "about ten minutes"
HONEST, OVERBILLED = 500, 50
FAULTS = {"429": 0.05, "500": 0.05, "drop": 0.03, "truncate": 0.03, "stall": 0.01}


def log_uniform(dice: random.Random, low: float, high: float) -> float:
    return math.exp(dice.uniform(math.log(low), math.log(high)))


def answer(request: dict[str, Any]) -> Any:
    """Labels where labels are asked for, else a text of any length; the server cuts it at max_tokens."""
    dice = random.Random(json.dumps(request, sort_keys=True))
    if request.get("logprobs"):
        return label_reply(dice.choice("AB"), 0.8)
    text = "because " * int(log_uniform(dice, 1, 400))
    return [text + str(i) for i in range(request.get("n") or 1)]


def rows(dice: random.Random, *names: str) -> str:
    """Lines of a file, their texts of any lengths, perhaps the longest last."""
    longest, count = dice.choice([4, 40, 800]), dice.randint(8, 100)
    texts = [["word " * int(log_uniform(dice, 2, longest)) for _ in names] for _ in range(count)]
    found = [json.dumps(dict(zip(names, some, strict=True)) | {"n": n}) for n, some in enumerate(texts)]
    return "\n".join(sorted(found, key=len) if dice.random() < 0.4 else found)


def job(dice: random.Random, folder: Path, server: Server, price: tuple[float, float]) -> dict[str, Any]:
    """The settings of a random job, but for its budget."""
    sampled = dice.random() < 0.4
    names = ("prompt",) if sampled else ("prompt", "first", "second")
    (folder / "rows.jsonl").write_text(rows(dice, *names))
    engine = {"concurrency": dice.choice([1, 4, 32, 256]), "price": {"input": price[0], "output": price[1]}}
    engine |= {"timeout": 0.5, "max_tries": 4, "give_up_after": 5.0}
    kinds = dice.sample(["vllm", "groq", "openai"], 3)
    judges: list[dict[str, Any]] = [
        {"engine": {"engine": f"{kinds[n]}:m@{server.url}", **engine}, "name": f"judge-{n}"}
        | ({"reason": True, "max_tokens": dice.randint(20, 300)} if dice.random() < 0.4 else {})
        for n in range(dice.randint(1, 3))
    ]
    if not sampled:
        return {"pairs": str(folder / "rows.jsonl"), "judge": judges}
    policy = {"engine": {"engine": f"{dice.choice(['vllm', 'groq'])}:p@{server.url}", **engine}}
    sampling = {"max_tokens": dice.randint(10, 300)}
    given = {"prompts": str(folder / "rows.jsonl"), "policy": [policy], "k": dice.randint(2, 6)}
    return {**given, "sampling": sampling, "judge": judges}


def most_it_costs(body: dict[str, Any], price: tuple[float, float]) -> float:
    """What a request costs at most, by its length and max_tokens."""
    written = (body.get("n") or 1) * (body.get("max_tokens") or body["max_completion_tokens"])
    return (len(json.dumps(body, ensure_ascii=False).encode()) * price[0] + written * price[1]) / 1e6


def one_run(seed: int, overbill: bool) -> dict[str, Any]:
    """A job twice: without a budget, to learn what it costs, and with a part of that as its budget."""
    dice = random.Random(seed)
    price = log_uniform(dice, 0.1, 100), log_uniform(dice, 0.1, 100)
    bad = {"latency": dice.choice([0.0, 0.002, 0.02]), "faults": FAULTS if dice.random() < 0.5 else {}}
    bad["overbill"] = log_uniform(dice, 2, 2000) if overbill else 1.0
    with tempfile.TemporaryDirectory(prefix="jurist-budget-") as name:
        folder = Path(name)
        with serving(answer, price=price) as free:
            settings = job(dice, folder, free, price)
            label(settings_from(LabelConfig, {**settings, "out": str(folder / "free")}))
        cap = free.dollars * dice.uniform(0.05, 0.9)
        settings |= {"out": str(folder / "run"), "budget": cap}
        with serving(answer, price=price, seed=seed, port=free.port, **bad) as server:
            for _ in range(dice.choice([1, 1, 1, 2])):
                try:
                    stopped = label(settings_from(LabelConfig, settings)).ended_by == "budget"
                except BudgetSpent:  # before there was anything to decide
                    stopped = True
    last = max((one.arrived for one in server.log), default=0.0)
    # A reply that was written just now may not have reached the other end.
    under_way = [one for one in server.log if one.arrived + one.seconds >= last - 0.05]
    excess = sum(max(0.0, one.dollars - most_it_costs(one.body, price)) for one in under_way)
    worst = max((most_it_costs(one.body, price) for one in free.log), default=0.0)
    lost = any(one.dollars and not one.answered for one in server.log)
    above = server.dollars > (cap + excess) * (1 + 1e-9)
    used = server.dollars / cap if stopped and not lost and worst <= 0.05 * cap else None
    found = {"over": server.dollars / cap - 1, "over_by_more_than_excess": above, "used": used}
    return found | {"calls": len(server.log), "null": free.dollars / cap, "stopped": stopped}


def main() -> None:
    honest = [one_run(seed, False) for seed in range(HONEST)]
    overbilled = [one_run(10_000 + seed, True) for seed in range(OVERBILLED)]
    used = [one["used"] for one in honest if one["used"] is not None]
    exceeded = sum(one["over"] > 1e-9 for one in honest)
    above = sum(one["over_by_more_than_excess"] for one in overbilled)
    record(
        "budget_never_exceeded",
        exceeded,
        null={"least without a budget": round(min(one["null"] for one in honest), 2)},
        bar=f"0 of {HONEST} runs above their budget; 0 of {OVERBILLED} over-billed by more than the excess"
        " under way; >= 90 % used where no call may cost above 5 % of the budget",
        holds=not exceeded and not above and min(used) >= 0.9 and len(used) >= 30,
        most_of_the_budget=round(1 + max(one["over"] for one in honest), 6),
        stopped_by_the_budget=sum(one["stopped"] for one in honest),
        used={"least": round(min(used), 4), "runs": len(used)},
        over_billed_and_above=sum(one["over"] > 0 for one in overbilled),
        over_billed_and_above_the_excess=above,
        calls=sum(one["calls"] for one in honest + overbilled),
    )


if __name__ == "__main__":
    main()
