"""A model finds fault with its own answers under written principles, and writes them anew (Bai et al. 2022).

Each revision draws a principle of its own, by content, so a run taken up again asks the same. After a
revision the conversation is the prompt and the revised answer: the critique is kept on record and forgotten
by the model. A revision that came to nothing leaves by name, and the next one starts from the text before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct

from ...completions import Policies, sample_completions
from ...completions.load import same_words
from ...engines.budget import Budget
from ...engines.engine import Engine
from ...engines.journaled import Engines
from ...errors import SettingError, nearest
from ...records import Completion, Dropped, Group, Message, Prompt, Sampling
from ...run import Run, read_records
from ...verdicts.constitution import Constitution, Principle, draw
from ..label import rows_under_way
from ..stream import in_order, run_async
from ..summary import RunProgress
from .rounds import Round, Target, engine_of
from .settings import Count

STAGE = "revisions"


class Worked(Struct, frozen=True, forbid_unknown_fields=True):
    """A revision worked out beforehand and shown before the model's own, so that it keeps its roles apart."""

    request: Annotated[str, Meta(description="The prompt.")]
    answer: Annotated[str, Meta(description="The answer before its revision.")]
    principle: Annotated[str, Meta(description="Id of the principle it was revised under.")]
    revision: Annotated[str, Meta(description="The answer after it; the same where none is needed.")]
    critique: Annotated[str, Meta(description="The critique.")] = ""


class ReviseConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """How answers are criticised and revised."""

    times: Annotated[Count, Meta(description="Successive revisions per answer; the paper has four.")] = 2
    up_to: Annotated[
        Count | None, Meta(description="Train on revisions up to this one; null: on all of them.")
    ] = None
    critique: Annotated[bool, Meta(description="Write a critique before each revision.")] = True
    examples: Annotated[tuple[Worked, ...], Meta(description="Worked examples, shown first.")] = ()
    by: Annotated[
        str | dict[str, Any], Meta(description="Engine that revises; empty: the policy itself.")
    ] = ""


class Revision(Struct, frozen=True, omit_defaults=True):
    """One time through critique and revision."""

    principle: str
    critique: str = ""
    completion: Completion | None = None
    """The text after it; None where nothing usable was written."""
    unused: str = ""
    """Why nothing learns from it; empty where something does."""


class Revised(Struct, frozen=True):
    """An answer and its revisions, in their order: a line of `revisions.jsonl`."""

    prompt: Prompt
    draft: Completion
    revisions: tuple[Revision, ...]

    def after(self, number: int) -> str:
        """The text that stands after so many revisions."""
        texts = [one.completion.text for one in self.revisions[:number] if one.completion is not None]
        return texts[-1] if texts else self.draft.text


class Rewritten(Struct, frozen=True):
    """What the revising of a round came to."""

    run: str
    drafts: int
    revisions: int
    """Those that something learns from."""
    helpful: int
    """Answers to the other prompts, as the policy gave them."""
    dropped: dict[str, int]
    calls: int
    usd: float
    seconds: float = 0.0

    def revised(self) -> list[Revised]:
        return list(read_records(Path(self.run) / "revisions.jsonl", Revised))

    def targets(self, up_to: int | None = None) -> list[Target]:
        """All revisions, not only the last, and the helpful answers."""
        found: list[Target] = []
        for row in self.revised():
            for one in row.revisions[:up_to]:
                if one.completion is not None and not one.unused:
                    found.append((row.prompt, one.completion))
        for group in read_records(Path(self.run) / "helpful.jsonl", Group):
            found += [(group.prompt, one) for one in group.completions]
        return found


class Reviser:
    """Who writes, under which principles, and how."""

    def __init__(
        self,
        cfg: ReviseConfig,
        constitution: Constitution,
        writer: Engine,
        sampling: Sampling,
        seed: int,
    ) -> None:
        self.cfg, self.constitution, self.sampling, self.seed = cfg, constitution, sampling, seed
        self.writer: Policies = [(writer, 1.0)]
        self.shown = tuple(turn for one in cfg.examples for turn in worked(one, constitution, cfg.critique))

    async def __call__(self, prompt: Prompt, draft: Completion) -> Revised:
        text, made = draft.text, []
        for number in range(1, self.cfg.times + 1):
            principle = draw(self.constitution, draft.id, self.seed, number)
            revision = await self._once(prompt, text, principle)
            made.append(revision)
            if revision.completion is not None:
                text = revision.completion.text
        return Revised(prompt, draft, tuple(made))

    async def _once(self, prompt: Prompt, text: str, principle: Principle) -> Revision:
        asked = opened(prompt, self.shown, text)
        critique = ""
        if self.cfg.critique:
            asked += (Message("user", principle.critique),)
            said = await self._written(asked)
            if isinstance(said, Dropped):
                return Revision(principle.id, unused=f"critique_{said.reason}")
            critique = said.text
            asked += (Message("assistant", critique),)
        said = await self._written((*asked, Message("user", principle.revise)))
        if isinstance(said, Dropped):
            return Revision(principle.id, critique, unused=said.reason)
        if said.finish == "length":
            return Revision(principle.id, critique, unused="cut_off")
        revised = Completion.of(prompt.id, said.text, said.policy, sampling=said.sampling, tokens=said.tokens)
        return Revision(principle.id, critique, revised, "unchanged" if same_words(text, said.text) else "")

    async def _written(self, messages: tuple[Message, ...]) -> Completion | Dropped:
        got, lost = await sample_completions(Prompt.of(messages), self.writer, 1, self.sampling, self.seed)
        return got[0] if got else lost[0]


def opened(prompt: Prompt, shown: tuple[Message, ...], text: str) -> tuple[Message, ...]:
    """The conversation with its answer, after the examples; instructions to the system stay first."""
    system = tuple(turn for turn in prompt.messages[:1] if turn.role == "system")
    return (*system, *shown, *prompt.messages[len(system) :], Message("assistant", text))


def worked(one: Worked, constitution: Constitution, critique: bool) -> tuple[Message, ...]:
    """An example, in the very form of the model's own case."""
    principle = next((p for p in constitution.principles if p.id == one.principle), None)
    if principle is None:
        raise SettingError(nearest("principle", one.principle, [p.id for p in constitution.principles]))
    turns = [Message("user", one.request), Message("assistant", one.answer)]
    if critique:
        if not one.critique:
            raise SettingError(
                f"the worked example about '{one.request}' has no critique, and the model is to learn from it"
                " how to write one. Give it one, or set: revise.critique: false"
            )
        turns += [Message("user", principle.critique), Message("assistant", one.critique)]
    return (*turns, Message("user", principle.revise), Message("assistant", one.revision))


def revise(
    round: Round,
    policy: str,
    cfg: ReviseConfig,
    constitution: Constitution,
    red_team: Sequence[str],
) -> Rewritten:
    """The policy's answers to the prompts of these domains, revised; to all others, k answers as they are."""
    loop = round.loop

    def work() -> Rewritten:
        with round.opened("revise") as run:
            money = Budget(loop.left(), run.journal)
            return run_async(
                _stream(round, run, money, policy, cfg, constitution, frozenset(red_team)), money
            )

    return loop.once(round.number, "revise", Rewritten, work)


async def _stream(
    round: Round,
    run: Run,
    money: Budget,
    policy: str,
    cfg: ReviseConfig,
    constitution: Constitution,
    red_team: frozenset[str],
) -> Rewritten:
    sampling, k = round.loop.cfg.sampling, round.loop.cfg.k
    prompts = round.loop.read_prompts("train")
    progress = RunProgress(money, len(prompts))
    engines = Engines(run.journal, money)
    counts: Counter[str] = Counter()

    try:
        ours = engines(engine_of(policy))
        answering = [(ours, 1.0)]
        reviser = Reviser(cfg, constitution, engines(cfg.by) if cfg.by else ours, sampling, round.seed)
        await engines.prepare()

        async def work(prompt: Prompt) -> tuple[Revised | Group, list[Dropped]]:
            harmful = prompt.domain in red_team
            answers, lost = await sample_completions(
                prompt, answering, 1 if harmful else k, sampling, round.seed
            )
            if harmful and answers:
                return await reviser(prompt, answers[0]), lost
            return Group(prompt, tuple(answers)), lost

        with run.writing("revisions", "helpful", "dropped") as files:
            async with aclosing(in_order(prompts, work, rows_under_way(engines))) as rows:
                async for row, lost in rows:
                    if isinstance(row, Revised):
                        files["revisions"].add(row)
                        counts["drafts"] += 1
                        lost += left_out(row)
                        counts["revisions"] += sum(not one.unused for one in row.revisions)
                    else:
                        files["helpful"].add(row)
                        counts["helpful"] += len(row.completions)
                    for one in lost:
                        files["dropped"].add(one)
                        progress.counts.drop(one)
                    progress.rows += 1
                    round.loop.tell(round.number, "revise", progress)
    finally:
        await engines.close()
    return Rewritten(
        run=str(run.path),
        drafts=counts["drafts"],
        revisions=counts["revisions"],
        helpful=counts["helpful"],
        dropped=dict(sorted(progress.counts.dropped.items())),
        calls=money.calls + money.cached,
        usd=money.spent,
    )


def left_out(row: Revised) -> list[Dropped]:
    """Revisions from which nothing is learnt, by name."""
    return [
        Dropped(row.draft.id, STAGE, one.unused, f"revision {number}, under {one.principle}")
        for number, one in enumerate(row.revisions, 1)
        if one.unused
    ]
