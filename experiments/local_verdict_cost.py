"""What a verdict costs from a checkpoint in this process, next to having each one written by `generate`.

The same questions in both orders (the shipped template), the same checkpoint, one run, one thread. Ours is
the whole judge call: the question rendered, batched, weighed and read. The other is one question at a time
through `model.generate`, one new token, with the tokens ready beforehand. Three shapes: the small world's
own model, which is not shown the instructions; a random Llama that is; and the same with longer
conversations, four answers each.

python experiments/local_verdict_cost.py
"""

from __future__ import annotations

import asyncio
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
from jurist.engines.local import open_local
from jurist.engines.scripted import Scripted
from jurist.engines.settings import EngineConfig
from jurist.records import Completion, Matchup, Message, Prompt
from jurist.tiny.answers import GOOD, MEDIOCRE, compose
from jurist.tiny.corpus import corpus
from jurist.tiny.model import tiny_checkpoint
from jurist.tiny.tokenizer import TEMPLATE, make_tokenizer
from jurist.tiny.world import GREETINGS, prompts
from jurist.verdicts.ask import Question
from jurist.verdicts.judge import open_judge
from jurist.verdicts.settings import JudgeConfig

QUESTIONS = 120
ROUNDS = 3
BAR = 5.0
WIDE = {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 6, "num_attention_heads": 4}
TALK = " ".join(GREETINGS)


def matchups(k: int, turns: int) -> list[Matchup]:
    """Both orders of all pairs of k answers, after a conversation of so many turns."""
    draw, found = random.Random(0), []
    for prompt in prompts(QUESTIONS // (k * (k - 1)), seed=9):
        request = prompt.messages[-1].content
        before = [Message("assistant" if turn % 2 else "user", TALK) for turn in range(turns)]
        longer = Prompt.of((*before, *prompt.messages))
        texts = (compose(request, GOOD if draw.random() < 0.5 else MEDIOCRE, draw) for _ in range(k))
        answers = [Completion.of(longer.id, text, policy=str(number)) for number, text in enumerate(texts)]
        found += [Matchup.of(longer, one, other) for one, other in permutations(answers, 2)]
    return found


def wide_checkpoint(folder: Path) -> Path:
    """A random Llama that is shown the judge's instructions too, as most models are."""
    tokenizer = make_tokenizer(text for row in corpus(2000) for text in _texts(row))
    tokenizer.chat_template = TEMPLATE.replace("turn.role == 'user'", "turn.role != 'assistant'")
    torch.manual_seed(0)
    ends = {
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": None,
    }
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **WIDE, **ends)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _texts(row: Any) -> list[str]:
    return [*(message.content for message in row.messages), row.answer]


def measure(folder: Path, k: int = 2, turns: int = 0) -> dict[str, Any]:
    asked = matchups(k, turns)
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = [as_tokens(tokenizer, one) for one in asked]

    def by_generate() -> None:
        for ids in rows:
            model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=1, do_sample=False)

    engine = open_local(EngineConfig(f"hf:{folder}"))
    judge = open_judge(JudgeConfig(engine="hf"), lambda _: engine)

    async def by_judge() -> None:
        await asyncio.gather(*(judge(one) for one in asked))

    with asyncio.Runner() as runner:
        ours = [cpu(lambda: runner.run(by_judge())) for _ in range(ROUNDS)]
        theirs = [cpu(by_generate) for _ in range(ROUNDS)]
        runner.run(engine.close())
    ratios = sorted(their / our for our, their in zip(ours, theirs, strict=True))
    return {
        "parameters": model.num_parameters(),
        "tokens a question": round(sum(ids.shape[1] for ids in rows) / len(rows)),
        "verdict, CPU ms": round(1000 * min(ours) / len(asked), 2),
        "generate, CPU ms": round(1000 * min(theirs) / len(asked), 2),
        "times cheaper": [round(ratio, 1) for ratio in ratios],
    }


def as_tokens(tokenizer: Any, matchup: Matchup) -> torch.Tensor:
    ask = Question(JudgeConfig(), "pairwise", Scripted(lambda ask: "A")).pair(matchup)
    turns = [{"role": one.role, "content": one.content} for one in ask.messages]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    return torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])


def cpu(work: Callable[[], None]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def main() -> None:
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        table = {
            "the small world's model": measure(tiny_checkpoint()),
            "a random Llama": measure(wide_checkpoint(Path(folder) / "wide")),
            "the same, longer conversations": measure(Path(folder) / "wide", k=4, turns=4),
        }
    ratios = [ratio for row in table.values() for ratio in row["times cheaper"]]
    middle = min(row["times cheaper"][ROUNDS // 2] for row in table.values())
    for name, row in table.items():
        print(name, row)
    record(
        "local_verdict_cost",
        value=middle,
        low=min(ratios),
        high=max(ratios),
        bar="a judge call costs at most a fifth of the CPU of generating the same verdict row by row",
        holds=min(ratios) >= BAR,
        packages=("jurist", "torch", "transformers"),
        unit="times; the middle of three rounds on the model where it gains least",
        table=table,
    )


if __name__ == "__main__":
    main()
