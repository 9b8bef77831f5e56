"""Other people's programs take what Jurist serves, exports and trains, unchanged: docs/clients.md, run."""

import json
import math
import shutil
import subprocess
import sys
from contextlib import contextmanager

import pytest

from support.cli import run, spawn
from support.clients import ROOT, ran
from support.job import label_by, read, records
from support.replies import preferring

sys.path.append(str(ROOT / "tests" / "docs"))
from walk import ADDRESS, BASE, blocks

pytestmark = pytest.mark.real
torch = pytest.importorskip("torch", reason="training is an extra: pip install 'jurist[train]'")

TEMPLATE = (  # a line break behind each turn, as most models have it
    "{% for turn in messages %}{% if turn.role == 'assistant' %}"
    "<|assistant|>{% generation %}{{ turn.content }}<|end|>{% endgeneration %}"
    "{% else %}<|user|>{{ turn.content }}<|end|>{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "How many shells are there?"},
    {"role": "assistant", "content": "There are 7 shells."},
    {"role": "user", "content": "Größer als 🐚?\nSay it."},
]
PAIRED = ("trl", "trl_implicit", "openrlhf", "jsonl", "parquet")
FORMATS = (*PAIRED, "kto", "sft")
HELD_OUT = ("--held_out", 0.2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run with every export, a policy, a reward model, and the files of the page."""
    from jurist.engines.engine import Ask
    from jurist.tiny.answers import careful, wordy
    from jurist.tiny.model import tiny_checkpoint
    from jurist.tiny.world import prompts

    here = tmp_path_factory.mktemp("clients")
    shutil.copytree(tiny_checkpoint(), here / "base")
    (here / "base/chat_template.jinja").write_text(TEMPLATE)
    rows = [{"prompt": TALK, "first": "Ja 🐚.\n", "second": " I know about it. It depends."}]
    for one in prompts(40):
        ask = Ask(one.messages)
        rows.append({"prompt": one.messages[0].content, "first": careful(ask), "second": wordy(ask)})
    learning = ("--soft", "false", "--learn", "head", *HELD_OUT)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        ok(label_by(preferring(lambda text: -len(text)), pairs=rows)[0])
        ok(run("export", "run", *(word for name in FORMATS for word in ("--format", name)), *HELD_OUT))
        ok(run("train", "sft", "run", "--base", "base", "--batch", 16, "--lr", 1e-3, *HELD_OUT))
        ok(run("train", "reward", "run", "--base", "run/models/sft/model", *learning))
        for block in blocks((ROOT / "docs/clients.md").read_text(encoding="utf-8")):
            if block.name:
                (here / block.name).write_text(block.text.replace(BASE, "base"), encoding="utf-8")
        yield here


def ok(done):
    assert done.code == 0, done.err


@contextmanager
def served(*words):
    """The address of `python -m jurist.serve WORDS`, as the page has it."""
    command = [sys.executable, "-m", "jurist.serve", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


SDKS = """
import asyncio
import anthropic, openai
from anthropic.types import Message, ModelInfo
from openai.types import Model
from openai.types.chat import ChatCompletion

ours, theirs = ran["ask_openai"]["client"], ran["ask_anthropic"]["client"]
found["labels"] = [ran[name]["label"] for name in ran]
found["logprobs"] = ran["ask_openai"]["logprobs"]

asked = {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "How many?"}]}]}
chat = ours.chat.completions.with_raw_response.create(**asked, n=2, logprobs=True, top_logprobs=2)
text = theirs.messages.with_raw_response.create(**asked, max_tokens=4)
# Every field that the SDKs declare is there, of its type.
found["choices"] = len(ChatCompletion.model_validate_json(chat.http_response.text).choices)
found["stop_reason"] = Message.model_validate_json(text.http_response.text).stop_reason
for client, kind in ((ours, Model), (theirs, ModelInfo)):
    (model,) = client.models.list()
    found.setdefault("models", []).append(kind.model_validate(model.model_dump()).id)

for name, create, error in (
    ("openai", ours.chat.completions.create, openai.BadRequestError),
    ("anthropic", lambda **more: theirs.messages.create(max_tokens=4, **more), anthropic.BadRequestError),
):
    try:
        create(**asked, stream=True)
    except error as refused:
        found[name] = str(refused)

async def many(url):
    async with openai.AsyncOpenAI(base_url=url, api_key="none") as client:
        calls = [
            client.chat.completions.create(
                model="m",
                messages=[{"role": "user", "content": "I am sad about the exam today."}],
                max_completion_tokens=12,
                temperature=0,
            )
            for _ in range(8)
        ]
        replies = await asyncio.gather(*calls)
        return [(one.choices[0].message.content, one.usage.completion_tokens) for one in replies]

found["policy"] = asyncio.run(many(open("policy.txt").read()))
"""


def test_the_openai_and_anthropic_sdks_ask_a_served_judge_and_a_served_policy(folder):
    with (
        served("--answer", "my_judges:brief") as url,
        served("--engine", "hf:run/models/sft/model") as policy,
    ):
        for name in ("ask_openai.py", "ask_anthropic.py"):
            text = ADDRESS.sub(url, (folder / name).read_text())
            (folder / name).write_text(text.replace("http://localhost:8000", url.removesuffix("/v1")))
        (folder / "policy.txt").write_text(policy)
        found = ran(SDKS, "ask_openai", "ask_anthropic", cwd=folder)

    assert found["labels"] == ["A", "A"]
    assert found["logprobs"] == {"A": -0.1, "B": -2.4}
    assert (found["choices"], found["stop_reason"]) == (2, "end_turn")
    assert len(found["models"]) == 2
    assert all("400" in found[sdk] and "does not stream" in found[sdk] for sdk in ("openai", "anthropic"))
    ((said, tokens),) = {(text, tokens) for text, tokens in found["policy"]}
    assert said.strip()
    assert 0 < tokens <= 12


JUDGED = """
import openai

url = open("judged.txt").read()
asked = {"model": "any", "messages": [{"role": "user", "content": "A or B?"}], "max_completion_tokens": 1}
for token in ("s3cret", "wrong"):
    client = openai.OpenAI(base_url=url, api_key=token, max_retries=0)
    try:
        reply = client.chat.completions.create(**asked, logprobs=True, top_logprobs=2)
        tops = reply.choices[0].logprobs.content[0].top_logprobs
        found[token] = [reply.choices[0].message.content, {one.token: one.logprob for one in tops}]
    except openai.AuthenticationError as error:
        found[token] = error.status_code
"""


def test_the_openai_sdk_asks_a_judge_of_jurist_serve_with_its_token(folder):
    options = ("--port", 0, "--token_env", "JURIST_TOKEN", "--out", "judged")
    judge = spawn("serve", "scripted:my_judges:brief", *options, cwd=folder, env={"JURIST_TOKEN": "s3cret"})
    try:
        (folder / "judged.txt").write_text(judge.stdout.readline().strip())
        found = ran(JUDGED, cwd=folder)
    finally:
        judge.terminate()
    assert found == {"s3cret": ["A", {"A": -0.1, "B": -2.4}], "wrong": 401}
    assert judge.wait(10) == 0
    assert "s3cret" not in judge.stderr.read()


LOADED = """
import json
from datasets import load_dataset

for name in FORMATS:
    loaded = load_dataset(f"run/export/{name}")
    loaded.save_to_disk(f"disk/{name}")
    found[name] = {
        "rows": {split: len(rows) for split, rows in loaded.items()},
        "types": {column: str(kind) for column, kind in loaded["train"].features.items()},
        "first": loaded["train"][0],
    }
found["table"] = ran["load_exports"]["table"].to_list()
found["pairs"] = ran["load_exports"]["pairs"]["train"].to_list()
"""
TURNS = "List({'role': Value('string'), 'content': Value('string')})"
LABEL = dict.fromkeys(("p", "score_margin", "weight"), "Value('float64')") | {"id": "Value('string')"}
IMPLICIT = {"chosen": TURNS, "rejected": TURNS, **LABEL}
TYPES = {
    "trl": {"prompt": TURNS, **IMPLICIT},
    "parquet": {"prompt": TURNS, **IMPLICIT},
    "trl_implicit": IMPLICIT,
    "openrlhf": IMPLICIT,
    "kto": {"prompt": TURNS, "id": "Value('string')", "completion": TURNS, "label": "Value('bool')"},
    "sft": {"messages": TURNS, "id": "Value('string')"},
}


@pytest.fixture(scope="module")
def loaded(folder):
    return ran(f"FORMATS = {FORMATS}\n{LOADED}", "load_exports", cwd=folder)


def test_datasets_loads_each_export_with_its_columns_types_and_rows(folder, loaded):
    exported = json.loads((folder / "run/summary.json").read_text())["exported"]
    for name in FORMATS:
        assert loaded[name]["rows"] == exported[name]
        assert loaded[name]["types"] == TYPES.get(name, loaded[name]["types"])
    rows = read(folder / "run/export/trl/train.jsonl")
    assert loaded["pairs"] == loaded["table"] == rows


@pytest.mark.parametrize("name", PAIRED)
def test_what_datasets_saved_is_labelled_exported_and_audited_like_the_export(folder, loaded, name):
    (export,) = (folder / "run/export" / name).glob("train.*")
    saved, out = f"disk/{name}/train", f"back-{name}"
    ok(run("label", "--pairs", saved, "--judge", "longer", "--out", out))
    ok(run("export", out, "--format", "kto"))
    from_file, from_saved = (run("audit", source, "--json").json for source in (export, saved))

    # The judge of the run liked the shorter one.
    labels = {(one["rejected"]["text"], one["chosen"]["text"]) for one in records("preferences", out)}
    assert labels == {(one["chosen"][0]["content"], one["rejected"][0]["content"]) for one in loaded["pairs"]}
    assert len(read(f"{out}/export/kto/train.jsonl")) == 2 * len(labels)
    assert from_saved["counts"] == from_file["counts"]
    assert numbers(from_saved) == numbers(from_file)


def numbers(audit):
    return [(one["name"], one["n"], one["value"]) for one in audit["findings"]]


TRL = ("sft", "dpo", "kto", "reward", "new", "grpo")
TRAINED = """
import json
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

for name in ran:
    trainer = ran[name]["trainer"]
    found[name] = {"rows": len(trainer.train_dataset), "log": trainer.state.log_history}

rows = [json.loads(line) for line in open("run/export/trl/train.jsonl")]
for name in ("reward", "new"):
    model = AutoModelForSequenceClassification.from_pretrained(f"trl/{name}/model")
    tokenizer = AutoTokenizer.from_pretrained(f"trl/{name}/model")
    texts = [tokenizer.apply_chat_template(row["prompt"] + row["chosen"], tokenize=False) for row in rows]
    ids = tokenizer(texts, add_special_tokens=False, padding=True, padding_side="right", return_tensors="pt")
    with torch.no_grad():
        found[f"trl_{name}"]["scores"] = model(**ids).logits[:, 0].tolist()
"""


@pytest.fixture(scope="module")
def trained(folder):
    """The page's files of TRL, and a reward model that TRL makes of the policy."""
    script = (folder / "trl_reward.py").read_text()
    script = script.replace("run/models/reward/model", "run/models/sft/model").replace(
        "trl/reward", "trl/new"
    )
    (folder / "trl_new.py").write_text(script)
    return ran(TRAINED, *(f"trl_{name}" for name in TRL), cwd=folder)


@pytest.fixture(scope="module")
def pairs(folder):
    """The pairs of the export, as messages of both conversations."""
    rows = read(folder / "run/export/trl/train.jsonl")
    return [(row["prompt"] + row["chosen"], row["prompt"] + row["rejected"]) for row in rows]


def tokens(folder, conversations, model="sft"):
    from transformers import AutoTokenizer

    texts = AutoTokenizer.from_pretrained(folder / f"run/models/{model}/model")
    return sum(len(texts.apply_chat_template(one)["input_ids"]) for one in conversations)


@pytest.mark.parametrize(
    ("name", "rows_a_pair", "first"),
    [("dpo", 1, math.log(2)), ("kto", 2, 0.5), ("reward", 1, None), ("new", 1, None)],
)
def test_trl_s_trainers_learn_from_every_row_of_an_export(folder, trained, pairs, name, rows_a_pair, first):
    before, after, _ = trained[f"trl_{name}"]["log"]
    model = "reward" if name == "reward" else "sft"

    assert trained[f"trl_{name}"]["rows"] == rows_a_pair * len(pairs)
    assert before["epoch"] == 1.0  # the first step took them all, to their last token
    assert before["num_tokens"] == tokens(folder, [one for both in pairs for one in both], model)
    assert math.isfinite(after["loss"])
    assert after["loss"] < before["loss"]
    if first is not None:
        assert before["loss"] == pytest.approx(first, abs=1e-6)


def test_trl_s_sft_starts_at_our_own_loss(folder, trained):
    from jurist.policies.policy import load_policy, token_stats
    from jurist.policies.tokens import tokenise_many
    from jurist.records import Completion, Message, Prompt

    rows = read(folder / "run/export/sft/train.jsonl")
    answers = []  # TRL learns every answer of a conversation
    for row in rows:
        turns = [Message(**turn) for turn in row["messages"]]
        for at, turn in enumerate(turns):
            if turn.role == "assistant":
                answers.append((Prompt.of(tuple(turns[:at])), (Completion.of("", turn.content),), {}))
    policy = load_policy(folder / "base")
    stats = token_stats(policy, [*tokenise_many(answers, policy.tokenizer)])
    before, after, _ = trained["trl_sft"]["log"]

    assert (trained["trl_sft"]["rows"], before["epoch"]) == (len(rows), 1.0)
    assert len(answers) == len(rows) + 1
    assert before["loss"] == pytest.approx(-float(stats.logprobs_AT.sum() / stats.mask_AT.sum()), rel=1e-5)
    assert after["loss"] < before["loss"]


def test_trl_reads_our_reward_model_as_we_do_and_we_read_trl_s(folder, trained, pairs):
    ours = read("run/models/reward/metrics.jsonl")[0]
    theirs = trained["trl_reward"]["log"][0]
    assert theirs["loss"] == pytest.approx(ours["loss"], rel=1e-5)
    assert theirs["mean_reward"] == pytest.approx(ours["reward"], rel=1e-5, abs=1e-6)
    assert theirs["accuracy"] == ours["accuracy"]
    for name in ("reward", "new"):
        got = scores(folder / "trl" / name / "model", [chosen for chosen, _ in pairs])
        assert got == pytest.approx(trained[f"trl_{name}"]["scores"], abs=1e-5)


def test_grpo_gets_the_rewards_that_our_judge_gives(folder, trained):
    from pyarrow import parquet

    tables = [parquet.read_table(file) for file in sorted(folder.glob("trl/grpo/completions/*.parquet"))]
    rows = [row for table in tables for row in table.to_pylist()]

    assert len(tables) == len(trained["trl_grpo"]["log"]) - 1 == 2
    assert trained["trl_grpo"]["rows"] == len(read(folder / "run/export/trl/train.jsonl"))
    assert len({row["completion"][0]["content"] for row in rows}) > 4
    ours = scores(folder / "run/models/reward/model", [row["prompt"] + row["completion"] for row in rows])
    assert [row["model"] for row in rows] == pytest.approx(ours, abs=1e-5)


def scores(model, conversations):
    """What `--judge reward:MODEL` gives the last answers."""
    from jurist.models.rewards import RewardJudge
    from jurist.records import Completion, Message, Prompt

    rows = []
    for turns in conversations:
        prompt = Prompt.of(tuple(Message(**turn) for turn in turns[:-1]))
        rows.append((prompt, Completion.of(prompt.id, turns[-1]["content"])))
    return RewardJudge(model).score_many(rows)
