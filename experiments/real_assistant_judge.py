"""What the small assistant (`real_assistant.py`) is worth on prompts that it has not seen: do its answers
end, and is it a judge? Commands with nothing set, through `hf:` and behind llama.cpp's server. The nulls are
the base it was made from, and how often the longer answer, or a guess, agrees with humans.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import chdir
from itertools import product
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np

import real_assistant as real
from evidence import Interval, record, run_claims, share
from jurist.models.settings import SftConfig
from jurist.models.sft import train_sft
from jurist.records import Prompt
from jurist.stats.intervals import clustered_share
from support import gemma
from support.cli import timed
from support.job import records, write
from support.llama import llama_server

SLOW = "half an hour, the packages of `make real`, recorded data, and the assistant"
SHORT = ("--sampling.max_tokens", 128)


def jurist(*words: object) -> float:
    """A command as a user types it; its seconds."""
    ended, seconds = timed(*words)
    assert ended.code in (0, 1), ended.err
    return seconds


def turns_of(prompt: Prompt) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.content} for turn in prompt.messages]


def real_assistant_ends() -> None:
    """Answers that end by themselves within 128 tokens."""
    asked = []
    for name, rows in real.answers().items():
        prompts = {prompt.id: (prompt, answer) for prompt, answer in rows}
        asked += real.drawn(prompts.values(), 20, held_out=True) if name != "qlora_vicuna" else []
    write("prompts.jsonl", [{"messages": turns_of(prompt)} for prompt, _ in asked])
    found: dict[str, Any] = {}
    models = {"assistant": real.assistant(), "base": gemma.english()}
    for name, heat in product(models, (1, 0)):
        words = ("--policy", f"hf:{models[name]}", "-k", 1, *SHORT, "--sampling.temperature", heat)
        out = f"{name}_at_{heat}"
        seconds = jurist("sample", "--prompts", "prompts.jsonl", *words, "--out", out)
        texts = records("completions", out)
        cut = [one["text"] for one in texts if one.get("finish", "stop") != "stop"]
        loops = sum(text[-30:] in text[:-30] for text in cut)
        found[out] = {"ended": share((len(texts) - len(cut), len(texts)))}
        found[out] |= {"of_the_others_repeat_themselves": f"{loops} of {len(cut)}", "seconds": seconds}
        found[out] |= {"median_tokens": median(real.tokens_of(one["text"]) for one in texts)}
        print(out, found[out], flush=True)
    least = min(found[f"assistant_at_{heat}"]["ended"][0] for heat in (1, 0))
    record(
        "real_assistant_ends",
        found["assistant_at_1"]["ended"],
        null={name: found[name]["ended"] for name in ("base_at_1", "base_at_0")},
        bar="at least 80 % end by themselves, at temperature 1 and at 0",
        holds=least >= 0.8,
        answers=len(asked),
        more=found,
    )


def figures(by_source: dict[str, Sequence[real.Pair]], out: str) -> dict[str, Any]:
    """A run's verdicts against the humans; agreement counts a pair by the mean of both orders."""
    known = [(name, pair) for name, some in by_source.items() for pair in some]
    pairs = {frozenset((pair[1].id, pair[2].id)): (name, pair) for name, pair in known}
    asked = records("verdicts", out)
    read = [one for one in asked if not one.get("unread") and not one.get("forced")]
    found: dict[str, Any] = {"read": share((len(read), len(asked)))}
    found["seconds_of_calls"] = round(sum(one.get("seconds", 0.0) for one in asked), 1)
    found["unread"] = Counter(one["unread"] for one in asked if one.get("unread"))
    found["median_label_mass"] = round(median(one.get("label_mass") or 0.0 for one in asked), 4)
    p = defaultdict[frozenset[str], list[float]](list)  # that the better answer is better, in each order
    for one in read:
        both = frozenset((one["first_id"], one["second_id"]))
        better = pairs[both][1][1].id == one["first_id"]
        p[both].append(one["p_first"] if better else 1 - one["p_first"])
    settled = {name: both for name, both in p.items() if len(both) == 2}
    if not settled:
        return found
    sources, some = zip(*(pairs[name] for name in settled), strict=True)
    prompts, source = np.array([one[0].id for one in some]), np.array(sources)

    def over_prompts(values: Iterable[float], own: Any = slice(None)) -> Interval:
        value, low, high, _ = clustered_share(np.array([*values], float)[own], prompts[own])
        return round(value, 4), round(low, 4), round(high, 4)

    right = [float(np.heaviside(fmean(both) - 0.5, 0.5)) for both in settled.values()]
    longer = [float(np.heaviside(len(one[1].text) - len(one[2].text), 0.5)) for one in some]
    found |= {"pairs": len(right), "agreement": over_prompts(right), "longer_agrees": over_prompts(longer)}
    found["agreement_of_one_order"] = over_prompts(fmean(x > 0.5 for x in both) for both in settled.values())
    found["flips"] = over_prompts((one > 0.5) != (two > 0.5) for one, two in settled.values())
    found["first_position"] = share([one["p_first"] > 0.5 for one in read])
    found["agreement_by_source"] = {name: over_prompts(right, source == name) for name in by_source}
    found["longer_by_source"] = {name: over_prompts(longer, source == name) for name in by_source}
    return found


def both_orders() -> Path:
    """The assistant after ten more minutes of training on 192 of its pairs in both orders. These are equally
    long, so both come in the same step, and no step can prefer a position."""
    import torch

    torch.set_num_threads(1)
    pairs = [pair for name in real.HUMANS for pair in real.drawn(real.judged(name), 64, held_out=False)]
    rows = [real.question(pair, label) for pair in pairs for label in "AB"]
    cfg = real.settings()
    out = str(real.assistant().with_name("both-orders"))
    how = {"batch": 24, "lr": cfg.lr, "lora": cfg.lora, "model": cfg.model, "save_every": 5}
    return train_sft(SftConfig(base=str(real.assistant()), out=out, **how), rows)  # type: ignore[arg-type]


def real_assistant_judge() -> None:
    """On pairs that humans have judged."""
    by_source = {name: real.drawn(real.judged(name), 100, held_out=True) for name in real.HUMANS}
    pairs = [pair for some in by_source.values() for pair in some]
    rows = ({"prompt": turns_of(one), "first": two.text, "second": three.text} for one, two, three in pairs)
    write("pairs.jsonl", rows)
    found: dict[str, Any] = {}
    said: dict[str, dict[tuple[str, str], float]] = {}
    with llama_server(real.assistant_gguf()) as server:
        judges = {"hf": f"hf:{real.assistant()}", "llama_cpp": f"llamacpp:assistant@{server.url}"}
        others = {"base": f"hf:{gemma.english()}", "both_orders_learnt": f"hf:{both_orders()}"}
        for name, judge in {**judges, **others}.items():
            jurist("label", "--pairs", "pairs.jsonl", "--judge", judge, "--out", name)
            found[name] = figures(by_source, name)
            read = [one for one in records("verdicts", name) if not one.get("unread")]
            said[name] = {(one["first_id"], one["second_id"]): one["p_first"] for one in read}
            print(name, found[name], flush=True)
    both = [(p, said["llama_cpp"][key]) for key, p in said["hf"].items() if key in said["llama_cpp"]]
    record(
        "real_assistant_judge",
        found["hf"]["read"],
        null={"read_of_the_base": found["base"]["read"], "guess_agrees": 0.5}
        | {"longer_answer_agrees": found["hf"]["longer_agrees"]},
        bar="at least 95 % of the verdicts are read, none forced, through hf: and behind llama.cpp",
        holds=min(found[name]["read"][0] for name in judges) >= 0.95,
        pairs=len(pairs),
        same_verdict_through_both=share([(p > 0.5) == (q > 0.5) for p, q in both]),
        mean_difference_of_p=round(fmean(abs(p - q) for p, q in both), 4),
        more=found,
    )


if __name__ == "__main__":
    runs = real.assistant().with_name("runs")  # kept: what was answered is not asked again
    runs.mkdir(exist_ok=True)
    with chdir(runs):
        run_claims(real_assistant_ends, real_assistant_judge)
