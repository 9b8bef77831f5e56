"""What does a judge in this process cost, beside writing the same verdict with `generate` row by row?

Ours is the whole judge: prompt, order, engine, reading the label's log-probs. The other side renders and
tokenises the same questions and calls `model.generate` under `no_grad` for one new token with its scores,
which is also the null: a ratio of 1. Random Llamas of two sizes, judge prompts of about 900 tokens, four
answers a prompt, both orders; and, beside them, short prompts with two answers, where little is shared.

    python experiments/local_verdict_cost.py
"""

from __future__ import annotations

import asyncio
import math
import random
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from evidence import record
from jurist.engines.engine import Ask, EngineConfig, Reply
from jurist.engines.scripted import Scripted
from jurist.policies.engine import open_local
from jurist.policies.replies import menu
from jurist.records import Completion, Matchup, Prompt
from jurist.verdicts.ask import JudgePrompt
from jurist.verdicts.judge import open_judge
from jurist.verdicts.settings import JudgeConfig

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "models"))
import making

ROUNDS = 3
BAR = 3.0
SAME = 1e-4
SIZES = {
    "5 M": {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 6, "num_attention_heads": 4},
    "40 M": {
        "hidden_size": 512,
        "intermediate_size": 1376,
        "num_hidden_layers": 12,
        "num_attention_heads": 8,
    },
}
WORDS = making.WORDS.split()


def matchups(questions: int, k: int, words: int) -> list[Matchup]:
    """Both orders of all pairs of k answers to prompts of so many words."""
    draw, made = random.Random(0), []

    def text(words: int) -> str:
        return " ".join(draw.choices(WORDS, k=words))

    for _ in range(questions // (k * (k - 1))):
        prompt = Prompt.of(text(words))
        answers = [Completion.of(prompt.id, text(draw.randint(10, 30)), policy=str(n)) for n in range(k)]
        made += [Matchup.of(prompt, one, other) for one, other in permutations(answers, 2)]
    return made


def measure(folder: Path, questions: int, k: int, words: int) -> dict[str, Any]:
    judged = matchups(questions, k, words)
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    question = JudgePrompt(JudgeConfig(), Scripted(lambda ask: "A"))
    asks = [Ask(question.turns("verdict", question.show_pair(one))) for one in judged]
    engine = open_local(EngineConfig(f"hf:{folder}"))
    judge = open_judge(JudgeConfig(engine="hf"), lambda _: engine)
    written: list[tuple[int, torch.Tensor]] = []

    def by_generate() -> None:
        written[:] = [generated(model, tokenizer, ask) for ask in asks]

    async def by_judge() -> None:
        await asyncio.gather(*(judge(one) for one in judged))

    async def replies_of() -> list[Reply]:
        return await asyncio.gather(
            *(
                engine.answer(Ask(ask.messages, labels=("A", "B"), wants="label", top_logprobs=5))
                for ask in asks
            )
        )

    ours, theirs = [], []
    with asyncio.Runner() as runner:
        replies = runner.run(replies_of())  # loads the weights
        for _ in range(ROUNDS):
            ours.append(cpu(lambda: runner.run(by_judge())))
            theirs.append(cpu(by_generate))
        runner.run(engine.close())
    return {
        "parameters": model.num_parameters(),
        "questions": len(judged),
        "tokens a question": round(sum(length for length, _ in written) / len(judged)),
        "verdict, CPU ms": round(1000 * min(ours) / len(judged), 2),
        "generate, CPU ms": round(1000 * min(theirs) / len(judged), 2),
        "times cheaper": sorted(round(their / our, 1) for our, their in zip(ours, theirs, strict=True)),
        "p differs at most": max(
            p_difference(tokenizer, reply, scores)
            for reply, (_, scores) in zip(replies, written, strict=True)
        ),
    }


@torch.no_grad()
def generated(model: Any, tokenizer: Any, ask: Ask) -> tuple[int, torch.Tensor]:
    turns = [{"role": one.role, "content": one.content} for one in ask.messages]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
    out = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=1,
        do_sample=False,
        output_scores=True,
        return_dict_in_generate=True,
    )
    return ids.shape[1], out.scores[0][0]


def p_difference(tokenizer: Any, reply: Reply, scores: torch.Tensor) -> float:
    """How far P(A) / (P(A) + P(B)) is from what the scores of `generate` say."""
    chances = scores.softmax(-1)
    a, b = (sum(float(chances[token]) for (token,) in menu(tokenizer, (label,))[label]) for label in "AB")
    top = dict(reply.tokens[0].top)
    return abs(1 / (1 + math.exp(top["B"] - top["A"])) - a / (a + b))


def cpu(work: Callable[[], None]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def main() -> None:
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        table, beside = {}, {}
        for name, shape in SIZES.items():
            made = making.checkpoint(Path(folder) / name, max_position_embeddings=2048, **shape)
            table[name] = measure(made, 24 if name == "5 M" else 12, k=4, words=120)
            beside[f"{name}, short"] = measure(made, 24 if name == "5 M" else 12, k=2, words=8)
    for name, row in (table | beside).items():
        print(name, row)
    ratios = [ratio for row in table.values() for ratio in row["times cheaper"]]
    difference = max(row["p differs at most"] for row in (table | beside).values())
    record(
        "local_verdict_cost",
        value=min(row["times cheaper"][ROUNDS // 2] for row in table.values()),
        low=min(ratios),
        high=max(ratios),
        bar=f"a judge call costs at most 1/{BAR:g} of the CPU of generating the same verdict row by row,"
        f" and says the same p to {SAME}",
        holds=min(ratios) >= BAR and difference <= SAME,
        packages=("jurist", "torch", "transformers"),
        unit="times; the middle of three rounds at the size where it gains least",
        null="generating row by row: 1",
        table=table,
        short_prompts_with_two_answers_not_in_the_bar=beside,
    )


if __name__ == "__main__":
    main()
