"""Recorded judgements as files that a user might have: rows of two answers and what a judge said of them."""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

DATA: Final = Path(
    os.environ.get("JURIST_REAL_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data"
)
Row = dict[str, Any]


def held_out(prompt: str) -> bool:
    """Whether a prompt is in no training: one in five, by a hash of its words; a dialogue (HH-RLHF) by its
    opening, so that no two that begin alike are on both sides."""
    opening = prompt.split("\n\nAssistant:")[0].strip().removeprefix("Human:")
    code = blake2b(" ".join(opening.lower().split()).encode(), digest_size=8).digest()
    return int.from_bytes(code, "big") % 5 == 0


def lines_of(file: str | Path) -> Iterator[Row]:
    """Of a file of JSON there, or anywhere by its whole path, gzipped or not."""
    path = DATA / file
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def eight_systems() -> list[Row]:
    """GPT-4's reviews of every ordered pair of eight systems (QLoRA, Dettmers et al. 2023)."""
    reviews, files = (
        list(lines_of("qlora_vicuna/gpt4_pairwise.jsonl.gz")),
        defaultdict[str, Counter[str]](Counter),
    )
    for row in reviews:
        both = row["file"].removesuffix("-gpt-4-reviewer-threeclass.jsonl").split("-vs-")
        for answer in (row["answer1_id"], row["answer2_id"]):
            files[answer].update(map(_system, both))
    # The files that an answer is in all name its system; the order of the names is no guide.
    wrote = {answer: names.most_common(1)[0][0] for answer, names in files.items()}
    asked = {row["question_id"]: row["text"] for row in lines_of("qlora_vicuna/vicuna_questions.jsonl")}
    text = {
        (_system(row["file"].removesuffix(".jsonl")), row["question_id"]): row.get("generation")
        or row["text"]
        for row in lines_of("qlora_vicuna/generations_vicuna_subset.jsonl.gz")
    }
    rows = []
    for row in reviews:
        question, one, other = row["question_id"], wrote[row["answer1_id"]], wrote[row["answer2_id"]]
        pair = {
            "prompt": asked[question],
            "response_a": text[one, question],
            "response_b": text[other, question],
        }
        winner = {1: "a", 2: "b", 3: "tie"}.get(row["score"], "none")
        who = {"model_a": one, "model_b": other, "judge": "gpt-4"}
        rows.append({"prompt": asked[question], **pair, **who, "winner": winner, "swapped": False})
    return rows


def _system(name: str) -> str:
    name = name.removesuffix("-vicuna-generations-topp0.9-temp0.7")
    return name.removeprefix("answer_").removeprefix("answer-")


def cje(policy: str) -> dict[str, Row]:
    """A policy's answers to 1,000 prompts with its judge's score (CJE, Fondu 2025), by prompt."""
    return {row["prompt_id"]: row for row in lines_of(f"cje_arena/{policy}_responses.jsonl.gz")}


def cje_pairs(policy: str, other: str) -> list[Row]:
    """Two policies of it, as scores."""
    ones, others = cje(policy), cje(other)
    return [
        {"prompt": one["prompt"], "first": one["response"], "second": others[name]["response"]}
        | {"first_score": one["judge_score"], "second_score": others[name]["judge_score"]}
        | {"first_policy": policy, "second_policy": other, "judge": "judge"}
        for name, one in ones.items()
    ]


def pandalm() -> list[Row]:
    """Three humans on 999 pairs (PandaLM, Wang et al. 2023)."""
    rows = []
    for row in json.loads((DATA / "pandalm/testset-v1.json").read_text(encoding="utf-8")):
        pair = {"prompt": f"{row['instruction']}\n{row['input']}".strip()}
        pair |= {"response_a": str(row["response1"]), "response_b": str(row["response2"])}
        pair |= dict(zip(("model_a", "model_b"), row["cmp_key"].split("_"), strict=True))
        said = {f"annotator{n}": {0: "tie", 1: "a", 2: "b"}[row[f"annotator{n}"]] for n in (1, 2, 3)}
        rows.append(pair | said)
    return rows


def llmbar() -> list[Row]:
    """Gold labels of LLMBar (Zeng et al. 2023)."""
    return [
        {"prompt": row["input"], "response_a": row["output_1"], "response_b": row["output_2"]}
        | {"winner": "ab"[row["label"] - 1]}
        for row in lines_of("llmbar/instances.jsonl.gz")
        if row.get("label") in (1, 2)
    ]


def hh_rlhf() -> list[Row]:
    """Chosen and rejected dialogues, offensive by design (Bai et al. 2022)."""
    return list(lines_of("hh_rlhf_harmless_test/harmless-base_test.jsonl.gz"))
