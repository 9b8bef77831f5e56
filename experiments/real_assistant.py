"""A small assistant, made from a pretrained base that cannot hold a conversation: it answers and stops, and
says by a letter which of two answers is better. Make it once: `python experiments/real_assistant.py`.

An adapter learns, as `jurist train sft` does it, recorded answers of at most 120 tokens (it has to learn to
stop), and our own judge's question, answered with the label that humans gave. One prompt in five is in
neither (`support.recorded.held_out`).
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from hashlib import blake2b
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import evidence  # noqa: F401  (puts tests/ on the path)
from jurist.engines.checkpoints import render_chat
from jurist.models.checkpoint import fingerprint
from jurist.models.rows import Target, load_preferences
from jurist.models.settings import ModelConfig, SftConfig
from jurist.policies.checkpoint import Lora, load_tokenizer
from jurist.records import Completion, Matchup, Prompt
from jurist.verdicts.ask import JudgePrompt
from jurist.verdicts.settings import JudgeConfig
from support import gemma, recorded

SLOW = "25 minutes of one core"
ANSWER, CONTEXT, QUESTION = 120, 120, 400  # most tokens
ANSWERS, QUESTIONS = 400, 170  # most of a source
GOOD = ("gpt4", "gpt35", "bard", "vicuna-13b", "65b-guanaco")
SETTINGS: dict[str, Any] = {"batch": 16, "lr": 5e-4, "lora": Lora(r=32), "save_every": 10}
Pair = tuple[Prompt, Completion, Completion]
"""The answer that humans prefer comes first."""


@cache
def words() -> Any:
    return load_tokenizer(gemma.english())


@cache
def tokens_of(text: str) -> int:
    return len(words()(text, add_special_tokens=False).input_ids)


def tokens_to_read(prompt: Prompt) -> int:
    return tokens_of(render_chat(words(), prompt.messages))


def pandalm() -> Iterator[Pair]:
    """Where two of three humans prefer the same answer."""
    for row in recorded.pandalm():
        winner, votes = Counter(row[f"annotator{n}"] for n in (1, 2, 3)).most_common(1)[0]
        if votes > 1 and winner != "tie":
            yield _pair(row, winner)


def hh_rlhf() -> Iterator[Pair]:
    file = recorded.DATA / "hh_rlhf_harmless_test/harmless-base_test.jsonl.gz"
    return ((one.prompt, one.chosen, one.rejected) for one in load_preferences(file, on_error="drop"))


HUMANS: dict[str, Callable[[], Iterator[Pair]]] = {
    "pandalm": pandalm,
    "llmbar": lambda: (_pair(row, row["winner"]) for row in recorded.llmbar()),
    "hh_rlhf": hh_rlhf,
}


def _pair(row: recorded.Row, winner: str) -> Pair:
    prompt, sides = Prompt.of(row["prompt"]), ("response_a", "response_b")
    better, worse = sides if winner == "a" else sides[::-1]
    return prompt, Completion.of(prompt.id, row[better]), Completion.of(prompt.id, row[worse])


def answers() -> dict[str, list[Target]]:
    """Short answers that are worth imitating, by source, each once."""
    sources: dict[str, list[Target]] = {"cje_arena": [], "qlora_vicuna": []}
    for name in ("base", "clone", "parallel_universe_prompt"):
        sources["cje_arena"] += [
            _answer(row["prompt"], row["response"]) for row in recorded.cje(name).values()
        ]
    for row in recorded.eight_systems():
        good = [side for side in "ab" if row[f"model_{side}"] in GOOD]
        sources["qlora_vicuna"] += [_answer(row["prompt"], row[f"response_{side}"]) for side in good]
    sources |= {name: [one[:2] for one in HUMANS[name]()] for name in ("pandalm", "hh_rlhf")}
    found = {}
    for name, rows in sources.items():
        once = {answer.id: (prompt, answer) for prompt, answer in rows}.values()
        short = (row for row in once if 0 < tokens_of(row[1].text.strip()) <= ANSWER)
        found[name] = [row for row in short if tokens_to_read(row[0]) <= CONTEXT]
    return found


def _answer(prompt: str, text: str) -> Target:
    asked = Prompt.of(prompt)
    return asked, Completion.of(asked.id, text)


JUDGE = JudgePrompt(JudgeConfig(), SimpleNamespace(name="any", gives_logprobs=True))  # type: ignore[arg-type]
"""As `jurist label` asks with nothing set, where there are log-probs."""


def question(pair: Pair, label: str) -> Target:
    """Which is better? In the order that makes this label right."""
    prompt, *both = pair
    shown = JUDGE.show_pair(Matchup.of(prompt, *(both if label == "A" else both[::-1])))
    asked = Prompt.of(JUDGE.turns("verdict", shown))
    return asked, Completion.of(asked.id, label)


def judged(name: str) -> list[Pair]:
    """The pairs of a source, each once, whose question is short enough."""
    pairs = {"".join(sorted((one[1].id, one[2].id))): one for one in HUMANS[name]()}.values()
    apart = [one for one in pairs if one[1].text.strip() and one[2].text.strip() and one[1] != one[2]]
    return [one for one in apart if tokens_to_read(question(one, "A")[0]) <= QUESTION]


def drawn(rows: Iterable[Any], most: int, *, held_out: bool) -> list[Any]:
    """The rows with the smallest hashes whose prompt is held out, or is not."""
    mine = (row for row in rows if recorded.held_out(row[0].messages[0].content) == held_out)
    code = lambda row: blake2b(f"{row[0].id}\n{row[1].id}".encode(), digest_size=8).digest()  # noqa: E731
    return sorted(mine, key=code)[:most]


@cache
def mixture() -> tuple[Target, ...]:
    """All rows that it learns from."""
    some = [drawn(rows, ANSWERS, held_out=False) for rows in answers().values()]
    some += [[*map(question, drawn(judged(name), QUESTIONS, held_out=False), cycle("AB"))] for name in HUMANS]
    return tuple(row for rows in some for row in rows)


@cache
def settings() -> SftConfig:
    """The folder is named after rows and settings: when they change, a new assistant is made."""
    cfg = SftConfig(base=str(gemma.english()), model=ModelConfig(precision="bfloat16"), **SETTINGS)
    out = gemma.CACHE / "real" / f"assistant-{fingerprint(cfg, mixture())[:10]}"
    return SftConfig(base=cfg.base, model=cfg.model, out=str(out), **SETTINGS)


def assistant() -> Path:
    """Its folder: a Hugging Face checkpoint like any other."""
    model = Path(settings().out) / "model"
    if not model.exists():
        raise SystemExit(f"there is no assistant yet. Make it, in {SLOW}: python {__file__}")
    return model


def assistant_gguf() -> Path:
    """The same as a file for llama.cpp."""
    return gemma._once(assistant().with_suffix(".gguf"), lambda file: gemma.write_gguf(assistant(), file))


def main() -> None:
    import torch

    from jurist.models.sft import train_sft

    torch.set_num_threads(1)
    print(f"learning from {len(mixture())} rows, {SLOW}; if interrupted, it goes on from the last save")
    said = "step {0.step} of {0.steps}: {0.metrics}, {1:.0f} CPU-s"
    tell = partial(print, flush=True)
    print(train_sft(settings(), mixture(), lambda at: tell(said.format(at, time.process_time()))))


if __name__ == "__main__":
    main()
