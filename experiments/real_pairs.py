"""Pairs of answers that humans and judges compared on record, and reward models learnt from some of them; for
`real_rewards.py`.

A head is fitted as by `--learn head`, on states of the pretrained model that are computed once; an adapter is
trained as by `--lora.r 16`. Both are asked about prompts that they were not taught. All is kept in
`~/.cache/jurist/real/rewards`, so that a run that was stopped goes on.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec.structs import replace

from jurist.models import reward
from jurist.models.rows import load_preferences
from jurist.models.settings import ModelConfig, RewardConfig
from jurist.models.trainer import Progress
from jurist.policies.checkpoint import Lora, load_tokenizer
from jurist.policies.policy import load_policy, token_stats
from jurist.policies.tokens import Example, tokenise_many
from jurist.records import Completion, Matchup, Preference, Prompt, content_id
from jurist.verdicts.settle import settle
from support import gemma, on_record, recorded

KEPT = gemma.CACHE / "real" / "rewards"
SPLITS, FOLDS = 10, 5
LONGEST = 420
"""Tokens of a dialogue with both its answers."""
SIDE = {"a": 1.0, "b": 0.0, "tie": 0.5}
Array = Any
"""One number a pair, or one a split and pair: N, SN."""


@dataclass
class Pairs:
    matchups: list[Matchup]
    by: dict[str, Array]
    """By source of labels: the probability that the first is better; nan where it says nothing."""

    @cached_property
    def prompts(self) -> Array:
        """The number of each pair's prompt; dialogues that open alike are one."""
        openings = [" ".join(one.prompt.messages[0].content.lower().split()) for one in self.matchups]
        return np.unique(openings, return_inverse=True)[1]

    @cached_property
    def states(self) -> Any:
        """What a head reads of both answers: N2D."""
        found = read_answers(self.matchups, gemma.english(), "states")
        return torch.stack([found[one.id] for m in self.matchups for one in (m.first, m.second)]).unflatten(
            0, (-1, 2)
        )

    @cached_property
    def longer(self) -> Array:
        return np.array([len(one.first.text) - len(one.second.text) for one in self.matchups], dtype=float)

    def some(self, where_N: Array) -> Pairs:
        kept = [one for one, here in zip(self.matchups, where_N, strict=True) if here]
        return Pairs(kept, {name: p_N[where_N] for name, p_N in self.by.items()})

    def head(self, p_N: Array, rows: Array) -> Any:
        """Fitted on those of these pairs that have a label."""
        rows = rows[~np.isnan(p_N[rows])]
        examples = [Example([int(self.prompts[at])], (), p=float(p_N[at])) for at in rows]
        return reward.solve(self.states[rows], examples, RewardConfig(learn="head"))[0]

    def marks(self, head_D: Any) -> Array:
        """How much higher it rewards the first answer."""
        rewards_N2 = (self.states @ head_D).numpy()
        return rewards_N2[:, 0] - rewards_N2[:, 1]

    def by_head(self, p_N: Array, rows: Array) -> Array:
        return self.marks(self.head(p_N, rows))

    def by_words(self, p_N: Array, rows: Array) -> Array:
        """A logistic regression on words and pairs of words, with the penalty that was best on dialogues that
        are taught here."""
        from scipy.sparse import vstack
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression

        rows = rows[np.abs(p_N[rows] - 0.5) > 0]
        firsts, seconds = ([getattr(m, side).text for m in self.matchups] for side in ("first", "second"))
        words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
        words.fit([texts[at] for at in rows for texts in (firsts, seconds)])
        apart, won = words.transform(firsts) - words.transform(seconds), p_N[rows] > 0.5
        fitted = LogisticRegression(C=0.01, fit_intercept=False, max_iter=1000)
        fitted.fit(vstack([apart[rows], -apart[rows]]), np.concatenate([won, ~won]))
        return fitted.decision_function(apart)

    def held_out(self, p: Array, fit: Callable[[Array, Array], Array] | None = None) -> Array:
        """What a head, or another fit, says of each pair from the labels of other prompts: SN. `p` is the
        same in all splits, or has a row for each."""
        fit = fit or self.by_head
        p_SN = np.ascontiguousarray(np.broadcast_to(p, (SPLITS, len(self.matchups))), dtype=float)
        code, ids = Path(reward.__file__).read_text(), [one.id for one in self.matchups]
        file = KEPT / "folds" / f"{content_id(fit.__name__, code, ids, FOLDS, p_SN.tobytes().hex())}.npy"
        if not file.exists():
            found_SN = np.zeros_like(p_SN)
            for split, p_N in enumerate(p_SN):
                order = np.random.default_rng(split).permutation(self.prompts.max() + 1)
                fold_N = order[self.prompts] % FOLDS
                for fold in range(FOLDS):
                    said_N = fit(p_N, np.flatnonzero(fold_N != fold))
                    found_SN[split, fold_N == fold] = said_N[fold_N == fold]
            file.parent.mkdir(parents=True, exist_ok=True)
            np.save(file, found_SN)
        return np.load(file)

    def adapter(self, name: str, p_N: Array, rows: Array) -> Path:
        """The folder of an adapter that is trained on these rows, once."""
        taught = []
        for at in rows:
            one, p = self.matchups[at], float(p_N[at])
            better, worse = (one.first, one.second) if p >= 0.5 else (one.second, one.first)
            taught.append(Preference(one.id, one.prompt, better, worse, max(p, 1 - p)))
        cfg = RewardConfig(
            base=str(gemma.english()), out=str(KEPT / name), lora=Lora(r=16, merge=False), lr=3e-4, batch=16
        )
        how = {"model": ModelConfig(precision="bfloat16"), "tokens": 1024, "save_every": 10}
        return reward.train_reward(replace(cfg, **how), taught, shown)

    def by_adapter(self, folder: Path) -> Array:
        """How much higher it rewards the first answer."""
        told = read_answers(self.matchups, folder, "reward")
        return np.array([float(told[one.first.id] - told[one.second.id]) for one in self.matchups])


def shown(now: Progress) -> None:
    metrics = {name: round(value, 3) for name, value in now.metrics.items()}
    print(f"{now.step} of {now.steps}, {now.seconds_left:.0f} s left", metrics, flush=True)


def read_answers(matchups: Iterable[Matchup], folder: Path, want: Any) -> dict[str, Any]:
    """Of each answer its last state, its reward, or its log-probs, summed and a token: a file a prompt."""
    asked: dict[str, tuple[Prompt, dict[str, Completion]]] = {}
    for m in matchups:
        asked.setdefault(m.prompt.id, (m.prompt, {}))[1].update({m.first.id: m.first, m.second.id: m.second})
    files = {}
    for name, (_, some) in asked.items():
        key = content_id(folder.name, folder.parent.name, name, [one.text for one in ordered(some)])
        files[name] = KEPT / want / f"{key}.npy"
    left = [asked[name] for name, file in files.items() if not file.exists()]
    if left:
        policy = load_policy(
            folder, dtype="float32", kind="causal" if want == "logprobs" else "reward"
        ).eval()
    for block in (left[at : at + 40] for at in range(0, len(left), 40)):
        rows = [*tokenise_many(((prompt, ordered(some), {}) for prompt, some in block), policy.tokenizer)]
        if want == "logprobs":  # a base never ends a turn
            rows = [replace(row, answers=[ids[:-1] for ids in row.answers]) for row in rows]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            stats = token_stats(policy, rows, 1024, (want,))
        values = stats.reward_A if want == "reward" else stats.state_AD
        if want == "logprobs":
            sums_A = stats.logprobs_AT.sum(-1)
            values = torch.stack([sums_A, sums_A / stats.mask_AT.sum(-1)], -1)
        for (prompt, _), part in zip(block, values.split([len(some) for _, some in block]), strict=True):
            files[prompt.id].parent.mkdir(parents=True, exist_ok=True)
            np.save(files[prompt.id], part.numpy())
        print(f"read {want} of {len(values)} answers", flush=True)
    found = {}
    for name, (_, some) in asked.items():
        values = torch.from_numpy(np.load(files[name]))
        found |= {one.id: value for one, value in zip(ordered(some), values, strict=True)}
    return found


def ordered(some: dict[str, Completion]) -> list[Completion]:
    return sorted(some.values(), key=lambda one: one.text)


def pair(prompt: str, *texts: str) -> Matchup:
    asked = Prompt.of(prompt)
    return Matchup.of(asked, *(Completion.of(asked.id, one) for one in texts))


@cache
def hh() -> Pairs:
    """Dialogues of HH-RLHF (harmless); the first answer is the one that a human chose."""
    file = recorded.DATA / "hh_rlhf_harmless_test/harmless-base_test.jsonl.gz"
    rows = [one for one in load_preferences(file, on_error="drop") if one.chosen.text and one.rejected.text]
    texts = ((one.prompt, (one.chosen, one.rejected), {}) for one in rows)
    read = tokenise_many(texts, load_tokenizer(gemma.english()))
    short = [row for row, tokens in zip(rows, read, strict=True) if tokens.length <= LONGEST]
    pairs = [Matchup.of(one.prompt, one.chosen, one.rejected) for one in short]
    return Pairs(pairs, {"human": np.ones(len(pairs))})


@cache
def hh_split() -> tuple[Array, Array]:
    """The rows of them that are learnt from, in an order by content; which pairs are of held-out prompts."""
    pairs = hh()
    apart_N = np.array([recorded.held_out(one.prompt.messages[0].content) for one in pairs.matchups])
    order = np.argsort([content_id("order", one.id) for one in pairs.matchups])
    return order[~apart_N[order]], apart_N


def human_rewards(n: int) -> Path:
    """A reward model from the first n human labels."""
    pairs, (taught, _) = hh(), hh_split()
    return pairs.adapter(f"hh-{n}", pairs.by["human"], taught[:n])


@cache
def pandalm() -> Pairs:
    """The majority of three humans, a tie where there is none; what share of them is for the first; two
    judges."""
    said, pairs = defaultdict[str, list[float]](list), []
    for row, judges in zip(recorded.pandalm(), recorded.pandalm_judges(), strict=True):
        texts = [row["response_a"], row["response_b"]]
        if all(map(str.strip, texts)) and texts[0] != texts[1]:
            humans = [SIDE[row[f"annotator{n}"]] for n in (1, 2, 3)]
            [(most, votes)] = Counter(humans).most_common(1)
            said["human"].append(most if votes > 1 else 0.5)
            said["shares"].append(float(np.mean(humans)))
            for judge, word in judges.items():
                said[judge].append(SIDE.get(word, np.nan))
            pairs.append(pair(row["prompt"], *texts))
    return Pairs(pairs, {name: np.array(p) for name, p in said.items()})


@cache
def llmbar() -> Pairs:
    """Gold labels; of each judge the mean of both orders and either alone; the mean of all judges."""
    pairs: list[Matchup] = []
    said: dict[str, dict[int, float]] = defaultdict(dict)
    for name in on_record.SETS:
        asked, humans = on_record.read_set(name)
        for at, (matchup, verdicts) in enumerate(asked, len(pairs)):
            told = {"human": humans[matchup.id], "adversarial": float("Adversarial" in name)}
            for one, two in zip(verdicts[::2], verdicts[1::2], strict=True):
                for orders, order in (([one], ", order 1"), ([two], ", order 2"), ([one, two], "")):
                    told[one.judge + order] = settle(orders, matchup).p_first
            known = [told[judge] for judge in recorded.JUDGES if told.get(judge) is not None]
            told["jury"] = np.mean(known) if known else None
            for source, p in told.items():
                said[source][at] = np.nan if p is None else p
        pairs += [matchup for matchup, _ in asked]
    rows = range(len(pairs))
    return Pairs(pairs, {source: np.array([p.get(at, np.nan) for at in rows]) for source, p in said.items()})


@cache
def qlora() -> Pairs:
    """GPT-4 on 80 questions and every two of eight systems: both orders' mean, and either. First is the
    answer of the system that comes first in the alphabet; order 1 shows it first."""
    pairs: dict[tuple[str, ...], Matchup] = {}
    said: dict[str, dict[tuple[str, ...], float]] = defaultdict(dict)
    for row in recorded.eight_systems():
        turned, p = row["model_a"] > row["model_b"], SIDE.get(row["winner"], np.nan)
        key = (row["prompt"], *sorted((row["model_a"], row["model_b"])))
        sides = ("response_b", "response_a") if turned else ("response_a", "response_b")
        pairs[key] = pair(row["prompt"], *(row[side] for side in sides))
        said[f"GPT-4, order {1 + turned}"][key] = 1 - p if turned else p
    by = {order: np.array([p[key] for key in pairs]) for order, p in said.items()}
    return Pairs(list(pairs.values()), by | {"GPT-4": np.mean(list(by.values()), axis=0)})
