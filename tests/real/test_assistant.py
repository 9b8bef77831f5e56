"""A pretrained base learns to answer and to judge, and is served as a user serves it."""

import json
from itertools import cycle
from pathlib import Path
from statistics import median

import pytest

from support.cli import run
from support.job import records, summary, write
from support.llama import llama_server, skip_without_model

pytestmark = pytest.mark.real
skip_without_model()

import real_assistant  # noqa: E402
from jurist.records import Completion, Prompt  # noqa: E402
from support import gemma  # noqa: E402

ANSWERS = {
    "Why is the sky blue?": "Air scatters blue light more than red light.",
    "What is the capital of France?": "The capital of France is Paris.",
    "How do I boil an egg?": "Put it in boiling water for eight minutes.",
    "What makes bread rise?": "Yeast makes gas in the dough, and the gas makes it rise.",
    "Why do cats purr?": "Mostly because they are content.",
    "How can I learn to swim?": "Take lessons in shallow water, and practise often.",
}


def pairs():
    """Each answer against that to the question before it."""
    texts = [*ANSWERS.values()]
    for number, prompt in enumerate(ANSWERS):
        asked = Prompt.of(prompt)
        yield asked, Completion.of(asked.id, texts[number]), Completion.of(asked.id, texts[number - 1])


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("here")
def test_a_few_steps_teach_the_base_the_form_and_the_adapter_alone_serves_as_judge():
    some = [*pairs()]
    rows = [{"prompt": prompt, "completion": text} for prompt, text in ANSWERS.items()]
    for prompt, answer in map(real_assistant.question, some[:4], cycle("AB")):
        turns = [{"role": turn.role, "content": turn.content} for turn in prompt.messages]
        rows.append({"prompt": turns, "completion": answer.text})
    write("answers.jsonl", rows)
    how = (
        "--model.precision",
        "bfloat16",
        "--lora.merge",
        "false",
        "--lr",
        1e-3,
        "--epochs",
        4,
        "--batch",
        10,
    )
    trained = run("train", "sft", "answers.jsonl", "--base", gemma.english(), "--out", "sft", *how)
    assert trained.code == 0, trained.err
    losses = [json.loads(line)["loss"] for line in Path("sft/metrics.jsonl").read_text().splitlines()]
    assert losses[-1] < 0.5 * losses[0]
    assert not Path("sft/model/model.safetensors").exists()

    shown = [{"prompt": one.messages[0].content, "first": a.text, "second": b.text} for one, a, b in some[4:]]
    write("pairs.jsonl", shown)
    run("label", "--pairs", "pairs.jsonl", "--judge", "hf:sft/model")
    verdicts = records("verdicts")
    assert verdicts[0]["judge"].startswith("pairwise:hf:sft#")
    assert len(verdicts) == 4
    assert median(one["label_mass"] for one in verdicts) > 0.5


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_the_assistant_ends_its_turns_and_judges_through_hf_and_behind_llama_cpp(assistant):
    prompts = [{"prompt": prompt} for prompt in ANSWERS]
    write("prompts.jsonl", prompts)
    with llama_server(real_assistant.assistant_gguf()) as server:
        for out, engine in (("hf", f"hf:{assistant}"), ("llama", f"llamacpp:assistant@{server.url}")):
            done = run(
                "label", "--prompts", "prompts.jsonl", "--policy", engine, "--judge", engine, "--out", out
            )
            assert done.code in (0, 1), done.err
            ended = [one.get("finish", "stop") == "stop" for one in records("completions", out)]
            assert sum(ended) >= 0.8 * len(ended)
            verdicts = records("verdicts", out)
            read = [one for one in verdicts if not one.get("unread") and not one.get("forced")]
            assert len(read) >= 0.95 * len(verdicts) > 0
            assert summary(out)["retries"] == 0
