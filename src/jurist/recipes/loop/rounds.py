"""The rounds of a loop, and the steps they are made of: labelling runs, trainings and measurements.

`Rounds` goes from one round to the next, until the last or until there is a reason to stop; a `Round` has a
method for each kind of step. A step is done once and called like its folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from itertools import cycle, islice
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Struct, to_builtins
from msgspec.structs import replace

from ...engines.checkpoints import weights_hash
from ...engines.engine import EngineConfig
from ...errors import BudgetSpent, EngineDown, Interrupted
from ...journal import money_in
from ...models.settings import DpoConfig, PPOConfig, RewardConfig, SftConfig
from ...records import Completion, Preference, Prompt
from ...stats.intervals import mean
from ...verdicts.cases import read_cases
from ...verdicts.settings import JudgeConfig, JuryConfig
from ..label import label, sample
from ..lines import Share, named, table
from ..settings import LabelConfig, PolicyConfig
from .compare import Comparison, Facts, HeldOutRow, checkpoints, comparison_of, read_held_out, with_verdict
from .folder import LoopRun, OnLoopProgress
from .labels import (
    DrawnAnswers,
    LabelledRun,
    NothingToLearn,
    agreement_of,
    drawn_in,
    mean_scores,
    probabilities,
    scored_cases,
    tied,
)
from .settings import JudgeSpec, LoopConfig
from .stopping import mix_real_rows, real_share_for, reason_to_stop, warnings

PromptAnswer = tuple[Prompt, Completion]
PairOrAnswer = TypeVar("PairOrAnswer", Preference, PromptAnswer)
SAMPLES = 4
"""Answers to each held-out prompt: the first is judged, all of them say how varied they are."""
METHODS: dict[Any, str] = {SftConfig: "sft", RewardConfig: "reward", DpoConfig: "dpo", PPOConfig: "ppo"}


class LoopOutcome(Struct, frozen=True):
    """What a loop came to; kept as `summary.json`."""

    policy: str
    """Folder of the policy of the last round."""
    rounds: list[Facts]
    stopped: str = ""
    """Why it ended before its last round."""
    warning: str = ""
    usd: float = 0.0

    def lines(self) -> Iterator[str]:
        """A row per round; columns without a value are left out."""
        heads = ("round", "win rate against initial policy", "judge agreement", "proxy", "KL", "words")
        cells = zip((*heads, "distinct", "different", "cost", "time"), *map(_cells, self.rounds), strict=True)
        shown = [column for column in cells if any(cell != "-" for cell in column[1:])]
        yield from table(list(zip(*shown, strict=True)))
        rows = (("stopped", self.stopped), ("warning", self.warning), ("cost", f"${self.usd:.4f}"))
        yield from named((*rows, ("policy", self.policy)))


def _cells(facts: Facts) -> tuple[str, ...]:
    one = facts.compared
    win, words = "-", "-"
    if one.win_rate is not None:
        win = str(Share(one.win_rate, one.low, one.high, one.n))
        win += f", {one.at_equal_length:.1%} at equal length" if one.at_equal_length is not None else ""
        words = f"{one.words_before:.1f} to {one.words:.1f}"
    agreed = f"{facts.agreement.value:.1%} (n = {facts.agreement.n})" if facts.agreement else "-"
    numbers = ((facts.proxy, "+.3f"), (one.kl, ".2f"), (one.distinct, ".3f"), (one.unique, ".3f"))
    proxy, kl, *varied = ("-" if value is None else format(value, how) for value, how in numbers)
    took = f"{facts.seconds:.1f} s" if facts.seconds else "-"
    return str(facts.round), win, agreed, proxy, kl, words, *varied, f"${facts.usd:.4f}", took


@contextmanager
def run_rounds(cfg: LoopConfig, on_progress: OnLoopProgress | None) -> Iterator[Rounds]:
    """The rounds of a loop; their outcome is kept when all went well."""
    with LoopRun(cfg, on_progress) as loop:
        rounds = Rounds(loop)
        try:
            yield rounds
        except NothingToLearn as reason:
            if not rounds.facts:
                raise  # the first round has no policy to end with
            rounds.stopped = str(reason)
        loop.write_json("summary.json", rounds.outcome)


class Rounds:
    """Iterate over it, and finish each round."""

    def __init__(self, loop: LoopRun) -> None:
        self.loop = loop
        self.initial = loop.checkpoint()
        """Folder of the initial policy."""
        self.facts: list[Facts] = []
        self.stopped = ""
        self._scorer: Trained | JudgeSpec | None = None
        Round(loop, 0).compare(self.initial, self.initial)

    def __iter__(self) -> Iterator[Round]:
        cfg = self.loop.cfg
        for number in range(1, cfg.rounds + 1):
            self.stopped = reason_to_stop(self.facts, checkpoints(self.loop.path, self.facts), cfg.stop)
            if self.stopped:
                return
            yield Round(self.loop, number, real_share_for(self.facts, cfg.real))

    def finish(
        self,
        round: Round,
        made: Trained,
        labelled: LabelledRun | None = None,
        scorer: Trained | JudgeSpec | None = None,
        **more: Any,
    ) -> None:
        """Compare the new policy, and write down what the round came to. The first round's scorer scores the
        held-out answers of all rounds."""
        more["compared"] = round.compare(made.folder, self.initial)
        if labelled is not None:
            flips = labelled.flips.value if labelled.flips else None
            more = {"tied": labelled.tied, "flips": flips, "agreement": round.agreement(labelled), **more}
        self._scorer = self._scorer or scorer
        facts = Facts(
            round=round.number,
            policy=made.folder,
            policy_hash=made.hash,
            real_share=round.real_share,
            missing=round.missing,
            proxy=round.proxy(self._scorer) if self._scorer else None,
            usd=self.loop.usd - round.before[0],
            seconds=float(f"{self.loop.seconds - round.before[1]:.2f}"),
            **more,
        )
        self.facts.append(facts)
        self.loop.write("rounds", self.facts)

    @property
    def outcome(self) -> LoopOutcome:
        cfg = self.loop.cfg
        found = [self.loop.warning, *warnings(self.facts, cfg.stop)]
        for one in self.facts[-1:]:
            flips = one.compared.flips
            if flips is not None and flips.low > cfg.stop.flips > 0:
                found.append(
                    f"compare.judge followed the position on {flips.value:.0%} of {flips.n} held-out prompts,"
                    " so its win rates say little: name another judge"
                )
        for last in [one for one in self.facts if one.missing][-1:]:
            wanted = real_share_for(self.facts[: last.round - 1], cfg.real)
            found.append(
                f"{last.missing} more rows that humans write would make up the share of"
                f" {wanted:.0%} that keeps the answers varied; their prompts:"
                f" {self.loop.folder(last.round) / 'wanted.jsonl'}"
            )
        return LoopOutcome(
            policy=self.facts[-1].policy,
            rounds=self.facts,
            stopped=self.stopped,
            warning="; ".join(filter(None, found)),
            usd=self.loop.usd,
        )


class Trained(Struct, frozen=True):
    """A model that a round made."""

    folder: str
    hash: str
    usd: float = 0.0
    seconds: float = 0.0


class Round:
    """One round of a loop."""

    def __init__(self, loop: LoopRun, number: int, wanted: float = 0.0) -> None:
        self.loop, self.number = loop, number
        self.path = loop.folder(number)
        self.seed = loop.cfg.seed + 1000 * (number - 1)
        self.wanted = wanted or loop.cfg.real.share
        """The share of human rows that is to be trained on; what it came to, and how many are missing."""
        self.real_share = 0.0
        self.missing = 0
        self.before = loop.usd, loop.seconds

    # ---- answers and labels

    def prompts(self, each: int = 0) -> Path:
        """So many prompts for this round, in the order of the file and over again at its end; 0: all."""
        if not each:
            return self.loop.prompts("train")
        rows, first = self.loop.read_prompts("train"), (self.number - 1) * each
        return self.write("prompts", islice(cycle(rows), first, first + min(each, len(rows))))

    def label(
        self, policy: str, judge: JudgeSpec = (), *, prompts: Path | None = None, **how: Any
    ) -> LabelledRun:
        """Completions of the policy, and of the policies mixed in, judged and decided; without a judge they
        are only sampled."""
        cfg = self.loop.cfg
        given = {"k": cfg.k, "sampling": cfg.sampling, "policy": (writer(policy), *cfg.mixture), **how}
        given["prompts"] = str(prompts or self.loop.prompts("train"))
        return self.run("label" if judge else "sample", judge, **given)

    def answers(
        self, step: str, policy: str | EngineConfig, prompts: Sequence[Prompt], **how: Any
    ) -> list[DrawnAnswers]:
        """Answers to each prompt by this policy or engine alone, one unless k says otherwise."""
        if not prompts:
            return []
        given = {"k": 1, "sampling": self.loop.cfg.sampling, "policy": (writer(policy),), **how}
        file = self.write(f"{step}-prompts", prompts)
        return [*drawn_in(self.run(step, prompts=str(file), **given).run)]

    def judge(
        self, step: str, judge: JudgeSpec, rows: Iterable[tuple[Prompt, Sequence[Completion]]], **how: Any
    ) -> LabelledRun:
        """Prompts with the answers that are there already, judged and decided."""
        return self.run(step, judge, completions=self.write_answers(f"{step}-answers", rows), **how)

    def run(self, step: str, judge: JudgeSpec = (), **how: Any) -> LabelledRun:
        """A run in a folder of the round, paid from the loop's budget and kept in its journal; without a
        judge it samples."""

        def work() -> LabelledRun:
            given: dict[str, Any] = {"seed": self.seed, "budget": self.loop.budget_left(), **how}
            journal, out = str(self.loop.path / "journal.sqlite"), str(self.path / step)
            cfg = LabelConfig(out=out, judge=judge, journal=journal, export=(), **given)
            verb = label if judge else sample
            summary = verb(cfg, lambda now: self.loop.report(self.number, step, inner=now))
            if summary.state == "stopped":
                kinds = {"budget": BudgetSpent, "interrupt": Interrupted}
                raise kinds.get(summary.ended_by, EngineDown)(summary.stopped)
            if not judge:
                return LabelledRun(cfg.out, usd=summary.usd)
            level = tied(scores for _, scores in scored_cases(cfg.out, cfg.jury))
            return LabelledRun(cfg.out, level, summary.flip_rate, summary.usd, why_none=summary.why_none)

        return self.loop.once(self.number, step, LabelledRun, work)

    # ---- files

    def write(self, noun: str, records: Iterable[Struct]) -> Path:
        return self.loop.write(f"{self.path.name}/{noun}", records)

    def write_answers(self, name: str, rows: Iterable[tuple[Prompt, Sequence[Completion]]]) -> str:
        """Prompts with their answers, as a folder that can be judged."""
        rows = list(rows)
        self.write(f"{name}/prompts", (prompt for prompt, _ in rows))
        self.write(f"{name}/completions", (one for _, some in rows for one in some))
        return str(self.path / name)

    # ---- training

    def mix_real_rows(self, made: Sequence[PairOrAnswer]) -> list[PairOrAnswer]:
        """What is learnt from: all that was made, with human rows at the share of this round."""
        cfg = self.loop.cfg.real
        real = self._real_rows(made[0]) if cfg.file else []
        rows, missing = mix_real_rows(made, real, replace(cfg, share=self.wanted), self.seed)
        self.real_share = 1 - len(made) / len(rows)
        if missing and (cfg.file or self.wanted > cfg.share):
            self.missing = missing
            answered = {_prompt_of(one).id for one in real}
            asked = (one for one in self.loop.read_prompts("train") if one.id not in answered)
            self.write("wanted", islice(asked, missing))
        return rows

    def _real_rows(self, like: PairOrAnswer) -> list[PairOrAnswer]:
        """Human rows of the same kind, but for those about held-out prompts."""
        from ...models.rows import load_preferences, load_targets

        held_out = {one.id for one in self.loop.read_prompts("held_out")}
        load: Any = load_preferences if isinstance(like, Preference) else load_targets
        return [one for one in load(self.loop.cfg.real.file) if _prompt_of(one).id not in held_out]

    def train(self, cfg: Any, base: str, rows: Sequence[Any], step: str = "policy", **given: Any) -> Trained:
        """A model from these rows, by the method that the settings are for."""

        def work() -> Trained:
            method, out = METHODS[type(cfg)], self.path / step
            trainer = getattr(import_module(f"jurist.models.{method}"), f"train_{method}")
            full = replace(cfg, data=step, base=base, out=str(out), seed=cfg.seed + self.seed, **given)
            full = replace(full, lora=full.lora or self.loop.cfg.lora)
            folder = trainer(
                full, rows, on_progress=lambda now: self.loop.report(self.number, step, inner=now)
            )
            return Trained(str(folder), weights_hash(folder), money_in(out)[0])

        return self.loop.once(self.number, step, Trained, work, together=True)

    def reinforce(
        self, cfg: Any, base: str, ref: str, reward: Trained | JudgeConfig, step: str = "policy"
    ) -> Trained:
        """A policy from a reward: a reward model, or a judge that is asked at every step. The settings have
        `optimiser`, and a part for each of them."""
        ppo: PPOConfig = cfg.ppo
        if cfg.optimiser == "rloo" and ppo.advantage == "gae":
            ppo = replace(ppo, advantage="rloo")  # PPO without a critic: a prompt's samples are compared
        given = reward.folder if isinstance(reward, Trained) else to_builtins(reward)
        left, prompts = self.loop.budget_left(), self.loop.read_prompts("train")
        most = ppo.rollout.max_tokens or self.loop.cfg.sampling.max_tokens
        ppo = replace(ppo, rollout=replace(ppo.rollout, max_tokens=most))
        return self.train(ppo, base, prompts, step, reference=ref, reward=given, budget=left)

    def learn(
        self, cfg: Any, policy: str, initial: str, ref: str, pairs: Sequence[Preference]
    ) -> tuple[Trained, Trained | None]:
        """A policy from preferences, held near the reference policy: by DPO, or by a reward model and PPO or
        RLOO; and the reward model."""
        if cfg.optimiser == "dpo":
            return self.train(cfg.dpo, policy, pairs, reference=ref), None
        reward = self.train(cfg.reward_model, initial, pairs, "reward_model")
        return self.reinforce(cfg, policy, ref, reward), reward

    # ---- measuring

    def compare(self, policy: str, initial: str, about: str = "") -> Comparison:
        """The policy beside the initial one on held-out prompts, where there are some.

        Round 0 is that of the initial policy: it only answers. `about` tells several policies apart."""
        cfg, prompts = self.loop.cfg, self.loop.read_prompts("held_out")
        judge = cfg.compare.judge if self.number else ""
        if not prompts:
            return Comparison()
        # The seed is the same in all rounds.
        drawn = self.answers(f"held_out{about}", policy, prompts, k=SAMPLES, seed=cfg.seed)
        first = {row.prompt.id: row.new for row in read_held_out(self.loop.path, 0)} if self.number else {}
        rows = [HeldOutRow(one.prompt, tuple(one.answers), first.get(one.prompt.id, ())) for one in drawn]
        pairs = [(row.prompt, (row.new[0], row.old[0])) for row in rows if row.new and row.old]
        flips = None
        if judge and pairs:
            judged = self.judge(f"compare{about}", judge, pairs)
            ps, flips = probabilities(judged.run, JuryConfig()), judged.flips
            rows = [with_verdict(row, ps) for row in rows]
        self.write(f"held_out{about}", rows)

        def work() -> Comparison:
            kl = self._kl(policy, initial, rows, f"comparison{about}") if self.number else None
            before = [read_held_out(self.loop.path, one, f"held_out{about}") for one in range(1, self.number)]
            return replace(comparison_of(rows, before, judged=bool(judge)), kl=kl, flips=flips)

        return self.loop.once(self.number, f"comparison{about}", Comparison, work)

    def _kl(self, policy: str, initial: str, rows: Sequence[HeldOutRow], step: str) -> float | None:
        """Nats a completion between two checkpoints, along what the first wrote; None where it always writes
        the same, or one of them is behind an endpoint."""
        temperature = self.loop.cfg.sampling.temperature
        if ":" in policy or ":" in initial or not temperature:
            return None
        from ...policies.policy import kl, load_to_read
        from ...policies.tokens import tokenise_many

        new, old = load_to_read(policy), load_to_read(initial)
        written: Any = ((row.prompt, row.new, {}) for row in rows if row.new)
        examples = [*tokenise_many(written, new.tokenizer)]

        def tell(done: int) -> None:
            self.loop.report(self.number, step, done=done, total=len(examples))

        return float(kl(new, old, examples, temperature, tell))

    def proxy(self, scorer: Trained | JudgeSpec) -> float | None:
        """The mean score of the held-out answers by this reward model or judge."""
        judge = JudgeConfig(kind=f"reward:{scorer.folder}") if isinstance(scorer, Trained) else scorer
        rows = [(row.prompt, row.new[:1]) for row in read_held_out(self.loop.path, self.number) if row.new]
        if not rows:
            return None
        cases = read_cases(Path(self.judge("proxy", judge, rows).run))
        scores = [one for case in cases for one in mean_scores(case).values()]
        return mean(scores) if scores else None

    def agreement(self, labelled: LabelledRun) -> Share | None:
        """How often the loop's judge labelled a pair as `compare.judge` does, one pair of each prompt."""
        cfg = self.loop.cfg.compare
        if not cfg.judge or not cfg.pairs:
            return None
        cases = read_cases(Path(labelled.run))
        rows = [(one.prompt, one.completions) for one in cases if len(one.completions) > 1][: cfg.pairs]
        if not rows:
            return None
        other = self.judge("agreement", cfg.judge, rows, matchups="random:1")
        jury = getattr(self.loop.cfg, "jury", JuryConfig())
        return agreement_of(probabilities(labelled.run, jury), probabilities(other.run, JuryConfig()))


def writer(policy: str | EngineConfig) -> PolicyConfig:
    return PolicyConfig(engine_of(policy))


def engine_of(policy: str | EngineConfig) -> str | EngineConfig:
    """A checkpoint as an engine; an engine stays as it is."""
    return f"hf:{policy}" if isinstance(policy, str) and ":" not in policy else policy


def _prompt_of(row: Preference | PromptAnswer) -> Prompt:
    return row.prompt if isinstance(row, Preference) else row[0]
