"""The nouns. Frozen, JSON both ways, each field explained once under its name.

Ids are content hashes, so the same thing always has the same name: reading a file twice, or starting a run
again, makes the same records and not new ones.
"""

from __future__ import annotations

from collections import defaultdict
from hashlib import blake2b
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

_CANONICAL = msgspec.json.Encoder(order="deterministic")
HUMAN_PREFIX: Final = "human:"
RECORDED_PREFIX: Final = "recorded:"
FILE_LABEL: Final = "file"
"""Judge of the labels that a user's own rows came with, until the user says that humans gave them."""


def is_human(judge: str) -> bool:
    return judge.startswith(HUMAN_PREFIX)


def is_label(judge: str) -> bool:
    """A label that came with the data or from a human: nobody was asked for it."""
    return judge == FILE_LABEL or is_human(judge)


def content_id(*parts: Any) -> str:
    """A name for what these parts say: blake2b-128 over their canonical JSON, in hex."""
    return blake2b(_CANONICAL.encode(parts), digest_size=16).hexdigest()


class IdSet:
    """A set of content ids that can only grow, in 10 bytes an id; a set of strings takes 130.

    Only 60 bits of each id are kept: three hex digits choose the bucket, the next twelve are the key in it.
    Two of a million different ids are taken for one another with a probability of 4 in 10 million.
    """

    def __init__(self) -> None:
        self._buckets: defaultdict[str, bytearray] = defaultdict(bytearray)

    def add(self, id: str) -> bool:
        """Remember a content id; True when it is new."""
        bucket, key = self._buckets[id[:3]], bytes.fromhex(id[3:15])
        at = bucket.find(key)
        while at > 0 and at % len(key):  # the end of one key and the start of the next are no key
            at = bucket.find(key, at + 1)
        if at >= 0:
            return False
        bucket += key
        return True


class Message(Struct, frozen=True):
    role: Literal["system", "user", "assistant"]
    content: str


class Prompt(Struct, frozen=True, omit_defaults=True):
    """What a policy is asked: a conversation whose last turn awaits an answer."""

    id: str
    messages: tuple[Message, ...]
    domain: str = ""
    """What it is about, in the user's words; audits report by it."""
    stakes: Literal["normal", "high"] = "normal"
    """`high` where a wrong label does harm: such rows are the first to be sent to humans."""
    reference: str | None = None
    """An answer known to be right, shown to judges that are told to use it."""
    meta: dict[str, Any] = {}
    """The user's other columns, carried through untouched."""

    @classmethod
    def of(cls, messages: tuple[Message, ...] | str, **fields: Any) -> Prompt:
        if isinstance(messages, str):
            messages = (Message("user", messages),)
        return cls(id=content_id("prompt", messages), messages=messages, **fields)


class Sampling(Struct, frozen=True, omit_defaults=True):
    """How a completion was drawn."""

    temperature: Annotated[float, Meta(ge=0, description="Sampling temperature.")] = 1.0
    top_p: Annotated[
        float, Meta(gt=0, le=1, description="Nucleus sampling: probability mass to sample from.")
    ] = 1.0
    max_tokens: Annotated[int, Meta(ge=1, description="Most tokens of a completion.")] = 256
    seed: Annotated[int | None, Meta(description="Seed sent to the server.")] = None


class Completion(Struct, frozen=True, omit_defaults=True):
    """One answer to one prompt."""

    id: str
    prompt_id: str
    text: str
    policy: str = ""
    """Who wrote it: an engine's name, a model's, or `human`."""
    sampling: Sampling | None = None
    finish: str = "stop"
    """`stop`, or `length` when it was cut off."""
    tokens: int | None = None

    @classmethod
    def of(cls, prompt_id: str, text: str, policy: str = "", **fields: Any) -> Completion:
        return cls(content_id("completion", prompt_id, policy, text), prompt_id, text, policy, **fields)


class Matchup(Struct, frozen=True):
    """One prompt and two completions, before judging. The positions are `first` and `second`."""

    id: str
    """The same in both orders."""
    prompt: Prompt
    first: Completion
    second: Completion

    @classmethod
    def of(cls, prompt: Prompt, first: Completion, second: Completion) -> Matchup:
        return cls(content_id("matchup", prompt.id, sorted((first.id, second.id))), prompt, first, second)

    def swapped(self) -> Matchup:
        """The same two in the other order."""
        return Matchup(self.id, self.prompt, self.second, self.first)


class Group(Struct, frozen=True):
    """One prompt with the completions that will be compared: the unit in which work streams through."""

    prompt: Prompt
    completions: tuple[Completion, ...]
    pairs: tuple[tuple[int, int], ...] = ()
    """Which completions meet, by index, where the user's file says so; empty: the matchup scheme decides."""
    labels: tuple[Verdict, ...] = ()
    """Labels that came with the data, e.g. chosen and rejected."""


class Usage(Struct, frozen=True, omit_defaults=True):
    """Tokens as the engine counted them."""

    tokens_in: int = 0
    cached_in: int = 0
    """Part of `tokens_in` that came from a prefix cache."""
    tokens_out: int = 0
    reasoning: int = 0
    """Part of `tokens_out` that was thought and not shown."""

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.tokens_in + other.tokens_in,
            self.cached_in + other.cached_in,
            self.tokens_out + other.tokens_out,
            self.reasoning + other.reasoning,
        )


class Verdict(Struct, frozen=True, omit_defaults=True):
    """What one judge said once: about a matchup (`p_first`), or about one completion (`score`). Never edited.

    No usable answer is not a tie: then both are None and `unread` says why.
    """

    id: str
    judge: str
    """Name, model and prompt version, so that two judges are never mixed up."""
    matchup_id: str = ""
    """Empty for a verdict about a single completion."""
    first_id: str = ""
    """The completion shown first when the judge was asked; for a score, the completion itself."""
    second_id: str = ""
    order: Literal["given", "swapped"] = "given"
    """Whether the matchup was shown as it came or in the other order."""
    p_first: float | None = None
    """Probability that the completion in the first position, as shown, is better."""
    score: float | None = None
    """For a single completion: the judge's score, on the scale the judge was given."""
    unread: str = ""
    """Why there is no usable answer; empty when there is one."""
    forced: bool = False
    """The answer was forced by a constraint: the model had to choose a label."""
    label_mass: float | None = None
    """Probability the model gave to all labels together, unconstrained; None where not reported."""
    sample: int = 0
    """Which of several draws of the same question."""
    principle: str = ""
    """Id of the principle of the constitution the question was asked under."""
    rationale: str = ""
    raw: str = ""
    """The judge's reply, word for word."""
    call: str = ""
    """Name of the call in the journal."""
    usage: Usage = Usage()
    cost: float = 0.0
    """US dollars."""
    seconds: float = 0.0

    @classmethod
    def of_pair(cls, judge: str, matchup: Matchup, sample: int = 0, **fields: Any) -> Verdict:
        """About a matchup, in the order it is in."""
        first, second = matchup.first.id, matchup.second.id
        name = content_id(judge, first, second, sample)
        return cls(name, judge, matchup.id, first, second, sample=sample, **fields)

    @classmethod
    def of_one(cls, judge: str, completion: Completion, sample: int = 0, **fields: Any) -> Verdict:
        """About a single completion."""
        name = content_id(judge, completion.id, sample)
        return cls(name, judge, first_id=completion.id, sample=sample, **fields)

    @property
    def kind(self) -> Literal["pairwise", "pointwise"]:
        return "pairwise" if self.matchup_id else "pointwise"

    def swapped(self) -> Verdict:
        """The same verdict, told from the other position."""
        return replace(
            self,
            first_id=self.second_id,
            second_id=self.first_id,
            order="swapped" if self.order == "given" else "given",
            p_first=None if self.p_first is None else 1.0 - self.p_first,
        )


def is_tie(p: float) -> bool:
    """Whether a preference of this probability names neither side."""
    return p == 0.5


class Preference(Struct, frozen=True, omit_defaults=True):
    """What we decided to train on."""

    id: str
    prompt: Prompt
    chosen: Completion
    rejected: Completion
    p: float
    """Probability that chosen is the better one, after both orders are averaged and judges calibrated."""
    margin: float = 0.0
    """How far apart the two are on the judge's own scale: score difference, or |2p - 1|."""
    weight: float = 1.0
    """How much the row counts in a loss."""
    source: str = ""
    """The rule and judge that made it."""
    verdict_ids: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    """`flipped`, `tie_broken`, `length_gap`, ..."""


class Dropped(Struct, frozen=True, omit_defaults=True):
    """A row that left the pipeline, by name."""

    subject_id: str
    stage: str
    """`prompts`, `completions`, `verdicts`, `preferences` or `export`."""
    reason: str
    """A short word, so that reasons can be counted."""
    detail: str = ""

    @property
    def kind(self) -> str:
        """What it is counted under: `preferences: tie`."""
        return f"{self.stage}: {self.reason}"
