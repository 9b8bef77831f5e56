"""What the experiments in the tiny world share: recipes as shipped, and the truth about their policies.

Only marking sees the truth: on held-out questions, of each seed's own, policies answer once, and the exact
scores of the answers are compared with those of the initial policy's; equal scores count a half. A policy has
to beat the best null too, prompt by prompt. All this is at temperature 1, as in training; beside it stands
how the likeliest answers compare, since there a policy that only grew surer of itself wins nothing.
"""

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from evidence import ROOT, differences, interval, write_rows
from jurist import JudgeConfig, LabelConfig, PreferConfig, label
from jurist.config import load_settings, read_recipe
from jurist.models.rewards import RewardJudge
from jurist.policies.policy import Policy, kl, load_to_read
from jurist.policies.tokens import Example, tokenise_many
from jurist.policies.writer import Drawing, HFWriter
from jurist.recipes.catalogue import recipe_called
from jurist.recipes.loop.rounds import LoopOutcome
from jurist.records import Completion, Preference, Prompt, Sampling
from jurist.run import read_records
from jurist.tiny.answers import null_wins, won
from jurist.tiny.model import tiny_checkpoint
from jurist.tiny.world import prompts, true_preference, true_score

MOST_TOKENS = 48
ANSWERS = 4  # of the initial policy to each held-out question: one is compared with, nulls use the others
TIE = 0.05  # how far from one half the share of fair judges may be where a pair counts as a tie
JUDGE = JudgeConfig(engine="tiny:planted")


def request(prompt: Prompt) -> str:
    return prompt.messages[-1].content


def held_out(n: int, seed: int) -> list[Prompt]:
    """Questions that nothing was trained on, disjoint by content."""
    return list(prompts(n, seed, "held_out"))


def settings_of(
    name: str, seed: int, out: Path, changes: Mapping[str, Any] | None = None, **given: Any
) -> Any:
    """The shipped recipe; `changes` are by dotted name."""
    file = ROOT / "recipes" / f"{name}.yaml"
    settings, _ = recipe_called(str(read_recipe(file)["recipe"]))
    return load_settings(settings, file, changes, out=str(out), seed=seed, **given)


def run_recipe(cfg: Any) -> LoopOutcome:
    outcome: LoopOutcome = recipe_called(cfg.recipe)[1](cfg)
    return outcome


def label_answers(out: Path, n: int, seed: int, k: int = 4, **more: Any) -> Path:
    """A run of `jurist label`: the initial policy answers n prompts, a judge is asked about every pair."""
    rows = ({"prompt": request(one), "domain": one.domain} for one in prompts(n, seed))
    how = {"prompts": write_rows(out.with_suffix(".jsonl"), rows), "policy": "tiny:policy", "judge": JUDGE}
    how |= {"prefer": PreferConfig(rule="all_pairs"), "sampling": Sampling(max_tokens=MOST_TOKENS, seed=seed)}
    label(LabelConfig(out=str(out), k=k, seed=seed, export=(), **{**how, **more}))
    return out


def label_pairs(out: Path, rows: Iterable[tuple[str, str, str]], **how: Any) -> Path:
    """A run of `jurist label` over pairs that are there already: prompt, first and second."""
    names = ("prompt", "first", "second")
    file = write_rows(out.with_suffix(".jsonl"), (dict(zip(names, row, strict=True)) for row in rows))
    label(LabelConfig(out=str(out), pairs=file, export=(), **{"judge": JUDGE, **how}))
    return out


def preferences(run: Path) -> Iterator[Preference]:
    return read_records(run / "preferences.jsonl", Preference)


class Pair(Struct, frozen=True):
    """Two answers, and which is truly better."""

    prompt: Prompt
    one: str
    other: str
    one_is_better: bool


def better(asked: str, one: str, other: str) -> bool | None:
    """Whether the first is truly better; None for a tie."""
    lead = true_preference(asked, one, other) - 0.5
    return None if abs(lead) < TIE else lead > 0


def rightly_chosen(rows: Iterable[Preference]) -> list[bool | None]:
    """Whether each label is right; None for a tie in truth."""
    return [better(request(row.prompt), row.chosen.text, row.rejected.text) for row in rows]


def proxy_scores(reward: RewardJudge, rows: Iterable[tuple[Prompt, str]]) -> list[float]:
    completed = [(prompt, Completion.of(prompt.id, text)) for prompt, text in rows]
    return [score or 0.0 for score in reward.score_many(completed)]


def agreement(reward: Path, pairs: Sequence[Pair]) -> list[bool]:
    """Whether the reward model is right, of each pair."""
    rows = ((pair.prompt, text) for pair in pairs for text in (pair.one, pair.other))
    scores = proxy_scores(RewardJudge(reward), rows)
    return [(scores[2 * at] > scores[2 * at + 1]) == pair.one_is_better for at, pair in enumerate(pairs)]


def null_agreement(pairs: Sequence[Pair]) -> tuple[str, float]:
    """The best rule that has learnt nothing: by length, or chance."""
    shorter = statistics.fmean((len(one.one) < len(one.other)) == one.one_is_better for one in pairs)
    found = {"the shorter answer": shorter, "the longer answer": 1 - shorter, "chance": 0.5}
    best = max(found, key=found.__getitem__)
    return best, round(found[best], 4)


class Written(Struct, frozen=True):
    """A policy's answers, as text and as tokens."""

    texts: list[list[str]]
    rows: list[Example]

    def scores(self, asked: Sequence[Prompt]) -> list[list[float]]:
        rows = zip(asked, self.texts, strict=True)
        return [[true_score(request(prompt), text) for text in texts] for prompt, texts in rows]

    def mean_score(self, asked: Sequence[Prompt]) -> float:
        return round(statistics.fmean(chain.from_iterable(self.scores(asked))), 4)


@cache
def initial() -> Policy:
    return load_to_read(tiny_checkpoint())


def write(
    policy: Policy | str | Path, asked: Sequence[Prompt], k: int = 1, seed: int = 0, temperature: float = 1.0
) -> Written:
    """So many answers of the policy to each prompt."""
    policy = policy if isinstance(policy, Policy) else load_to_read(policy)
    heads = [*tokenise_many(((one, (), {}) for one in asked), policy.tokenizer)]
    how, keys = Drawing(MOST_TOKENS, policy.ends, temperature), [f"{seed} {one.id}" for one in asked]
    drawn = sorted(HFWriter(policy).write([one.prompt_ids for one in heads], k, how, keys))
    ids = [[one.ids for one in drawn[at : at + k]] for at in range(0, len(drawn), k)]
    texts = [[policy.tokenizer.decode(one, skip_special_tokens=True).strip() for one in some] for some in ids]
    return Written(texts, [replace(head, answers=some) for head, some in zip(heads, ids, strict=True)])


class Trial:
    """The held-out questions of one seed, with the initial policy's answers and what the nulls come to."""

    def __init__(self, n: int, seed: int) -> None:
        self.seed, self.asked = seed, held_out(n, seed)
        self.initial = write(initial(), self.asked, ANSWERS, seed)
        self.greedy = write(initial(), self.asked, temperature=0.0)
        rows = [(request(one), *some) for one, some in zip(self.asked, self.initial.texts, strict=True)]
        self.nulls = null_wins((asked, first, others) for asked, first, *others in rows)
        self.null = max(self.nulls, key=lambda name: statistics.fmean(self.nulls[name]))
        """The best one, chosen on the questions it is compared on, which favours it."""

    def mark(self, folder: str | Path) -> dict[str, Any]:
        """A policy against the initial one and against the best null; intervals over the prompts."""
        policy = load_to_read(folder)
        new, best = write(policy, self.asked, 1, self.seed + 1), write(policy, self.asked, temperature=0.0)
        wins = win_each(new.scores(self.asked), self.initial.scores(self.asked))
        return {
            "win_rate": interval(wins),
            "over_null": interval(differences(wins, self.nulls[self.null])),
            "null": self.null,
            "null_win_rate": interval(self.nulls[self.null])[0],
            "at_temperature_0": interval(win_each(best.scores(self.asked), self.greedy.scores(self.asked))),
            "true_score": [self.initial.mean_score(self.asked), new.mean_score(self.asked)],
            "words": [round(mean_words(one), 1) for one in (self.initial, new)],
            "kl": round(kl(policy, initial(), new.rows), 2),
        }


def win_each(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> list[float]:
    """Wins between one answer each, by their true scores."""
    return [won(one[0] - two[0]) for one, two in zip(ours, theirs, strict=True)]


def mean_words(answers: Written) -> float:
    return statistics.fmean(len(text.split()) for texts in answers.texts for text in texts)


def beats(row: Mapping[str, Any]) -> bool:
    """Significantly better than the initial policy and than the best null."""
    return bool(row["win_rate"][1] > 0.5 and row["over_null"][1] > 0)


def worst_of(marks: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The lowest win rate, as a claim is recorded."""
    worst = min(marks, key=lambda mark: mark["win_rate"][1])
    null = {f"the best policy that learnt nothing: {worst['null']}": worst["null_win_rate"]}
    return {"value": worst["win_rate"], "null": null}
