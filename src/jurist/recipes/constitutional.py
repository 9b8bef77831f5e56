"""Constitutional AI (Bai et al. 2022): principles take the place of human labels of harm.

Supervised phase: the policy answers each red-team prompt, finds fault with its answer under a principle
drawn from the constitution, and writes it anew; then again, under another. The base learns all revisions,
mixed with the policy's own answers to helpful prompts. Reinforcement phase: that policy answers each
red-team prompt twice, a judge weighs the two under a principle drawn for the pair, and its probabilities,
mixed with human pairs about helpfulness, make a preference model, against which the policy learns while
the KL to the supervised one holds it back.

Otherwise than in the paper: a revision that changed nothing is not learnt from, since a critic that misses a
fault leaves it in place. Both orders of a pair are asked. Without human pairs the judge compares the
helpful answers too. A judge that reasons is clamped to [0.4, 0.6] as in the paper, unless its temperature
is learnt from human labels (`rl.calibrate`), which keeps the order of what the clamp flattens.

    jurist run recipes/constitutional.yaml
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Annotated, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from ..completions.load import same_words
from ..engines.engine import EngineConfig
from ..errors import DataError, SettingError, nearest
from ..models.settings import DpoConfig, PPOConfig, RewardConfig, SftConfig
from ..preferences import PreferConfig
from ..preferences.decide import FEWEST_LABELS, Learnt
from ..records import Completion, Message, Preference, Prompt, Verdict
from ..run import read_json
from ..verdicts.calibrate import apply
from ..verdicts.constitution import Constitution, draw, load_constitution
from ..verdicts.judge import judge_config
from ..verdicts.settings import JudgeConfig
from .lines import counted
from .loop.compare import read_there
from .loop.folder import LoopRun, OnLoopProgress
from .loop.labels import NothingToLearn, preferences_of
from .loop.rounds import LoopOutcome, PromptAnswer, Round, engine_of, run_rounds
from .loop.settings import AtLeast1, LoopConfig, Optimiser, refuse_decided

CLAMP = (0.4, 0.6)


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
    up_to: Annotated[AtLeast1 | None, Meta(description="The last revision trained on; null: all.")] = None
    critique: Annotated[bool, Meta(description="Write a critique before each revision.")] = True
    examples: Annotated[tuple[WorkedExample, ...], Meta(description="Worked examples, shown first.")] = ()
    by: Annotated[str | EngineConfig, Meta(description="Engine that revises; empty: the policy itself.")] = ""


class FeedbackConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The reinforcement phase."""

    judge: Annotated[
        str | JudgeConfig, Meta(description="Compares by a principle; no engine: the initial policy.")
    ] = JudgeConfig(kind="constitution")
    calibrate: Annotated[str, Meta(description="Human-labelled pairs to learn its temperature on.")] = ""
    prefer: Annotated[PreferConfig, Meta(description="Which pairs are kept.")] = PreferConfig(ties="soft")
    optimiser: Annotated[Optimiser, Meta(description="How the policy is trained.")] = "ppo"
    reward_model: Annotated[RewardConfig, Meta(description="Training of the reward model.")] = RewardConfig()
    ppo: Annotated[PPOConfig, Meta(description="Training with ppo or rloo.")] = PPOConfig()
    dpo: Annotated[DpoConfig, Meta(description="Training with dpo.")] = DpoConfig()


class ConstitutionalConfig(LoopConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Constitutional AI."""

    recipe: Literal["constitutional"] = "constitutional"
    k: Annotated[AtLeast1, Meta(description="Completions per helpful prompt, and for the judge.")] = 2
    phases: Annotated[
        tuple[Literal["sl", "rl"], ...], Meta(description="sl: supervised, rl: reinforcement, or both.")
    ] = ("sl", "rl")
    constitution: Annotated[str, Meta(description="Path of the principles; empty: ours.")] = ""
    red_team: Annotated[
        tuple[str, ...], Meta(description="Domains of harmful prompts; without domains: all.")
    ] = ("red_team",)
    revise: Annotated[ReviseConfig, Meta(description="How answers are revised.")] = ReviseConfig()
    base: Annotated[str, Meta(description="Model that learns the revisions; empty: the policy.")] = ""
    sft: Annotated[SftConfig, Meta(description="Training on the revisions.")] = SftConfig()
    rl: Annotated[FeedbackConfig, Meta(description="The reinforcement phase.")] = FeedbackConfig()


def constitutional(cfg: ConstitutionalConfig, on_progress: OnLoopProgress | None = None) -> LoopOutcome:
    check_constitutional(cfg)
    principles = load_constitution(cfg.constitution)
    with run_rounds(cfg, on_progress) as rounds:
        initial = policy = ref = rounds.initial
        there = {one.domain for one in rounds.loop.read_prompts("train")}
        red_team = cfg.red_team if any(there) else ("",)
        harmful = red_team_prompts(rounds.loop, red_team)
        judge = principled_judge(cfg, initial)
        pairs: list[Preference] = []
        temperature = 1.0
        for round in rounds:
            labelled = reward = None
            if "sl" in cfg.phases:
                revised = revise(round, policy, cfg.revise, principles, red_team)
                made = round.train(cfg.sft, cfg.base or initial, revised, "sft")
                policy = ref = made.folder
            if "rl" in cfg.phases:
                if cfg.rl.calibrate and round.number == 1:
                    temperature = learn_temperature(round, judge, cfg.rl.calibrate)
                labelled = round.label(policy, judge, prefer=cfg.rl.prefer, prompts=harmful)
                pairs += apply_temperature(preferences_of(labelled, cfg.stop.flips), temperature)
                made, reward = round.learn(cfg.rl, policy, initial, ref, round.mix_real_rows(pairs))
                policy = made.folder
            verdicts = read_there(round.path / "label" / "verdicts.jsonl", Verdict)
            revisions = read_there(round.path / "revisions.jsonl", Revised)
            round.write("ledger", ledger(verdicts, revisions))
            rounds.finish(round, made, labelled, reward)
    return rounds.outcome


def red_team_prompts(loop: LoopRun, domains: tuple[str, ...]) -> Path:
    """The prompts whose answers the judge compares: those that ask for harm where human pairs cover the
    others, or else all."""
    prompts = loop.read_prompts("train")
    harmful = [one for one in prompts if one.domain in domains]
    if not harmful:
        there = ", ".join(sorted({one.domain or "none" for one in prompts}))
        raise DataError(
            f"none of the {len(prompts)} prompts to train on has the domain {' or '.join(domains)};"
            f" the domains there are: {there}. Say which of them ask for harm: --red_team '[DOMAIN]'"
        )
    loop.write("prompts/red_team", harmful)
    return loop.prompts("red_team" if loop.cfg.real.file else "train")


def principled_judge(cfg: ConstitutionalConfig, initial: str) -> JudgeConfig:
    """The judge in full. One that reasons is over-confident: it is clamped, or calibrated."""
    judge = judge_config(cfg.rl.judge)
    if isinstance(cfg.rl.judge, str) and judge.kind == "pairwise":
        judge = replace(judge, kind="constitution")
    if judge.kind == "constitution":
        judge = replace(judge, constitution=judge.constitution or cfg.constitution)
        judge = judge if judge.engine is not None else replace(judge, engine=engine_of(initial))
    clamped = judge.reason and judge.clamp is None and not cfg.rl.calibrate
    return replace(judge, clamp=CLAMP) if clamped else judge


def check_constitutional(cfg: ConstitutionalConfig) -> None:
    if not cfg.phases:
        raise SettingError("no phase is left to do. Set: phases: [sl, rl]")
    if cfg.real.file and "rl" not in cfg.phases:
        raise SettingError(
            f"real.file holds pairs for the reinforcement phase, and phases is {list(cfg.phases)};"
            " leave it out, or set: phases: [sl, rl]"
        )
    if cfg.rl.calibrate and isinstance(cfg.rl.judge, JudgeConfig) and cfg.rl.judge.clamp:
        raise SettingError(
            f"a temperature would lead out of the clamp {list(cfg.rl.judge.clamp)};"
            " leave out rl.judge.clamp, or rl.calibrate"
        )
    refuse_decided(cfg, ("sft",))
    refuse_decided(cfg.rl, ("reward_model", "ppo", "dpo"))


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
    helpful = round.answers("helpful", policy, others, k=round.loop.cfg.k)
    drafts = round.answers("draft", policy, harmful)
    rows = [Revised(one.prompt, one.answers[0]) for one in drafts if one.answers]
    for number in range(1, cfg.times + 1):
        rows = _revise_once(round, rows, number, policy, cfg, constitution)
    round.write("revisions", rows)
    made = [(row.prompt, one) for row in rows for one in row.revisions[: cfg.up_to] if not one.unused]
    answers = [(prompt, one.completion) for prompt, one in made if one.completion is not None]
    unused = Counter(one.unused for row in rows for one in row.revisions)
    if not answers:
        raise NothingToLearn(
            f"no revision can be learnt from ({counted(unused)})."
            f" See them with: head {round.path}/revisions.jsonl"
        )
    return answers + [(one.prompt, text) for one in helpful for text in dict.fromkeys(one.answers)]


def _revise_once(
    round: Round, rows: Sequence[Revised], number: int, policy: str, cfg: ReviseConfig, law: Constitution
) -> list[Revised]:
    """Each row with one more revision, under a principle drawn by content: a resumed run asks the same."""
    writer = cfg.by or policy
    examples = [turn for one in cfg.examples for turn in turns_of(one, law, cfg.critique)]
    principles = {row.draft.id: draw(law, row.draft.id, round.seed, number) for row in rows}
    turns = {row.draft.id: opening(row.prompt, examples, row.after(number - 1)) for row in rows}
    critiques: dict[str, Completion | str] = {}
    if cfg.critique:
        asked = {name: [*some, Message("user", principles[name].critique)] for name, some in turns.items()}
        critiques = _ask(round, f"critique-{number}", writer, asked)
        written = {name: got.text for name, got in critiques.items() if isinstance(got, Completion)}
        turns = {name: [*asked[name], Message("assistant", text)] for name, text in written.items()}
    asked = {name: [*some, Message("user", principles[name].revise)] for name, some in turns.items()}
    revised = _ask(round, f"revision-{number}", writer, asked)

    def revision(row: Revised) -> Revision:
        name = row.draft.id
        principle, critique = principles[name].id, critiques.get(name)
        if isinstance(critique, str):
            return Revision(principle, unused=f"critique_{critique}")
        so_far, got = Revision(principle, critique.text if critique else ""), revised[name]
        if isinstance(got, str) or got.finish == "length":
            return replace(so_far, unused=got if isinstance(got, str) else "cut_off")
        mine = Completion.of(row.prompt.id, got.text, got.policy, sampling=got.sampling, tokens=got.tokens)
        same = same_words(row.after(number - 1), got.text)
        return replace(so_far, completion=mine, unused="unchanged" if same else "")

    return [replace(row, revisions=(*row.revisions, revision(row))) for row in rows]


def _ask(
    round: Round, step: str, writer: str | EngineConfig, asked: Mapping[str, Sequence[Message]]
) -> dict[str, Completion | str]:
    """The answer to each conversation, or why there is none."""
    prompts = {name: Prompt.of(tuple(turns)) for name, turns in asked.items()}
    drawn = {one.prompt.id: one for one in round.answers(step, writer, [*prompts.values()])}
    found = {name: drawn[prompt.id] for name, prompt in prompts.items()}
    return {name: one.answers[0] if one.answers else one.lost for name, one in found.items()}


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


def learn_temperature(round: Round, judge: JudgeConfig, pairs: str) -> float:
    """The judge's temperature, from pairs with human labels."""
    labelled = round.run("calibrate", judge, pairs=pairs, labels="given")
    learnt = read_json(Path(labelled.run) / "learnt.json", Learnt)
    for found in learnt.calibrations.values():
        return found.temperature
    raise DataError(
        f"{pairs} has {learnt.labels} labelled pairs that the judge could read, and a temperature is learnt"
        f" from {FEWEST_LABELS} at least. Add pairs, or leave out: rl.calibrate"
    )


def apply_temperature(pairs: Iterable[Preference], temperature: float) -> list[Preference]:
    """The same preferences at the judge's temperature."""
    if temperature == 1:
        return list(pairs)
    ps = ((one, apply(one.p, temperature)) for one in pairs)
    return [replace(one, p=p, margin=abs(2 * p - 1)) for one, p in ps]


class PrincipleCounts(Struct, frozen=True):
    """What one principle did in a labelling under a constitution, and in the revisions of a round."""

    principle: str
    judged: int = 0
    """Questions under it, the orders joined."""
    unread: int = 0
    decided: int = 0
    """Those with p more than 0.1 from 0.5. A principle that never decides can go."""
    revised: int = 0
    changed: int = 0
    """Revisions under it, and those that came to another text."""


def ledger(verdicts: Iterable[Verdict], revised: Iterable[Revised] = ()) -> list[PrincipleCounts]:
    """The counts of every principle that was drawn."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    questions: dict[tuple[str, ...], list[float | None]] = defaultdict(list)
    for one in verdicts:
        p = 1 - one.p_first if one.p_first is not None and one.first_id > one.second_id else one.p_first
        questions[one.judge, one.matchup_id, str(one.sample), one.principle].append(p)
    for (*_, principle), ps in questions.items():
        read = [p for p in ps if p is not None]
        whole = len(read) == len(ps)
        decided = whole and abs(fmean(read) - 0.5) > 0.1
        counts[principle].update(judged=1, unread=int(not whole), decided=int(decided))
    for row in revised:
        for revision in row.revisions:
            changed = revision.completion is not None and revision.unused != "unchanged"
            counts[revision.principle].update(revised=1, changed=int(changed))
    return [PrincipleCounts(name, **counts[name]) for name in sorted(counts) if name]
