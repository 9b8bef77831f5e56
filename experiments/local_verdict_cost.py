"""What a verdict costs from a checkpoint in this process, next to having each one written by `generate`.

SLOW: about two minutes on a core of its own.

The same questions (the shipped template, all pairs of a prompt's answers, each in both orders), the same
checkpoint, one run, one thread, CPU time. Both start from the question's messages. Ours is the whole
judge call: rendered, made into tokens, batched, weighed and read. The other renders one question at a
time, makes it into tokens and calls `model.generate` under `no_grad` for one new token with its scores.
Every prompt has a conversation of its own. Three sizes with judge prompts of about 400 tokens and four
answers a prompt, which the bar is about; and, beside them, short prompts with two answers, where little
is shared.

python experiments/local_verdict_cost.py
"""

from __future__ import annotations

import asyncio
import math
import random
import tempfile
import time
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

from evidence import record
from jurist.engines.engine import Ask, EngineConfig, Reply
from jurist.engines.local import open_local
from jurist.engines.local.weigh import menu
from jurist.engines.scripted import Scripted
from jurist.records import Completion, Matchup, Message, Prompt
from jurist.tiny.answers import GOOD, MEDIOCRE, compose
from jurist.tiny.corpus import corpus
from jurist.tiny.model import tiny_checkpoint
from jurist.tiny.tokenizer import TEMPLATE, make_tokenizer
from jurist.tiny.world import GREETINGS, prompts
from jurist.verdicts.ask import JudgePrompt
from jurist.verdicts.judge import open_judge
from jurist.verdicts.settings import JudgeConfig

ROUNDS = 3
BAR = 5.0
SAME = 1e-4
MIDDLE = {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 6, "num_attention_heads": 4}
LARGE = {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 12, "num_attention_heads": 8}


def matchups(questions: int, k: int, turns: int) -> list[Matchup]:
    """Both orders of all pairs of k answers, after a conversation of so many turns."""
    draw, found = random.Random(0), []
    for prompt in prompts(questions // (k * (k - 1)), seed=9):
        request = prompt.messages[-1].content
        before = [Message("assistant" if turn % 2 else "user", talk(draw)) for turn in range(turns)]
        longer = Prompt.of((*before, *prompt.messages))
        texts = (compose(request, GOOD if draw.random() < 0.5 else MEDIOCRE, draw) for _ in range(k))
        answers = [Completion.of(longer.id, text, policy=str(number)) for number, text in enumerate(texts)]
        found += [Matchup.of(longer, one, other) for one, other in permutations(answers, 2)]
    return found


def talk(draw: random.Random) -> str:
    return " ".join(draw.sample(GREETINGS, len(GREETINGS)))


def random_checkpoint(folder: Path, shape: dict[str, int]) -> Path:
    """A random Llama that is shown the judge's instructions too, as most models are."""
    tokenizer = make_tokenizer(text for row in corpus(2000) for text in _texts(row))
    tokenizer.chat_template = TEMPLATE.replace("turn.role == 'user'", "turn.role != 'assistant'")
    torch.manual_seed(0)
    ends = {
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": None,
    }
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **shape, **ends)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _texts(row: Any) -> list[str]:
    return [*(message.content for message in row.messages), row.answer]


def measure(folder: Path, questions: int, k: int = 4, turns: int = 4) -> dict[str, Any]:
    asked = matchups(questions, k, turns)
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    question = JudgePrompt(JudgeConfig(), Scripted(lambda ask: "A"))
    asks = [Ask(question.turns("verdict", question.show_pair(one))) for one in asked]
    engine = open_local(EngineConfig(f"hf:{folder}"))
    judge = open_judge(JudgeConfig(engine="hf"), lambda _: engine)
    written: list[tuple[int, torch.Tensor]] = []

    def by_generate() -> None:
        written[:] = [generated(model, tokenizer, ask) for ask in asks]

    async def by_judge() -> None:
        await asyncio.gather(*(judge(one) for one in asked))

    async def weighed() -> list[Reply]:
        return await asyncio.gather(*map(engine.answer, asks))

    ours, theirs = [], []
    with asyncio.Runner() as runner:
        for _ in range(ROUNDS):
            ours.append(cpu(lambda: runner.run(by_judge())))
            theirs.append(cpu(by_generate))
        replies = runner.run(weighed())
        runner.run(engine.close())
    ratios = sorted(their / our for our, their in zip(ours, theirs, strict=True))
    return {
        "parameters": model.num_parameters(),
        "questions": len(asked),
        "tokens a question": round(sum(length for length, _ in written) / len(asked)),
        "verdict, CPU ms": round(1000 * min(ours) / len(asked), 2),
        "generate, CPU ms": round(1000 * min(theirs) / len(asked), 2),
        "times cheaper": [round(ratio, 1) for ratio in ratios],
        "p differs at most": max(
            apart(tokenizer, reply, scores) for reply, (_, scores) in zip(replies, written, strict=True)
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


def apart(tokenizer: Any, reply: Reply, scores: torch.Tensor) -> float:
    """How far P(A) / (P(A) + P(B)) is from what the scores of `generate` say."""
    chances = scores.softmax(-1)
    a, b = (
        sum(float(chances[token]) for one in menu(tokenizer, (label,)) for token in one.tokens)
        for label in "AB"
    )
    said = dict(reply.tokens[0].top)
    ours = 1 / (1 + math.exp(said["B"] - said["A"]))
    return abs(ours - a / (a + b))


def cpu(work: Callable[[], None]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def main() -> None:
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        middle = random_checkpoint(Path(folder) / "middle", MIDDLE)
        large = random_checkpoint(Path(folder) / "large", LARGE)
        table = {
            "the small world's model": measure(tiny_checkpoint(), 120, turns=6),
            "a random Llama, 5 M": measure(middle, 60),
            "a random Llama, 40 M": measure(large, 24),
        }
        beside = {
            "the small world's model, short": measure(tiny_checkpoint(), 120, k=2, turns=0),
            "a random Llama, 5 M, short": measure(middle, 60, k=2, turns=0),
        }
    for name, row in (table | beside).items():
        print(name, row)
    ratios = [ratio for row in table.values() for ratio in row["times cheaper"]]
    apart_most = max(row["p differs at most"] for row in (table | beside).values())
    record(
        "local_verdict_cost",
        value=min(row["times cheaper"][ROUNDS // 2] for row in table.values()),
        low=min(ratios),
        high=max(ratios),
        bar="a judge call costs at most a fifth of the CPU of generating the same verdict row by row,"
        f" and says the same p to {SAME}",
        holds=min(ratios) >= BAR and apart_most <= SAME,
        packages=("jurist", "torch", "transformers"),
        unit="times; the middle of three rounds at the size where it gains least",
        table=table,
        short_prompts_with_two_answers_not_in_the_bar=beside,
    )


if __name__ == "__main__":
    main()
