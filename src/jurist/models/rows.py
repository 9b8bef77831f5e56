"""Rows to train on: a run of ours, or files as other trainers read them.

| columns | becomes |
|---|---|
| a preference of ours | itself |
| prompt, chosen, rejected; or chosen, rejected as whole conversations | a preference |
| first, second and a label | the same; a tie has p = 0.5 |
| messages, or prompt and completion | an answer to train on |

`p`, `margin` (or `score_margin`) and `weight` are taken where a row has them; a row without p is a certain
label. Two scores, `score_chosen` and `score_rejected`, are a margin.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain, tee
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from msgspec.structs import replace

from ..completions.answers import LabelCoding, label_coding, of_preference, pair_columns, pair_of, several_of
from ..errors import DataError, RunError
from ..policies.policy import Policy
from ..policies.tokens import Example, TextRow, tokenise_many
from ..preferences.export import drop_quarantined, read_quarantine
from ..prompts.load import COLUMNS, load_prompts, split_of
from ..prompts.rows import BadRow, Drop, clip, for_shell, ignore, parse_rows
from ..records import Completion, Dropped, IdSet, Preference, Prompt, content_id, is_tie
from ..run import newest_labels, read_json, read_records
from .settings import LabelledTraining, PPOConfig, Training

Target = tuple[Prompt, Completion]
_R = TypeVar("_R")


def load_preferences(source: str | Path, dropped: Drop = ignore, **reading: Any) -> Iterator[Preference]:
    """The preferences of a run folder, quarantined domains left out, or of a file of pairs.

    `reading` is how a file is read: columns, on_error and label_values, as in the settings.
    """
    if has_labels(source):
        rows = read_records(Path(source) / "preferences.jsonl", Preference)
        return drop_quarantined(rows, read_quarantine(Path(source)), dropped)
    return _parsed(source, _preference, dropped, **reading)


def load_targets(source: str | Path, dropped: Drop = ignore, **reading: Any) -> Iterator[Target]:
    """Answers to learn: the chosen ones of a run or of pairs, or the rows of an SFT file; each once."""
    targets: Iterable[Target]
    if has_labels(source):
        targets = ((one.prompt, one.chosen) for one in load_preferences(source, dropped) if not is_tie(one.p))
    else:
        targets = chain.from_iterable(_parsed(source, _answers, dropped, **reading))
    seen = IdSet()
    for prompt, completion in targets:
        if seen.add(completion.id):
            yield prompt, completion
        else:
            dropped(Dropped(completion.id, "training", "duplicate"))


def has_labels(source: str | Path) -> bool:
    """Whether it is a run folder; one without labels is refused, and a loop, which has them by round."""
    if (Path(source) / "preferences.jsonl").exists():
        summary = Path(source) / "summary.json"
        state = read_json(summary, dict[str, Any]) if summary.exists() else {}
        if state.get("state") == "refused":
            raise RunError(
                f"the labels of {source} were refused: {state['refused']}."
                f" To train on them all the same: jurist export {source} --force true"
            )
        return True
    if (Path(source) / "loop.json").exists():
        labelled = newest_labels(Path(source))
        raise RunError(
            f"{source} is a loop, whose labels lie in its rounds. Name those of the last: {labelled}"
            if labelled
            else f"{source} is a loop without labels so far. Go on with it: jurist run {source}/recipe.yaml"
        )
    if (Path(source) / "recipe.yaml").exists():
        raise RunError(
            f"{source} is a run without labels: it was not finished, or only sampled."
            f" Label it with: jurist label --recipe {source}/recipe.yaml"
        )
    return False


def _parsed(
    source: str | Path,
    parse: Callable[[dict[str, Any], LabelCoding], _R],
    dropped: Drop,
    label_values: Mapping[Any, str] | None = None,
    **reading: Any,
) -> Iterator[_R]:
    coding = label_coding(source, reading.get("columns"), label_values)
    reading["dropped"] = dropped
    return parse_rows(source, lambda row: parse(row, coding), COLUMNS, "training", **reading)


def _answers(row: dict[str, Any], coding: LabelCoding) -> list[Target]:
    if isinstance(row.get("chosen"), dict) or pair_columns(row) is not None:
        preference = _preference(row, coding)
        return [(preference.prompt, preference.chosen)]
    prompt, completions = several_of(row)
    if not all(one.text.strip() for one in completions):
        raise BadRow("empty", "a completion is empty")
    return [(prompt, completion) for completion in completions]


def _preference(row: dict[str, Any], coding: LabelCoding) -> Preference:
    """One of ours, or a pair as others write it."""
    if isinstance(row.get("chosen"), dict):
        return of_preference(row, Preference)
    prompt, first, second, labelled = pair_of(row, coding)
    p = _number(row, "p", labelled)
    if p is None:
        raise BadRow(
            "no_label",
            "nothing says which of the two is better. Name the columns chosen and rejected, add a"
            " label, or let a judge decide: jurist label --pairs FILE",
        )
    if not 0 <= p <= 1:
        raise BadRow("bad_label", f"p is {p}, which is no probability. Give a number from 0 to 1")
    if "chosen" not in (pair_columns(row) or ()) and p < 0.5:
        first, second, p = second, first, 1 - p
    scores = [_number(row, f"score_{side}", None) for side in ("chosen", "rejected")]
    apart = scores[0] - scores[1] if scores[0] is not None and scores[1] is not None else 0.0
    margin = _number(row, "margin", _number(row, "score_margin", apart))
    weight = _number(row, "weight", 1.0)
    assert margin is not None
    assert weight is not None
    if weight < 0:
        raise BadRow("bad_weight", f"the weight is {weight}. Give 0 or more")
    name = content_id("preference", prompt.id, first.id, second.id, p)
    return Preference(name, prompt, first, second, p, margin, weight, source="file")


def _number(row: dict[str, Any], column: str, default: float | None) -> float | None:
    value = row.get(column)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadRow("not_a_number", f"{column} is {clip(value)}. Write a number, or leave it out")
    return float(value)


class TrainingRows(NamedTuple):
    """What a training is given."""

    learnt: list[Example]
    held_out: list[Example]
    facts: dict[str, Any]
    """Kept with the model: how many rows are learnt, and why the others were dropped."""


def pairs_to_learn(
    cfg: LabelledTraining, policy: Policy, given: Iterable[Preference] | None, *, soft: bool
) -> TrainingRows:
    """The preferences given, or those of the settings, as examples of two answers: chosen, then rejected."""
    rows = _sort_out(cfg, policy, "preferences", given, load_preferences, partial(pair_row, soft=soft))
    nothing = sum(is_tie(pair.p) or pair.answers[0] == pair.answers[1] for pair in rows.learnt)
    if nothing == len(rows.learnt):
        raise DataError(
            f"none of the {nothing} preferences in {cfg.data or 'what was given'} compares anything:"
            f" p is 0.5, or both answers are the same. {_look(cfg)}"
        )
    return rows._replace(facts={**rows.facts, "compare_nothing": nothing})


def pair_row(pair: Preference, soft: bool = True) -> TextRow:
    """A preference as `tokenise_many` takes it; not soft, a tie stays one."""
    p = pair.p if soft or is_tie(pair.p) else float(pair.p > 0.5)
    labels = {"p": p, "margin": pair.margin, "weight": pair.weight, "id": pair.id}
    return pair.prompt, (pair.chosen, pair.rejected), labels


def answers_to_learn(cfg: LabelledTraining, policy: Policy, given: Iterable[Target] | None) -> TrainingRows:
    """The answers given, or those of the settings, as examples of one that weighs its tokens."""
    rows = _sort_out(
        cfg, policy, "answers", given, load_targets, lambda one: (one[0], one[1:], {"id": one[1].id})
    )
    learnt, held_out = (
        [replace(one, weight=float(len(one.answers[0]))) for one in some] for some in rows[:2]
    )
    return TrainingRows(learnt, held_out, rows.facts)


def prompts_to_learn(
    cfg: PPOConfig, policy: Policy, given: Iterable[Prompt] | None
) -> tuple[dict[str, Prompt], TrainingRows]:
    """The prompts given, or those of the settings, by their id; and those that leave room for an answer."""
    prompts: dict[str, Prompt] = {}

    def row(prompt: Prompt) -> TextRow:
        prompts[prompt.id] = prompt
        return prompt, (), {"id": prompt.id}

    room = cfg.max_tokens
    return prompts, _sort_out(cfg, policy, "prompts", given, load_training_prompts, row, room)


def load_training_prompts(source: str | Path, dropped: Drop = ignore, **reading: Any) -> Iterator[Prompt]:
    """The prompts of a run, or of a file with a column for them; what is left out is counted."""
    for kept in ("prompts.jsonl", "prompts/train.jsonl"):  # of a run, and of a loop
        if (Path(source) / kept).exists():
            return read_records(Path(source) / kept, Prompt)
    return load_prompts(source, dropped=dropped, **reading)


def _sort_out(
    cfg: Training,
    policy: Policy,
    what: str,
    given: Iterable[_R] | None,
    load: Callable[..., Iterator[_R]],
    row: Callable[[_R], TextRow],
    sampled: int = 0,
) -> TrainingRows:
    """Those that fit, with so many tokens to be sampled; by content, a prompt is held out or it is not."""
    dropped: Counter[str] = Counter()
    if given is None:
        reading: dict[str, Any] = {"columns": cfg.columns, "on_error": cfg.on_error}
        if isinstance(cfg, LabelledTraining):
            reading["label_values"] = cfg.label_values
        given = load(cfg.data, lambda one: dropped.update([one.reason]), **reading)
    learnt: list[Example] = []
    held_out: list[Example] = []
    too_long: list[int] = []
    limit = policy.max_positions
    texts, again = tee(map(row, given))
    examples = tokenise_many(texts, policy.tokenizer, shown=policy.kind == "reward")
    for example, (prompt, *_) in zip(examples, again, strict=True):
        if example.longest + sampled > min(cfg.max_length, limit):
            too_long.append(example.longest + sampled)
        elif not all(example.answers):  # cut off before the first word: there is no token to learn
            dropped["empty"] += 1
        elif example.weight == 0:
            dropped["no_weight"] += 1
        else:
            (held_out if is_held_out(prompt, cfg.held_out) else learnt).append(example)
    dropped["too_long"] += len(too_long)
    if learnt:
        return TrainingRows(learnt, held_out, {"rows": len(learnt), "dropped": dict(+dropped)})
    shortest = min(too_long, default=0)
    if held_out:
        way_out = f"Hold fewer out: --held_out {cfg.held_out / 4:.2g}"
    elif shortest - sampled + min(sampled, 1) > limit:
        way_out = (
            f"The shortest has {shortest - sampled:,} tokens, and this base takes {limit:,}."
            " Name one that takes more: --base MODEL"
        )
    elif shortest > limit:
        way_out = f"The base takes {limit:,}. Set: --rollout.max_tokens {limit - shortest + sampled}"
    elif too_long:
        way_out = f"Let longer rows in: --max_length {min(max(too_long), limit)}"
    else:
        way_out = _look(cfg)
    lost = [f"{n} {reason}" for reason, n in sorted((+dropped).items())]
    lost += [f"{len(held_out)} held out"] if held_out else []
    raise DataError(
        f"there are 0 {what} to learn in {cfg.data or 'what was given'}"
        f" ({', '.join(lost) or 'it is empty'}). {way_out}"
    )


def _look(cfg: Training) -> str:
    if (Path(cfg.data) / "preferences.jsonl").exists():
        return f"See why with: jurist show {cfg.data} --unread"
    return f"Look with: head {for_shell(cfg.data)}"


def is_held_out(prompt: Prompt, share: float) -> bool:
    """By content, so that a prompt stays on its side."""
    return share > 0 and split_of(prompt.id, share) == "test"
