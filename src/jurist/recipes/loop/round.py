"""The steps that rounds are made of: labelling runs, trainings and measurements, each done once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Struct, to_builtins
from msgspec.structs import replace

from ...engines.checkpoints import weights_hash
from ...engines.engine import EngineConfig
from ...errors import BudgetSpent, EngineDown, Interrupted
from ...journal import money_in
from ...models.settings import PPOConfig
from ...preferences import PreferConfig
from ...records import Completion, Preference, Prompt, Sampling
from ...run import Writer
from ...stats.intervals import mean
from ...verdicts.cases import read_cases
from ...verdicts.settings import JudgeConfig, JuryConfig
from ..label import label, sample
from ..lines import Share
from ..settings import LabelConfig, PolicyConfig
from ..summary import Summary
from .compare import Comparison, HeldOutRow, comparison_of, read_held_out, with_verdict
from .folder import LoopRun
from .labels import (
    DrawnAnswers,
    LabelledRun,
    PromptAnswer,
    agreement_of,
    drawn_in,
    mean_scores,
    probabilities,
    ranking,
    run_opinions,
    tied,
)
from .settings import JudgeSpec
from .stopping import RealShare, mix_real_rows, real_rows_for

PairOrAnswer = TypeVar("PairOrAnswer", Preference, PromptAnswer)
SAMPLES = 4
"""Answers to each held-out prompt: the first is judged, all of them say how varied they are."""


class Trained(Struct, frozen=True):
    """A model that a round made."""

    folder: str
    hash: str
    rows: int
    metrics: dict[str, float]
    usd: float = 0.0
    seconds: float = 0.0


class Round:
    """One round of a loop. A step is called like its folder."""

    def __init__(self, loop: LoopRun, number: int, wanted: RealShare | None = None) -> None:
        self.loop, self.number = loop, number
        self.path = loop.folder(number)
        self.seed = loop.cfg.seed + 1000 * (number - 1)
        self.wanted = wanted or RealShare(loop.cfg.real.share)
        self.real_share = 0.0
        self.missing = 0
        """Human rows that would have to be written for the share that was wanted."""
        self.before = loop.usd, loop.seconds

    # ---- answers and labels

    def prompts(self, each: int = 0) -> Path:
        """So many prompts for this round, in the order of the file and over again at its end; 0: all."""
        if not each:
            return self.loop.prompts("train")
        rows = self.loop.read_prompts("train")
        first = (self.number - 1) * each
        places = range(first, first + min(each, len(rows)))
        return self.write("prompts", [rows[place % len(rows)] for place in places])

    def sample(self, policy: str, sampling: Sampling, prompts: Path) -> LabelledRun:
        """Completions of the policy, and of the policies mixed in; not judged yet."""
        return self._run("sample", sample, sampling=sampling, **self._policies(policy, prompts))

    def label(
        self,
        policy: str,
        judge: JudgeSpec,
        *,
        prompts: Path | None = None,
        prefer: PreferConfig | None = None,
        jury: JuryConfig | None = None,
    ) -> LabelledRun:
        """Completions of the policy, and of the policies mixed in, judged and decided."""
        given = self._policies(policy, prompts or self.loop.prompts("train"))
        return self._run("label", label, judge=judge, prefer=prefer, jury=jury, **given)

    def judge(self, step: str, judge: JudgeSpec, **rows: Any) -> LabelledRun:
        """Completions or pairs that are there already, judged and decided."""
        return self._run(step, label, judge=judge, **rows)

    def answers(
        self, step: str, writer: str | EngineConfig, prompts: Sequence[Prompt], k: int = 1, **how: Any
    ) -> list[DrawnAnswers]:
        """k answers to each prompt by this policy or engine alone."""
        if not prompts:
            return []
        file, policy = self.write(f"{step}-prompts", prompts), PolicyConfig(engine_of(writer))
        return [*drawn_in(self._run(step, sample, prompts=str(file), policy=(policy,), k=k, **how).run)]

    def _policies(self, policy: str, prompts: Path) -> dict[str, Any]:
        cfg = self.loop.cfg
        writers = (PolicyConfig(engine_of(policy)), *cfg.mixture)
        return {"prompts": str(prompts), "policy": writers, "k": cfg.k}

    def _run(self, step: str, verb: Callable[..., Summary], **how: Any) -> LabelledRun:
        """A run in a folder of the round, paid from the loop's budget and kept in its journal."""

        def work() -> LabelledRun:
            plain: dict[str, Any] = {"seed": self.seed, "export": ()}
            plain |= {"sampling": self.loop.cfg.sampling} if "policy" in how else {}
            given = plain | {name: value for name, value in how.items() if value is not None}
            journal, budget = str(self.loop.path / "journal.sqlite"), self.loop.budget_left()
            cfg = LabelConfig(out=str(self.path / step), journal=journal, budget=budget, **given)
            summary = verb(cfg, lambda now: self.loop.report(self.number, step, inner=now))
            if summary.state == "stopped":
                kinds = {"budget": BudgetSpent, "interrupt": Interrupted}
                raise kinds.get(summary.ended_by, EngineDown)(summary.stopped)
            if "judge" not in how:
                return LabelledRun(cfg.out, usd=summary.usd)
            level = tied(ranking(*row) for row in run_opinions(cfg.out, cfg.jury))
            return LabelledRun(cfg.out, summary.labels, level, summary.flip_rate, summary.usd)

        return self.loop.once(self.number, step, LabelledRun, work)

    # ---- files

    def write(self, noun: str, records: Iterable[Struct]) -> Path:
        with self.writing(noun) as (file,):
            for record in records:
                file.add(record)
        return self.path / f"{noun}.jsonl"

    @contextmanager
    def writing(self, *nouns: str) -> Iterator[list[Writer]]:
        """Files of the round, which appear together."""
        for noun in nouns:
            (self.path / noun).parent.mkdir(parents=True, exist_ok=True)
        names = [f"{self.path.name}/{noun}" for noun in nouns]
        with self.loop.run.writing(*names) as files:
            yield [files[name] for name in names]

    def write_answers(self, name: str, rows: Iterable[tuple[Prompt, Sequence[Completion]]]) -> str:
        """Prompts with their answers, as a folder that can be judged."""
        with self.writing(f"{name}/prompts", f"{name}/completions") as (asked, answers):
            for prompt, completions in rows:
                asked.add(prompt)
                for one in completions:
                    answers.add(one)
        return str(self.path / name)

    # ---- training

    def mix_real_rows(self, made: Sequence[PairOrAnswer]) -> list[PairOrAnswer]:
        """What is learnt from: all that was made, with human rows at the share of this round."""
        cfg = replace(self.loop.cfg.real, share=self.wanted.share)
        real = self._real_rows(made[0]) if made and cfg.file else []
        if cfg.file or self.wanted.why:
            self.missing = max(0, real_rows_for(len(made), cfg.share) - len(real))
        if self.missing:
            answered = {_prompt_of(one).id for one in real}
            asked = (one for one in self.loop.read_prompts("train") if one.id not in answered)
            self.write("wanted", islice(asked, self.missing))
        rows, self.real_share = mix_real_rows(made, real, cfg, self.seed)
        return rows

    def _real_rows(self, like: PairOrAnswer) -> list[PairOrAnswer]:
        """Human rows of the same kind, but for those about held-out prompts."""
        from ...models.rows import load_preferences, load_targets

        held_out = {one.id for one in self.loop.read_prompts("held_out")}
        load: Any = load_preferences if isinstance(like, Preference) else load_targets
        rows: list[PairOrAnswer] = [*load(self.loop.cfg.real.file)]
        return [one for one in rows if _prompt_of(one).id not in held_out]

    def sft(self, cfg: Any, base: str, answers: Iterable[PromptAnswer], step: str = "policy") -> Trained:
        """A policy from answers."""
        return self._train("sft", step, cfg, base, list(answers))

    def reward_model(
        self, cfg: Any, base: str, pairs: Sequence[Preference], step: str = "reward_model"
    ) -> Trained:
        """Bradley-Terry on soft labels."""
        return self._train("reward", step, cfg, base, pairs)

    def dpo(
        self, cfg: Any, base: str, ref: str, pairs: Sequence[Preference], step: str = "policy"
    ) -> Trained:
        """A policy straight from preferences, held near the reference policy."""
        return self._train("dpo", step, replace(cfg, reference=ref), base, pairs)

    def reinforce(
        self, cfg: PPOConfig, base: str, ref: str, reward: Trained | JudgeConfig, step: str = "policy"
    ) -> Trained:
        """A policy from a reward: a reward model, or a judge that is asked at every step."""
        given = reward.folder if isinstance(reward, Trained) else judge_settings(reward)
        full = replace(cfg, reference=ref, reward=given, budget=self.loop.budget_left())
        return self._train("ppo", step, full, base, self.loop.read_prompts("train"))

    def _train(self, method: str, step: str, cfg: Any, base: str, rows: Sequence[Any]) -> Trained:
        def work() -> Trained:
            trainer = getattr(import_module(f"jurist.models.{method}"), f"train_{method}")
            out = self.path / step
            full = replace(cfg, data=step, base=base, out=str(out), seed=cfg.seed + self.seed)
            folder = trainer(
                full, rows, on_progress=lambda now: self.loop.report(self.number, step, inner=now)
            )
            facts = json.loads((folder / "training.json").read_text())
            return Trained(
                str(folder), weights_hash(folder), facts["rows"], facts["metrics"], usd=money_in(out)[0]
            )

        return self.loop.once(self.number, step, Trained, work, together=True)

    # ---- measuring

    def compare(self, policy: str, initial: str, about: str = "") -> Comparison:
        """The policy beside the initial one on held-out prompts, where there are some.

        Round 0 is that of the initial policy: it only answers. `about` tells several policies apart."""
        cfg, prompts = self.loop.cfg, self.loop.read_prompts("held_out")
        judge = cfg.compare.judge if self.number else ""
        if not prompts:
            return Comparison()
        # The seed is the same in all rounds.
        drawn = self.answers(f"held_out{about}", policy, prompts, SAMPLES, seed=cfg.seed)
        first = {row.prompt.id: row.new for row in read_held_out(self.loop.path, 0)} if self.number else {}
        rows = [HeldOutRow(one.prompt, tuple(one.answers), first.get(one.prompt.id, ())) for one in drawn]
        pairs = [(row.prompt, (row.new[0], row.old[0])) for row in rows if row.new and row.old]
        if judge and pairs:
            answers = self.write_answers(f"compare{about}-pairs", pairs)
            ps = probabilities(self.judge(f"compare{about}", judge, completions=answers).run)
            rows = [with_verdict(row, ps) for row in rows]
        self.write(f"held_out{about}", rows)

        def work() -> Comparison:
            kl = _kl(policy, initial, rows, cfg.sampling.temperature) if self.number else None
            return replace(comparison_of(rows, judged=bool(judge)), kl=kl)

        return self.loop.once(self.number, f"comparison{about}", Comparison, work)

    def proxy(self, scorer: Trained | JudgeSpec) -> float | None:
        """The mean score of the held-out answers by this reward model or judge."""
        judge = JudgeConfig(kind=f"reward:{scorer.folder}") if isinstance(scorer, Trained) else scorer
        rows = [(row.prompt, row.new[:1]) for row in read_held_out(self.loop.path, self.number) if row.new]
        if not rows:
            return None
        labelled = self.judge("proxy", judge, completions=self.write_answers("proxy-answers", rows))
        scores = [one for case in read_cases(Path(labelled.run)) for one in mean_scores(case).values()]
        return mean(scores) if scores else None

    def agreement(self, labelled: LabelledRun) -> Share | None:
        """How often the loop's judge labelled a pair as `compare.judge` does, one pair of each prompt."""
        cfg = self.loop.cfg.compare
        if not cfg.judge or not cfg.pairs:
            return None
        rows = ((one.prompt, one.answers) for one in drawn_in(labelled.run) if len(set(one.answers)) > 1)
        answers = self.write_answers("agreement-answers", islice(rows, cfg.pairs))
        other = self.judge("agreement", cfg.judge, completions=answers, matchups="random:1")
        return agreement_of(probabilities(labelled.run), probabilities(other.run))


def judge_settings(judge: JudgeConfig) -> dict[str, Any]:
    """The settings that are not the defaults."""
    plain = to_builtins(judge)
    return {name: value for name, value in plain.items() if value != getattr(JudgeConfig(), name)}


def engine_of(policy: str | EngineConfig) -> str | EngineConfig:
    """A checkpoint as an engine; an engine stays as it is."""
    return f"hf:{policy}" if isinstance(policy, str) and ":" not in policy else policy


def _kl(policy: str, initial: str, rows: Sequence[HeldOutRow], temperature: float) -> float | None:
    """Nats a completion between two checkpoints, along what the first wrote at this temperature; None where
    it always writes the same, or one of them is behind an endpoint."""
    if ":" in policy or ":" in initial or not temperature:
        return None
    from ...policies.policy import kl, load_to_read
    from ...policies.tokens import tokenise_many

    new, old = load_to_read(policy), load_to_read(initial)
    written: Any = ((row.prompt, (answer,), {}) for row in rows for answer in row.new)
    return float(kl(new, old, [*tokenise_many(written, new.tokenizer)], temperature))


def _prompt_of(row: Preference | PromptAnswer) -> Prompt:
    return row.prompt if isinstance(row, Preference) else row[0]


def policy_gradient(optimiser: str, ppo: PPOConfig) -> PPOConfig:
    """RLOO is PPO without a critic, comparing the samples of a prompt with each other."""
    if optimiser == "ppo" or ppo.advantage != "gae":
        return ppo
    return replace(ppo, advantage="rloo")
