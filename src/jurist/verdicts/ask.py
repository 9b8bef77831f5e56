"""Asking a model for a verdict, one rung after another, until one is read.

1. The label alone, unconstrained, without thinking, a few tokens with their log-probs.
2. Where reasons are wanted, or there are no log-probs: a rationale that ends in the verdict.
3. Once more, the label alone; only here, and only if the judge allows it, is the model held to the labels.

What no rung reads is unread. Which rung comes next depends on the replies to this question alone, so the same
job asks the same calls whenever it is taken up again.

Text that many questions share comes first in a prompt (instructions, rubric, principle, reference,
conversation), then the candidates: servers with a prefix cache need to read only the candidates again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from jinja2 import FileSystemLoader, StrictUndefined, Template, TemplateError, TemplateNotFound, meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment
from msgspec import Struct
from msgspec.structs import replace

from ..engines.engine import Ask, Engine, Reply
from ..errors import SettingError
from ..records import Completion, Matchup, Message, Prompt, content_id
from .constitution import Principle
from .read import Choices, Form, Reading, Scale, rationale_of, read
from .settings import Example, JudgeConfig, text_of

TOP_LOGPROBS: Final = 20
"""As many as the vendors give: spaces and brackets make several tokens of one label."""
TOP_IN_RATIONALE: Final = 5
"""Where every token of a rationale carries them, fewer."""
JSON_TOKENS: Final = 18
"""Room for the braces and the name of a field around a label."""
RATIONALE_TOKENS: Final = 512
"""Room for the rationale where it is a call of its own (Lee et al. 2023)."""


class Answer(Struct, frozen=True):
    """What the rungs came to."""

    reading: Reading
    reply: Reply
    """The last one, with what all of them cost."""
    forced: bool = False
    label_mass: float | None = None
    """What the labels held together when nothing forced them."""
    rationale: str = ""


class JudgePrompt:
    """One judge's way of asking, compiled once."""

    def __init__(self, cfg: JudgeConfig, kind: str, engine: Engine, drawn_from: str = "") -> None:
        """`kind` is pairwise or pointwise; `drawn_from` names where the principles come from."""
        self.cfg, self.kind = cfg, kind
        self.form: Form = (
            Choices(("A", "B", "C") if cfg.ties else ("A", "B")) if kind == "pairwise" else Scale(*cfg.bounds)
        )
        self.top_logprobs = _top_logprobs(cfg, engine)
        ours = "pairwise" if kind == "pairwise" else "additive" if cfg.kind == "additive" else "pointwise"
        self._template = PromptTemplate(cfg.template, f"{ours}.jinja")
        self._fixed: dict[str, Any] = {"against_length": cfg.against_length, "rubric": text_of(cfg.rubric)}
        if kind == "pairwise":
            self._fixed["ties"] = cfg.ties
        else:
            self._fixed |= {"low": cfg.bounds[0], "high": cfg.bounds[1]}
        maybe = {"rubric": self._fixed["rubric"], "reference": cfg.reference, "principle": drawn_from}
        shows = ["conversation", *(("first", "second") if kind == "pairwise" else ("response",))]
        shows += [name for name, used in maybe.items() if used]
        probe = self._show_prompt(Prompt.of("?", reference="?"), None)
        probe |= {name: str(number) * 12 for number, name in enumerate(shows)}
        self._template.refuse_hidden({**self._fixed, **probe, "stage": "verdict"}, shows)
        self._examples = {
            stage: tuple(turn for one in cfg.examples for turn in self._example_turns(one, stage))
            for stage in ("verdict", "reason", "rationale")
        }
        asking = (cfg.effective_temperature, cfg.max_tokens, cfg.reason, cfg.reason_calls, cfg.forced)
        shown = (cfg.reference, cfg.examples, drawn_from)
        code = content_id(
            "judge", self._template.sources, self._fixed, asking, self.top_logprobs, cfg.logprobs, shown
        )
        self.name = f"{cfg.name or cfg.kind}:{engine.name}#{code[:6]}"

    def show_pair(self, matchup: Matchup, principle: Principle | None = None) -> dict[str, Any]:
        """The texts of a question about two completions, in this order."""
        shown = self._show_prompt(matchup.prompt, principle)
        ids = sorted((matchup.first.id, matchup.second.id))
        code = code_for("".join(ids), shown["conversation"], matchup.first.text, matchup.second.text)
        shown["first"] = fence("response-A", matchup.first.text, code)
        shown["second"] = fence("response-B", matchup.second.text, code)
        return shown

    def show_one(self, prompt: Prompt, completion: Completion) -> dict[str, Any]:
        """The texts of a question about one completion."""
        shown = self._show_prompt(prompt, None)
        code = code_for(completion.id, shown["conversation"], completion.text)
        shown["response"] = fence("response", completion.text, code)
        return shown

    async def ask(self, engine: Engine, shown: dict[str, Any], sample: int = 0) -> Answer:
        """Climb the rungs for one question."""
        replies: list[Reply] = []
        rationale, reading, turns = "", Reading(unread="no_verdict"), self.turns("verdict", shown)
        if self._asks_label_first:
            replies.append(await engine.answer(self._label(turns, sample)))
            reading = self._read(replies[-1], label_only=True)
        mass = reading.label_mass
        if self.cfg.reason_calls == 2:
            turns = self.turns("rationale", shown)
            replies.append(await engine.answer(self._written(turns, RATIONALE_TOKENS, 0, sample)))
            rationale = replies[-1].text.strip()
            if replies[-1].finish != "refused":
                replies.append(await engine.answer(self._final(turns, rationale, shown, sample)))
            reading = self._read(replies[-1], label_only=True)
        elif self._reasons_after(replies, reading):
            turns = self.turns("reason", shown)
            top = min(self.top_logprobs, TOP_IN_RATIONALE)
            replies.append(await engine.answer(self._written(turns, self.cfg.max_tokens, top, sample)))
            reading = self._read(replies[-1])
            rationale = rationale_of(replies[-1].text, reading)
        mass = mass if reading.label_mass is None else reading.label_mass
        forced = self.cfg.forced == "allow"
        if reading.unread and reading.unread != "refused" and (forced or self.cfg.reason_calls == 1):
            rationale = rationale or replies[-1].text.strip() or replies[-1].reasoning
            replies.append(await engine.answer(self._final(turns, rationale, shown, sample, forced)))
            reading = self._read(replies[-1], label_only=True, forced=forced)
            # What the labels hold behind a constraint says nothing about the model.
            mass = mass if forced or reading.label_mass is None else reading.label_mass
        else:
            forced = False
        return Answer(reading, _together(replies), forced and not reading.unread, mass, rationale)

    @property
    def _asks_label_first(self) -> bool:
        wants_reason = self.cfg.reason or (self.cfg.reason is None and not self.top_logprobs)
        return not wants_reason and self.cfg.reason_calls == 1

    def _reasons_after(self, replies: list[Reply], reading: Reading) -> bool:
        """Whether to ask for a rationale: it was wanted, or the label alone came without log-probs, or not at
        all because the model cannot be told not to think.
        """
        if not replies:
            return True
        open_question = self.cfg.reason is None and reading.unread not in ("", "refused")
        return open_question and (not replies[-1].tokens or reading.unread == "cut_off")

    def _read(self, reply: Reply, *, label_only: bool = False, forced: bool = False) -> Reading:
        reading = read(reply, self.form, label_only=label_only, forced=forced)
        if self.cfg.logprobs and not reading.unread and reading.label_mass is None:
            return Reading(unread="low_mass")  # told to read log-probs, it takes no bare word for a certainty
        return reading

    def _label(self, messages: tuple[Message, ...], sample: int, forced: bool = False) -> Ask:
        longest = max((len(label) for label in self.form.labels), default=4)
        # Whoever gives no log-probs may think before the label, and cannot always be told not to.
        room = longest + 2 if self.top_logprobs else self.cfg.max_tokens
        return Ask(
            messages=messages,
            temperature=0.0 if forced else self.cfg.effective_temperature,
            max_tokens=max(room, longest + JSON_TOKENS) if forced else room,
            top_logprobs=self.top_logprobs,
            labels=self.form.labels,
            wants="forced_label" if forced else "label",
            thinking=False,
            sample=sample,
        )

    def _written(self, messages: tuple[Message, ...], max_tokens: int, top: int, sample: int) -> Ask:
        return Ask(
            messages=messages,
            temperature=self.cfg.effective_temperature,
            max_tokens=max_tokens,
            top_logprobs=top,
            labels=self.form.labels,
            sample=sample,
        )

    def _final(
        self, turns: tuple[Message, ...], said: str, shown: dict[str, Any], sample: int, forced: bool = False
    ) -> Ask:
        """The same conversation, what the model said, and the label asked for. The label is not sampled."""
        final = Message("user", self._render("verdict", shown)["final"])
        if said:
            turns = (*turns, Message("assistant", said), final)
        else:
            turns = (*turns[:-1], Message("user", f"{turns[-1].content}\n\n{final.content}"))
        return replace(self._label(turns, sample, forced), temperature=0.0)

    def turns(self, stage: str, shown: dict[str, Any]) -> tuple[Message, ...]:
        blocks = self._render(stage, shown)
        return Message("system", blocks["system"]), *self._examples[stage], Message("user", blocks["user"])

    def _render(self, stage: str, shown: dict[str, Any]) -> dict[str, str]:
        return self._template.render({**self._fixed, **shown, "stage": stage})

    def _show_prompt(self, prompt: Prompt, principle: Principle | None) -> dict[str, Any]:
        code = code_for(prompt.id, *(turn.content for turn in prompt.messages), prompt.reference or "")
        turns = (fence(f"turn-{turn.role}", turn.content, code) for turn in prompt.messages)
        reference = prompt.reference if self.cfg.reference else None
        return {
            "prompt": prompt,
            "conversation": "\n".join(turns),
            "reference": "" if reference is None else fence("reference", reference, code),
            "has_reference": reference is not None,
            "principle": principle.text if principle else "",
        }

    def _example_turns(self, example: Example, stage: str) -> tuple[Message, ...]:
        """An answered question, in the words this judge would have been asked and should have answered in."""
        prompt = Prompt.of(example.request)
        first, second = Completion.of(prompt.id, example.first), Completion.of(prompt.id, example.second)
        pairwise = self.kind == "pairwise"
        shown = (
            self.show_pair(Matchup.of(prompt, first, second)) if pairwise else self.show_one(prompt, first)
        )
        blocks = self._render(stage, shown)
        asked, label = Message("user", blocks["user"]), self._example_label(example)
        if stage == "verdict":
            return asked, Message("assistant", label)
        if stage == "rationale":
            final = Message("user", blocks["final"])
            return asked, Message("assistant", example.reason), final, Message("assistant", label)
        word = "Verdict" if pairwise else "Score"
        return asked, Message("assistant", f"{example.reason}\n{word}: {label}".strip())

    def _example_label(self, example: Example) -> str:
        if isinstance(self.form, Scale):
            known = {label: label for label in self.form.labels}
        else:
            known = dict(zip(("first", "second", "tie"), self.form.labels, strict=False))
        if example.verdict not in known:
            raise SettingError(
                f"an example's verdict is one of {', '.join(known)}, got '{example.verdict}'."
                f" Set verdict: {next(iter(known))}"
            )
        return known[example.verdict]


def _together(replies: list[Reply]) -> Reply:
    """The last reply, with the usage, time and cost of all."""
    last = replies[-1]
    for one in replies[:-1]:
        last = replace(
            last, usage=one.usage + last.usage, seconds=one.seconds + last.seconds, cost=one.cost + last.cost
        )
    return last


def _top_logprobs(cfg: JudgeConfig, engine: Engine) -> int:
    """How many alternatives to ask for; none from an engine that is known to give none."""
    if cfg.logprobs and not engine.gives_logprobs:
        raise SettingError(
            f"logprobs: true, but {engine.name} gives none. Leave the setting out, or set logprobs: false"
        )
    return TOP_LOGPROBS if engine.gives_logprobs and cfg.logprobs is not False else 0


OURS: Final = Path(__file__).parent / "templates"
_NAMES: Final = r"(?=\\*/?(?:response|turn|reference)-)"
_LOOKALIKE: Final = re.compile("<" + _NAMES, re.IGNORECASE)
_SHIELDED: Final = re.compile(r"<\\" + _NAMES, re.IGNORECASE)


def code_for(names: str, *texts: str) -> str:
    """Twelve hex digits: the same for the same content, and in none of the texts."""
    code = blake2b(names.encode(), digest_size=6).hexdigest()
    while any(code in text for text in texts):
        code = blake2b(code.encode(), digest_size=6).hexdigest()
    return code


def fence(name: str, text: str, code: str) -> str:
    shielded = _LOOKALIKE.sub(r"<\\", text) if "<" in text else text
    return f"<{name}-{code}>\n{shielded}\n</{name}-{code}>"


def unfence(shown: str, name: str) -> str:
    """The text of the first fence of this name, word for word."""
    found = re.search(rf"<{name}-([0-9a-f]{{12}})>\n(.*?)\n</{name}-\1>", shown, re.DOTALL)
    if found is None:
        raise ValueError(f"no {name} is shown here")
    return _SHIELDED.sub("<", found[2])


class PromptTemplate:
    """A template file with the blocks `system`, `user` and `final`."""

    def __init__(self, path: str, ours: str) -> None:
        """`path` is the user's file, which may extend one of ours; `ours` is taken when it is empty."""
        self.path = path or ours
        try:
            source = (Path(path) if path else OURS / ours).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise SettingError(
                f"no template can be read at {path}. Start from a copy of: {OURS / ours}"
            ) from None
        try:
            self._loaded: Template = _environment().from_string(source)
            self._loaded.globals = dict(self._loaded.globals)  # a chain of mappings is slow to copy
            self.sources = _with_parents(source)
            top = [node for one in self.sources for node in _environment().parse(one).body]
        except TemplateError as error:
            raise self._broken(error) from None
        # Where nothing is set or imported outside of them, the blocks are the same each time.
        self._only_blocks = all(isinstance(one, nodes.Block | nodes.Extends | nodes.Output) for one in top)
        self._chains: dict[str, Any] = {}

    def refuse_hidden(self, values: Mapping[str, Any], shows: Iterable[str]) -> None:
        """Refuse a template that leaves out one of these texts, as it is rendered with these values."""
        blocks = self.render(values)
        for name in shows:
            if values[name] not in blocks["system"] + blocks["user"]:
                raise SettingError(
                    f"the template {self.path} never shows {{{{ {name} }}}}. Put it in the block 'user'"
                )

    def render(self, values: Mapping[str, Any]) -> dict[str, str]:
        """The text of each block, inherited ones included."""
        try:
            context = self._loaded.new_context(dict(values))
            if self._chains:
                context.blocks = self._chains
            else:
                for _ in self._loaded.root_render_func(context):
                    pass  # running the root is what makes a child template take up its parent's blocks
                if self._only_blocks:
                    self._chains = context.blocks
            blocks = {name: "".join(chain[0](context)).strip() for name, chain in context.blocks.items()}
        except Exception as error:  # whatever an expression in the user's template does
            raise self._broken(error) from None
        for name in ("system", "user", "final"):
            if name not in blocks:
                raise SettingError(
                    f"the template {self.path} has no block '{name}'."
                    f" Add: {{% block {name} %}}...{{% endblock %}}"
                )
        return blocks

    def _broken(self, error: Exception) -> SettingError:
        where = f" in line {line}" if (line := getattr(error, "lineno", None)) else ""
        return SettingError(
            f"the template {self.path} cannot be used{where}: {error}."
            f" Compare it with: {OURS / 'pairwise.jinja'}"
        )


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    """Sandboxed: a template may come with somebody else's recipe."""
    return ImmutableSandboxedEnvironment(
        loader=FileSystemLoader(OURS), trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )


def _with_parents(source: str) -> list[str]:
    """The file and all it is built on: what a judge's name has to depend on."""
    below = meta.find_referenced_templates(_environment().parse(source))
    return [source, *(text for one in below if one for text in _with_parents(_ours(one)))]


def _ours(name: str) -> str:
    if not (OURS / name).is_file():
        there = ", ".join(sorted(path.name for path in OURS.iterdir()))
        raise TemplateNotFound(name, f"'{name}' is not one of {there}")
    return (OURS / name).read_text("utf-8")
