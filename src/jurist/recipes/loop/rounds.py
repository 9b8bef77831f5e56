"""The steps that rounds are made of. Each gives a small record of what came out, and is done once."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from ...journal import money_in
from ...records import Completion, Preference, Prompt
from .ancestry import FIRST, Ancestry, Model, learnt_from, of_completions, of_preferences
from .compare import Answered, Looked, look
from .folder import Along, Loop
from .labelling import Labelled, Labelling, Sampled, engine_of
from .mix import Grounding, mixed, real_rows
from .stopping import Facts

__all__ = ["Labelled", "Round", "Sampled", "Target", "Trained", "engine_of"]

Target = tuple[Prompt, Completion]
Row = TypeVar("Row", Preference, Target)


class Trained(Struct, frozen=True):
    """A model that a round made."""

    folder: str
    hash: str
    rows: int
    metrics: dict[str, float]
    ancestry: Model = FIRST
    """Of what it learnt from."""
    usd: float = 0.0
    seconds: float = 0.0


class Round(Labelling):
    """One time round. What a step is called says where it lies."""

    def __init__(self, loop: Loop, number: int, ground: Grounding | None = None) -> None:
        super().__init__(loop, number)
        self.ground = ground or Grounding(loop.cfg.real.share)
        self.missing = 0
        """Rows that people would have to write for the share that was wanted."""

    def mixed(self, made: Sequence[Row], real: Sequence[Row]) -> tuple[list[Row], float]:
        """What is learnt from: all that was made, with people's rows at the share of this round."""
        cfg = replace(self.loop.cfg.real, share=self.ground.share)
        if cfg.file or self.ground.why:
            self.missing = max(0, real_rows(len(made), cfg.share) - len(real))
        if self.missing:
            self._ask_for_rows({_prompt(one).id for one in real})
        return mixed(made, real, cfg, self.seed)

    def _ask_for_rows(self, answered: Container[str]) -> None:
        """The prompts that people are to answer, by name, as far as there are so many."""
        asked = (one for one in self.loop.read_prompts("train") if one.id not in answered)
        with self.writing("wanted") as (file,):
            for prompt in islice(asked, self.missing):
                file.add(prompt)

    def reward_model(
        self, cfg: Any, base: str, preferences: Sequence[Preference], step: str = "reward"
    ) -> Trained:
        """Bradley-Terry on soft labels."""
        from ...models.reward import train_reward

        rows = of_preferences(preferences, self.loop.models)
        return self._train(step, cfg, base, rows, lambda full, watch: train_reward(full, preferences, watch))

    def dpo(
        self, cfg: Any, base: str, anchor: str, preferences: Sequence[Preference], step: str = "policy"
    ) -> Trained:
        """A policy straight from preferences."""
        from ...models.dpo import train_dpo

        full = replace(cfg, anchor=anchor)
        rows = of_preferences(preferences, self.loop.models)
        return self._train(step, full, base, rows, lambda full, watch: train_dpo(full, preferences, watch))

    def reinforce(
        self, cfg: Any, base: str, anchor: str, reward: str | dict[str, Any], step: str = "policy"
    ) -> Trained:
        """A policy from a reward: a reward model's folder, or a judge that is asked at every step."""
        from ...models.ppo import train_ppo

        prompts = self.loop.read_prompts("train")
        full = replace(cfg, anchor=anchor, reward=reward, budget=self.loop.left())
        return self._train(step, full, base, [], lambda full, watch: train_ppo(full, prompts, watch=watch))

    def sft(self, cfg: Any, base: str, targets: Iterable[Target], step: str = "policy") -> Trained:
        """A policy from answers."""
        from ...models.sft import train_sft

        learnt = list(targets)
        rows = of_completions([completion for _, completion in learnt], self.loop.models)
        return self._train(step, cfg, base, rows, lambda full, watch: train_sft(full, learnt, watch))

    def _train(
        self, step: str, cfg: Any, base: str, rows: list[Ancestry], work: Callable[[Any, Any], Path]
    ) -> Trained:
        from ...engines.checkpoints import weights_hash

        def train() -> Trained:
            out = self.path / step
            full = replace(cfg, data=step, base=base, out=str(out), seed=cfg.seed + self.seed)
            folder = work(full, lambda now: self.loop.tell(self.number, step, now))
            facts, code = read_facts(folder), weights_hash(folder)
            with self.writing(f"ancestry-{step}") as (file,):
                for row in rows:
                    file.add(row)
            ours = learnt_from(rows) if rows else self.loop.after_reward(facts["base_hash"])
            return Trained(str(folder), code, facts["rows"], facts["metrics"], ours, usd=money_in(out)[0])

        made = self.loop.once(self.number, step, Trained, train, together=True)
        self.loop.models[made.hash[:12]] = made.ancestry
        return made

    def look(self, policy: str, start: str, step: str = "look") -> Looked | None:
        """The new policy beside the one the loop started from; None where no prompts were held out.

        In round 0 that one is looked at itself, and nobody is asked.
        """
        cfg, prompts = self.loop.cfg, self.loop.read_prompts("held_out")
        if not prompts:
            return None

        def work() -> Looked:
            with self.opened(step) as run:
                found, answered = look(
                    run,
                    engine_of(policy),
                    engine_of(start),
                    prompts,
                    cfg.compare.judge if self.number else "",
                    cfg.sampling,
                    budget=self.loop.left(),
                    seed=cfg.seed,
                    watch=lambda done, of: self.loop.tell(self.number, step, Along(done, of)),
                )
            with self.writing(held_out(step)) as (file,):  # to be read by people
                for row in answered:
                    file.add(row)
            return replace(found, kl=_drift(policy, start, answered) if self.number else 0.0)

        return self.loop.once(self.number, step, Looked, work)

    def facts(self, made: Trained, looked: Looked | None, **more: Any) -> Facts:
        """What the round came to, in one record."""
        names = ("distinct", "unique", "kl")
        seen = {name: getattr(looked, name) for name in names} if looked else {}
        return Facts(
            round=self.number,
            policy=made.folder,
            policy_hash=made.hash,
            rows=made.rows,
            against_start=looked.comparison if looked else None,
            real_wanted=self.ground.share if self.loop.cfg.real.file or self.ground.why else 0.0,
            missing=self.missing,
            generation=made.ancestry.generation,
            synthetic=made.ancestry.synthetic,
            usd=self.loop.usd - self._before[0],
            seconds=round(self.loop.seconds - self._before[1], 2),
            **seen,
            **more,
        )


def _prompt(row: Row) -> Prompt:
    return row.prompt if isinstance(row, Preference) else row[0]


def held_out(step: str) -> str:
    """What the answers of a look are called in the round's folder."""
    return "held_out" if step == "look" else f"held_out-{step}"


def _drift(policy: str, start: str, answered: Sequence[Answered]) -> float | None:
    """Nats a completion between two checkpoints; None where one of them is behind an endpoint."""
    if ":" in policy or ":" in start:
        return None
    from ...models.drift import drift

    return drift(policy, start, [(row.prompt, one) for row in answered for one in row.new])


def read_facts(folder: Path) -> dict[str, Any]:
    """What a trainer left beside the model."""
    import json

    facts: dict[str, Any] = json.loads((folder / "training.json").read_text())
    return facts
