"""The steps that rounds are made of. Each gives a small record of what came out, and is done once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from ...journal import Journal
from ...records import Completion, Preference, Prompt
from .ancestry import FIRST, Ancestry, Model, learnt_from, of_completions, of_preferences
from .compare import Answered, Looked, look
from .folder import Along
from .labelling import Labelled, Labelling, Sampled, engine_of
from .stopping import Facts

__all__ = ["Labelled", "Round", "Sampled", "Target", "Trained", "engine_of"]

Target = tuple[Prompt, Completion]


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
            return Trained(str(folder), code, facts["rows"], facts["metrics"], ours, usd=_spent(out))

        made = self.loop.once(self.number, step, Trained, train, together=True)
        self.loop.models[made.hash[:12]] = made.ancestry
        return made

    def look(self, policy: str, start: str, step: str = "look") -> Looked | None:
        """The new policy beside the one the loop started from; None where no prompts were held out."""
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
                    cfg.compare.judge,
                    cfg.sampling,
                    budget=self.loop.left(),
                    seed=cfg.seed,
                    watch=lambda done, of: self.loop.tell(self.number, step, Along(done, of)),
                )
            with self.writing(held_out(step)) as (file,):  # to be read by people
                for row in answered:
                    file.add(row)
            return replace(found, kl=_drift(policy, start, answered))

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
            generation=made.ancestry.generation,
            synthetic=made.ancestry.synthetic,
            usd=self.loop.usd - self._before[0],
            seconds=round(self.loop.seconds - self._before[1], 2),
            **seen,
            **more,
        )


def held_out(step: str) -> str:
    """What the answers of a look are called in the round's folder."""
    return "held_out" if step == "look" else f"held_out-{step}"


def _drift(policy: str, start: str, answered: Sequence[Answered]) -> float | None:
    """Nats a completion between two checkpoints; None where one of them is behind an endpoint."""
    if ":" in policy or ":" in start:
        return None
    from ...models.drift import drift

    return drift(policy, start, [(row.prompt, one) for row in answered for one in row.new])


def _spent(out: Path) -> float:
    """What a live judge was paid during a training."""
    kept = out / "journal.sqlite"
    if not kept.exists():
        return 0.0
    journal = Journal(kept)
    try:
        return journal.usd_before
    finally:
        journal.close()


def read_facts(folder: Path) -> dict[str, Any]:
    """What a trainer left beside the model."""
    import json

    facts: dict[str, Any] = json.loads((folder / "training.json").read_text())
    return facts
