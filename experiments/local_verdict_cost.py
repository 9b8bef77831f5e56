"""What does a judge in this process cost, beside writing the same verdict with `generate` row by row?

Ours is the engine, from messages to the labels' log-probs; a judge asks it once where the labels hold half of
the probability, which those of a random model do not. The other side renders and tokenises the same questions
and calls `model.generate` for one new token with its scores. Random Llamas of two sizes, judge prompts of
about 900 tokens, four answers a prompt, both orders; and, beside them, short prompts with two answers, where
little is shared.
"""

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
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from evidence import record
from jurist import JudgeConfig
from jurist.engines.engine import Ask, EngineConfig, Reply
from jurist.engines.scripted import Scripted
from jurist.policies.engine import open_local
from jurist.policies.replies import menu
from jurist.records import Completion, Matchup, Prompt
from jurist.verdicts.ask import JudgePrompt

# isort: split
from making import WORDS, checkpoint

ROUNDS, BAR, SAME = 3, 3.0, 1e-4
SIZES = {"5 M": (24, (256, 688, 6, 4)), "40 M": (12, (512, 1376, 12, 8))}
"""Questions, and the model."""
SHAPE = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")


def matchups(questions: int, k: int, words: int) -> list[Matchup]:
    """Both orders of all pairs of k answers to prompts of so many words."""
    draw, made, known = random.Random(0), [], WORDS.split()
    for _ in range(questions // (k * (k - 1))):
        prompt = Prompt.of(" ".join(draw.choices(known, k=words)))
        texts = [" ".join(draw.choices(known, k=draw.randint(10, 30))) for _ in range(k)]
        answers = [Completion.of(prompt.id, text, policy=str(n)) for n, text in enumerate(texts)]
        made += [Matchup.of(prompt, one, other) for one, other in permutations(answers, 2)]
    return made


def measure(folder: Path, questions: int, k: int, words: int) -> dict[str, Any]:
    judged = matchups(questions, k, words)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    question = JudgePrompt(JudgeConfig(), Scripted(lambda ask: "A"))
    asks = [Ask(question.turns("verdict", question.show_pair(one))) for one in judged]
    engine = open_local(EngineConfig(f"hf:{folder}"))

    async def replies_of() -> list[Reply]:
        how: dict[str, Any] = {"labels": ("A", "B"), "wants": "label", "top_logprobs": 5}
        return await asyncio.gather(*(engine.answer(Ask(ask.messages, **how)) for ask in asks))

    ours, theirs = [], []
    with asyncio.Runner() as runner:
        replies = runner.run(replies_of())  # loads the weights
        for _ in range(ROUNDS):
            ours.append(cpu(lambda: runner.run(replies_of()))[0])
            seconds, written = cpu(lambda: [generated(model, tokenizer, ask) for ask in asks])
            theirs.append(seconds)
        runner.run(engine.close())
    apart = (p_difference(tokenizer, one, scores) for one, (_, scores) in zip(replies, written, strict=True))
    lengths, n = sum(length for length, _ in written), len(judged)
    found = {"parameters": model.num_parameters(), "questions": n, "tokens a question": round(lengths / n)}
    found |= {"verdict, CPU ms": round(1000 * min(ours) / n, 2)}
    found |= {"generate, CPU ms": round(1000 * min(theirs) / n, 2), "p differs at most": max(apart)}
    times = sorted(round(their / our, 1) for our, their in zip(ours, theirs, strict=True))
    return {**found, "times cheaper": times}


def generated(model: Any, tokenizer: Any, ask: Ask) -> tuple[int, torch.Tensor]:
    """Tokens of the question, and scores of the first token of its answer."""
    turns = [{"role": one.role, "content": one.content} for one in ask.messages]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
    how = {"max_new_tokens": 1, "do_sample": False, "output_scores": True, "return_dict_in_generate": True}
    return ids.shape[1], model.generate(ids, attention_mask=torch.ones_like(ids), **how).scores[0][0]


def p_difference(tokenizer: Any, reply: Reply, scores: torch.Tensor) -> float:
    """How far P(A) / (P(A) + P(B)) is from what the scores of `generate` say."""
    chances = scores.softmax(-1)
    a, b = (sum(float(chances[token]) for (token,) in menu(tokenizer, (label,))[label]) for label in "AB")
    top = dict(reply.tokens[0].top)
    return abs(1 / (1 + math.exp(top["B"] - top["A"])) - a / (a + b))


def cpu(work: Callable[[], Any]) -> tuple[float, Any]:
    """Its seconds, and what it returned."""
    started = time.process_time()
    found = work()
    return time.process_time() - started, found


def main() -> None:
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    table, beside = dict[str, Any](), dict[str, Any]()
    with tempfile.TemporaryDirectory() as folder:
        for name, (questions, sizes) in SIZES.items():
            shape = dict(zip(SHAPE, sizes, strict=True))
            made = checkpoint(Path(folder) / name, max_position_embeddings=2048, **shape)
            table[name] = measure(made, questions, k=4, words=120)
            beside[f"{name}, short"] = measure(made, questions, k=2, words=8)
    rows, ratios = table | beside, [ratio for row in table.values() for ratio in row["times cheaper"]]
    print(*rows.items(), sep="\n")
    apart = max(row["p differs at most"] for row in rows.values())
    record(
        "local_verdict_cost",
        (min(row["times cheaper"][ROUNDS // 2] for row in table.values()), min(ratios), max(ratios)),
        null={"generating row by row": 1},
        bar=f"a judge call costs at most 1/{BAR:g} of the CPU of generating the same verdict row by row,"
        f" and says the same p to {SAME}",
        holds=min(ratios) >= BAR and apart <= SAME,
        unit="times; the middle of three rounds at the size where it gains least",
        more={"table": table, "short_prompts_with_two_answers_not_in_the_bar": beside},
    )


if __name__ == "__main__":
    main()
