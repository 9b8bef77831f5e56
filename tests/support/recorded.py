"""Recorded judgements as files that a user might have: rows of two answers and what a judge said of them."""

import csv
import gzip
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from hashlib import blake2b
from itertools import combinations
from pathlib import Path
from typing import Any, Final

DATA: Final = Path(
    os.environ.get("JURIST_REAL_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data"
)
Row = dict[str, Any]
WINNERS: Final = {"1": "a", "2": "b", "3": "tie"}


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


def against_chatgpt() -> list[Row]:
    """GPT-4's scores of 36 systems, each beside ChatGPT in both orders (QLoRA); with stand-ins for the texts,
    since most are not on record, and a prompt for each system and question.
    """
    reviews = list(lines_of("qlora_vicuna/gpt4_relative-gpt-3.5.jsonl.gz"))
    # ChatGPT's answers have one id in all files; of two systems the others' ids differ from order to order.
    times = Counter(row[name] for row in reviews for name in ("answer1_id", "answer2_id"))
    rows = []
    for row in reviews:
        sides = row["file"].removesuffix("-gpt4-reviewer.jsonl").split("-vs-")
        system = next(one for one in sides if one != "gpt-3.5").split("-vicuna-generations")[0]
        first, second = (
            "ChatGPT's" if times[row[name]] > 36 else "the system's" for name in ("answer1_id", "answer2_id")
        )
        pair = {"response_a": first, "response_b": second, "domain": system, "judge": "gpt-4"}
        one, other = row["score"]
        winner = "none" if -1 in (one, other) else "a" if one > other else "b" if one < other else "tie"
        prompt = f"question {row['question_id']} to {system}"
        rows.append({"prompt": prompt, **pair, "winner": winner, "swapped": False})
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


def pandalm_judges() -> list[Row]:
    """What two judges said of the same pairs, in their order; None is what cannot be read."""
    files = {"gpt-3.5": ("gpt-3.5-turbo", "gpt_result"), "PandaLM-7B": ("pandalm-7b", "pandalm_result")}
    words = {"1": "a", "2": "b", "Tie": "tie", "0": "tie"}
    said = {
        judge: [words.get(str(row[field])) for row in json.loads((DATA / file).read_text(encoding="utf-8"))]
        for judge, (name, field) in files.items()
        for file in [f"pandalm/{name}-testset-v1.json"]
    }
    return [dict(zip(said, row, strict=True)) for row in zip(*said.values(), strict=True)]


def pandalm_judged() -> list[Row]:
    """The humans' rows, and after them a row for what each judge said of the pair."""
    rows, judges = pandalm(), pandalm_judges()
    return rows + [
        {name: row[name] for name in row if "annotator" not in name} | {"judge": judge, "winner": word}
        for row, said in zip(rows, judges, strict=True)
        for judge, word in said.items()
    ]


PLAIN: Final = "Vanilla_NoRules"
JUDGES: Final = ("GPT-4", "ChatGPT", "LLaMA2", "PaLM2", "Falcon")


def llmbar_winners(name: str, every_prompt: bool) -> Iterator[tuple[str, int, tuple[str, str]]]:
    """Of one of its sets: the judge, the instance, and the winner in both orders, 1 or 2 of the instance
    whatever was shown first. Five models under one prompt; or more, named with the prompt.
    """
    for row in lines_of(f"llmbar/verdicts_{name.replace('/', '_').replace('^', '')}.jsonl.gz"):
        model, _, prompting = row["evaluator"].rpartition("/")
        if every_prompt or (prompting == PLAIN and model in JUDGES):
            given, swapped = (str(row["results"][-1][f"swap = {o}"]["winner"]) for o in (False, True))
            yield row["evaluator"] if every_prompt else model, int(row["i"]), (given, swapped)


def llmbar_judged(*names: str, every_prompt: bool = False) -> list[Row]:
    """What its judges said about these sets, in both orders, and the gold labels."""
    pairs: dict[tuple[str, int], Row] = {}
    for row in lines_of("llmbar/instances.jsonl.gz"):
        pair = {"prompt": row["input"], "response_a": row["output_1"], "response_b": row["output_2"]}
        pair |= {"domain": row["dataset"], "human": WINNERS[str(row["label"])]}
        pairs[row["dataset"], int(row["i"])] = pair
    rows = []
    for name in names:
        for judge, i, both in llmbar_winners(name, every_prompt):
            given, swapped = (WINNERS.get(winner, "none") for winner in both)
            said = {"judge": judge, "winner_given": given, "winner_swapped": swapped}
            rows.append({**pairs[name, i], **said})
    return rows


def llmbar() -> list[Row]:
    """Gold labels of LLMBar (Zeng et al. 2023)."""
    return [
        {"prompt": row["input"], "response_a": row["output_1"], "response_b": row["output_2"]}
        | {"winner": "ab"[row["label"] - 1]}
        for row in lines_of("llmbar/instances.jsonl.gz")
        if row.get("label") in (1, 2)
    ]


def rubric(name: str) -> Iterator[Row]:
    """A table of LLM-Rubric (Hashemi et al. 2024)."""
    with (DATA / "llm_rubric" / name).open(encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines, delimiter="\t")


def rubric_pairs(question: str = "Q0") -> list[Row]:
    """Every two conversations that one human rated differently, and how likely the judge's two distributions
    over the ratings 1 to 4 make it that the first has the higher one; a tie is half.
    """
    with gzip.open(DATA / "llm_rubric/real_data.json.gz", "rt", encoding="utf-8") as file:
        talks = json.load(file)
    text = {
        talk["_id"]: "\n".join(f"{m['role']}: {m['content']}" for m in talk["messages"]) for talk in talks
    }
    chances = {
        row["text_id"]: [float(row[f"answer{n}_prob"]) for n in (1, 2, 3, 4)]
        for row in rubric("gpt-3.5-turbo-16k_real_evaluations_FIXED.tsv")
        if row["criterion"] == question
    }
    rated = defaultdict[str, list[Row]](list)
    for row in rubric("human_judges_real_convs_FIXED_ANON.tsv"):
        rated[row["annotator_id"]].append(row)
    rows = []
    for who, own in rated.items():
        for one, other in combinations(own, 2):
            ids, ahead = (one["text_id"], other["text_id"]), float(one[question]) - float(other[question])
            if not ahead:
                continue
            p, q = (chances[name] for name in ids)
            both = {(i, j): p[i] * q[j] for i in range(4) for j in range(4)}
            above = sum(one * ((i > j) + (i == j) / 2) for (i, j), one in both.items()) / sum(both.values())
            pair = {"response_a": text[ids[0]], "response_b": text[ids[1]], "judge": "gpt-3.5-turbo-16k"}
            said = {"p_first": above, "human": "a" if ahead > 0 else "b"}
            rows.append({"prompt": f"Which of annotator {who}'s conversations is better?", **pair, **said})
    return rows


def hh_rlhf() -> list[Row]:
    """Chosen and rejected dialogues, offensive by design (Bai et al. 2022)."""
    return list(lines_of("hh_rlhf_harmless_test/harmless-base_test.jsonl.gz"))
