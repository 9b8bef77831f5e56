"""A model criticises its own answers under written principles and revises them (Bai et al. 2022).

Each revision draws a principle of its own, by content, so a resumed run asks the same. After a revision the
conversation is the prompt and the revised answer: the critique is recorded, and the model does not see it
again. A revision that came to nothing is dropped with a reason, and the next one starts from the text before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import replace

from ...completions.load import same_words
from ...engines.engine import EngineConfig
from ...errors import SettingError, nearest
from ...records import Completion, Message, Prompt
from ...verdicts.constitution import Constitution, draw
from .labels import PromptAnswer
from .round import Round
from .settings import AtLeast1


class WorkedExample(Struct, frozen=True, forbid_unknown_fields=True):
    """A revision shown before the model's own, so that it keeps the roles apart."""

    request: Annotated[str, Meta(description="The prompt.")]
    answer: Annotated[str, Meta(description="The answer before its revision.")]
    principle: Annotated[str, Meta(description="Id of the principle it was revised under.")]
    revision: Annotated[str, Meta(description="The answer after it; the same where none is needed.")]
    critique: Annotated[str, Meta(description="The critique.")] = ""


class ReviseConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """How answers are criticised and revised."""

    times: Annotated[AtLeast1, Meta(description="Successive revisions per answer; the paper has four.")] = 2
    up_to: Annotated[
        AtLeast1 | None, Meta(description="Train on revisions up to this one; null: on all of them.")
    ] = None
    critique: Annotated[bool, Meta(description="Write a critique before each revision.")] = True
    examples: Annotated[tuple[WorkedExample, ...], Meta(description="Worked examples, shown first.")] = ()
    by: Annotated[str | EngineConfig, Meta(description="Engine that revises; empty: the policy itself.")] = ""


class Revision(Struct, frozen=True, omit_defaults=True):
    """One time through critique and revision."""

    principle: str
    critique: str = ""
    completion: Completion | None = None
    """The text after it; None where nothing usable was written."""
    unused: str = ""
    """Why it is not trained on; empty where it is."""


class Revised(Struct, frozen=True):
    """An answer and its revisions, in their order: a line of `revisions.jsonl`."""

    prompt: Prompt
    draft: Completion
    revisions: tuple[Revision, ...] = ()

    def after(self, number: int) -> str:
        """The text that stands after so many revisions."""
        texts = [one.completion.text for one in self.revisions[:number] if one.completion is not None]
        return texts[-1] if texts else self.draft.text


def revise(
    round: Round, policy: str, cfg: ReviseConfig, constitution: Constitution, red_team: Sequence[str]
) -> list[PromptAnswer]:
    """What is trained on: all revisions, up to `up_to`, of the policy's answers to prompts of these domains;
    and its answers to the other prompts as they are, k to each."""
    harmful: list[Prompt] = []
    others: list[Prompt] = []
    for prompt in round.loop.read_prompts("train"):
        (harmful if prompt.domain in red_team else others).append(prompt)
    helpful = round.answers("helpful", policy, others, round.loop.cfg.k)
    drafts = round.answers("draft", policy, harmful)
    rows = [Revised(one.prompt, one.answers[0]) for one in drafts if one.answers]
    for number in range(1, cfg.times + 1):
        rows = _revise_once(round, rows, number, cfg.by or policy, cfg, constitution)
    round.write("revisions", rows)
    made = [
        (row.prompt, one.completion) for row in rows for one in row.revisions[: cfg.up_to] if not one.unused
    ]
    answers = [(prompt, one) for prompt, one in made if one is not None]
    return answers + [
        (one.prompt, text) for one in helpful for text in {t.id: t for t in one.answers}.values()
    ]


def _revise_once(
    round: Round,
    rows: Sequence[Revised],
    number: int,
    writer: str | EngineConfig,
    cfg: ReviseConfig,
    constitution: Constitution,
) -> list[Revised]:
    """Each row with one more revision."""
    examples = [turn for one in cfg.examples for turn in turns_of(one, constitution, cfg.critique)]
    principles = {row.draft.id: draw(constitution, row.draft.id, round.seed, number) for row in rows}
    turns = {row.draft.id: opening(row.prompt, examples, row.after(number - 1)) for row in rows}
    made: dict[str, Revision] = {}
    if cfg.critique:
        asked = {name: [*some, Message("user", principles[name].critique)] for name, some in turns.items()}
        for name, got in _ask(round, f"critique-{number}", writer, asked).items():
            if isinstance(got, Completion):
                turns[name] = [*asked[name], Message("assistant", got.text)]
            else:
                made[name] = Revision(principles[name].id, unused=f"critique_{got}")
                del turns[name]
    asked = {name: [*some, Message("user", principles[name].revise)] for name, some in turns.items()}
    revised = _ask(round, f"revision-{number}", writer, asked)
    for row in rows:
        name = row.draft.id
        if name in revised:
            critique = turns[name][-1].content if cfg.critique else ""
            made[name] = _revision(row, revised[name], Revision(principles[name].id, critique))
    return [Revised(row.prompt, row.draft, (*row.revisions, made[row.draft.id])) for row in rows]


def _ask(
    round: Round, step: str, writer: str | EngineConfig, asked: Mapping[str, Sequence[Message]]
) -> dict[str, Completion | str]:
    """The answer to each conversation, or why there is none."""
    prompts = {name: Prompt.of(tuple(turns)) for name, turns in asked.items()}
    drawn = {one.prompt.id: one for one in round.answers(step, writer, [*prompts.values()])}
    found = {name: drawn[prompt.id] for name, prompt in prompts.items()}
    return {name: one.answers[0] if one.answers else one.lost for name, one in found.items()}


def _revision(row: Revised, got: Completion | str, so_far: Revision) -> Revision:
    if isinstance(got, str) or got.finish == "length":
        return replace(so_far, unused=got if isinstance(got, str) else "cut_off")
    mine = Completion.of(row.prompt.id, got.text, got.policy, sampling=got.sampling, tokens=got.tokens)
    same = same_words(row.after(len(row.revisions)), got.text)
    return replace(so_far, completion=mine, unused="unchanged" if same else "")


def opening(prompt: Prompt, examples: Sequence[Message], text: str) -> list[Message]:
    """The conversation with its answer, after the examples; a system turn stays first."""
    system = [turn for turn in prompt.messages[:1] if turn.role == "system"]
    return [*system, *examples, *prompt.messages[len(system) :], Message("assistant", text)]


def turns_of(one: WorkedExample, constitution: Constitution, critique: bool) -> list[Message]:
    """A worked example in the form of the model's own case."""
    principle = next((p for p in constitution.principles if p.id == one.principle), None)
    if principle is None:
        raise SettingError(nearest("principle", one.principle, [p.id for p in constitution.principles]))
    if critique and not one.critique:
        raise SettingError(
            f"the worked example about '{one.request}' has no critique, and the model is to learn from it"
            " how to write one. Give it one, or set: revise.critique: false"
        )
    texts = [one.request, one.answer, *([principle.critique, one.critique] if critique else ())]
    texts += [principle.revise, one.revision]
    return [Message("assistant" if place % 2 else "user", text) for place, text in enumerate(texts)]
