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

from jinja2 import FileSystemLoader, StrictUndefined, Template, TemplateError, meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment
from msgspec.structs import replace

from ..engines.engine import Ask, Engine, Reply
from ..errors import SettingError, nearest
from ..records import Completion, Matchup, Message, Prompt, content_id
from .constitution import Principle
from .read import Choices, Form, Reading, Scale, rationale_of, read
from .settings import JudgeConfig, JudgedExample, text_of

TOP_LOGPROBS: Final = 20
"""As many as the vendors give: spaces and brackets make several tokens of one label."""
TOP_IN_RATIONALE: Final = 5
"""Where every token of a rationale carries them, fewer."""
JSON_TOKENS: Final = 18
"""Room for the braces and the name of a field around a label."""
RATIONALE_TOKENS: Final = 512
"""Room for the rationale where it is a call of its own (Lee et al. 2023)."""


class JudgePrompt:
    """One judge's way of asking, compiled once."""

    def __init__(self, cfg: JudgeConfig, engine: Engine, drawn_from: str = "") -> None:
        """`drawn_from` names where the principles come from."""
        if cfg.logprobs and not engine.gives_logprobs:
            raise SettingError(f"logprobs: true, but {engine.name} gives none. Set logprobs: false")
        self.cfg, self.engine = cfg, engine
        self.top_logprobs = TOP_LOGPROBS if engine.gives_logprobs and cfg.logprobs is not False else 0
        self.form: Form
        fixed: dict[str, Any]
        if cfg.kind in ("pointwise", "additive"):
            self.form, fixed = Scale(*cfg.bounds), dict(zip(("low", "high"), cfg.bounds, strict=True))
            ours, texts = cfg.kind, ["conversation", "response"]
        else:
            self.form, fixed = Choices(("A", "B", "C") if cfg.ties else ("A", "B")), {"ties": cfg.ties}
            ours, texts = "pairwise", ["conversation", "first", "second"]
        self._labels = self.form.labels
        self._fixed = fixed | {"against_length": cfg.against_length, "rubric": text_of(cfg.rubric)}
        self._template = PromptTemplate(cfg.template, f"{ours}.jinja")
        maybe = {"rubric": self._fixed["rubric"], "reference": cfg.reference, "principle": drawn_from}
        texts += [name for name, used in maybe.items() if used]
        probe = {name: str(number) * 12 for number, name in enumerate(texts)}
        shown = self._show_prompt(Prompt.of("?", reference="?"), None)
        self._template.check({**self._fixed, **shown, **probe, "stage": "verdict"}, texts)
        self._examples = {
            stage: tuple(turn for one in cfg.examples for turn in self._example_turns(one, stage))
            for stage in ("verdict", "reason", "rationale")
        }
        asking = (cfg.effective_temperature, cfg.max_tokens, cfg.reason, cfg.reason_calls, cfg.forced)
        shows = (cfg.reference, cfg.examples, drawn_from)
        code = content_id(
            "judge", self._template.sources, self._fixed, asking, self.top_logprobs, cfg.logprobs, shows
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

    async def ask(self, shown: dict[str, Any], sample: int = 0) -> tuple[float | None, dict[str, Any]]:
        """Climb the rungs for one question: what the last one read, and the other fields of its verdict."""
        cfg, replies = self.cfg, list[Reply]()
        mass: float | None = None

        async def read_next(ask: Ask, *, label_only: bool = False, forced: bool = False) -> Reading:
            nonlocal mass
            replies.append(await self.engine.answer(ask))
            found = read(replies[-1], self.form, label_only=label_only, forced=forced)
            # What the labels hold behind a constraint says nothing about the model.
            mass = mass if forced or found.label_mass is None else found.label_mass
            if cfg.logprobs and not found.unread and found.label_mass is None:
                return Reading(unread="low_mass")  # told to read log-probs, it takes no bare word for certain
            return found

        rationale, reading, turns = "", Reading(unread="no_verdict"), self.turns("verdict", shown)
        reasons = cfg.reason if cfg.reason is not None else not self.top_logprobs
        if not reasons and cfg.reason_calls == 1:
            reading = await read_next(self._label(turns, sample), label_only=True)
            # Without log-probs, or where the model cannot be told not to think, a rationale may help.
            silent = not replies[-1].tokens or reading.unread == "cut_off"
            reasons = cfg.reason is None and silent and reading.unread not in ("", "refused")
        if cfg.reason_calls == 2:
            turns = self.turns("rationale", shown)
            replies.append(await self.engine.answer(self._ask(turns, sample, max_tokens=RATIONALE_TOKENS)))
            rationale = replies[-1].text.strip()
            if replies[-1].finish == "refused":
                reading = Reading(unread="refused")
            else:
                reading = await read_next(self._final(turns, rationale, shown, sample), label_only=True)
        elif reasons:
            turns = self.turns("reason", shown)
            top = min(self.top_logprobs, TOP_IN_RATIONALE)
            ask = self._ask(turns, sample, max_tokens=cfg.max_tokens, top_logprobs=top)
            reading = await read_next(ask)
            rationale = rationale_of(replies[-1].text, reading)
        forced = cfg.forced == "allow" and reading.unread not in ("", "refused")
        if forced or (reading.unread not in ("", "refused") and cfg.reason_calls == 1):
            rationale = rationale or replies[-1].text.strip() or replies[-1].reasoning
            ask = self._final(turns, rationale, shown, sample, forced)
            reading = await read_next(ask, label_only=True, forced=forced)
        last = replies[-1]
        return reading.value, {
            "unread": reading.unread,
            "forced": forced and not reading.unread,
            "label_mass": mass,
            "rationale": rationale or last.reasoning,
            "raw": last.text,
            "call": last.call,
            "usage": sum((one.usage for one in replies[1:]), replies[0].usage),
            "cost": sum(one.cost for one in replies),
            "seconds": sum(one.seconds for one in replies),
        }

    def _ask(self, messages: tuple[Message, ...], sample: int, **how: Any) -> Ask:
        how = {"temperature": self.cfg.effective_temperature, **how}
        return Ask(messages=messages, labels=self._labels, sample=sample, **how)

    def _label(self, messages: tuple[Message, ...], sample: int, **how: Any) -> Ask:
        # Whoever gives no log-probs may think before the label, and cannot always be told not to.
        room = max(map(len, self._labels)) + 2 if self.top_logprobs else self.cfg.max_tokens
        how |= {"max_tokens": room, "top_logprobs": self.top_logprobs}
        return self._ask(messages, sample, wants="label", thinking=False, **how)

    def _final(
        self, turns: tuple[Message, ...], said: str, shown: dict[str, Any], sample: int, forced: bool = False
    ) -> Ask:
        """The same conversation, what the model said, and the label asked for. The label is not sampled."""
        final = self._render("verdict", shown)["final"]
        if said:
            turns = (*turns, Message("assistant", said), Message("user", final))
        else:
            turns = (*turns[:-1], Message("user", f"{turns[-1].content}\n\n{final}"))
        ask = self._label(turns, sample, temperature=0.0)
        room = max(ask.max_tokens, max(map(len, self._labels)) + JSON_TOKENS)
        return replace(ask, wants="forced_label", max_tokens=room) if forced else ask

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

    def _example_turns(self, example: JudgedExample, stage: str) -> tuple[Message, ...]:
        """An answered question, in the words this judge would have been asked and should have answered in."""
        prompt = Prompt.of(example.request)
        first, second = Completion.of(prompt.id, example.first), Completion.of(prompt.id, example.second)
        if isinstance(self.form, Scale):
            shown, names, word = self.show_one(prompt, first), self._labels, "Score"
        else:
            shown = self.show_pair(Matchup.of(prompt, first, second))
            names, word = ("first", "second", "tie"), "Verdict"
        known = dict(zip(names, self._labels, strict=False))
        if example.verdict not in known:
            raise SettingError(nearest("verdict of an example", example.verdict, known))
        blocks, label = self._render(stage, shown), known[example.verdict]
        said = {
            "verdict": (label,),
            "reason": (f"{example.reason}\n{word}: {label}".strip(),),
            "rationale": (example.reason, label),
        }[stage]
        asked = (blocks["user"], blocks["final"])
        return tuple(
            turn
            for question, answer in zip(asked, said, strict=False)
            for turn in (Message("user", question), Message("assistant", answer))
        )


_OURS: Final = Path(__file__).parent / "templates"
LOADER: Final = FileSystemLoader(_OURS)
JINJA: Final = ImmutableSandboxedEnvironment(
    loader=LOADER, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
)
"""Sandboxed: a template may come with somebody else's recipe."""
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
    """No text can end its fence and speak on: the code is not found in it, and lookalikes are shielded."""
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
            source = (Path(path) if path else _OURS / ours).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise SettingError(
                f"no template can be read at {path}. Start from a copy of: {_OURS / ours}"
            ) from None
        try:
            self._loaded, self.sources, self._only_blocks = _compiled(source)
        except TemplateError as error:
            raise self._broken(error) from None
        self._chains: dict[str, Any] = {}

    def check(self, values: Mapping[str, Any], texts: Iterable[str]) -> None:
        """Refuse a template without one of the blocks, or that leaves out one of these texts."""
        blocks = self.render(values)
        for name in ("system", "user", "final"):
            if name not in blocks:
                block = f"{{% block {name} %}}...{{% endblock %}}"
                raise SettingError(f"the template {self.path} has no block '{name}'. Add: {block}")
        for name in texts:
            if values[name] not in blocks["system"] + blocks["user"]:
                hidden = f"the template {self.path} never shows {{{{ {name} }}}}"
                raise SettingError(f"{hidden}. Put it in the block 'user'")

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
            return {name: "".join(chain[0](context)).strip() for name, chain in context.blocks.items()}
        except Exception as error:  # whatever an expression in the user's template does
            raise self._broken(error) from None

    def _broken(self, error: Exception) -> SettingError:
        where = f" in line {line}" if (line := getattr(error, "lineno", None)) else ""
        return SettingError(
            f"the template {self.path} cannot be used{where}: {error}."
            f" Compare it with: {_OURS / 'pairwise.jinja'}"
        )


@cache
def _compiled(source: str) -> tuple[Template, list[str], bool]:
    """The template, the sources it is built on, and whether its blocks are the same each time: nothing is set
    or imported outside of them.
    """
    loaded, sources = JINJA.from_string(source), _with_parents(source)
    loaded.globals = dict(loaded.globals)  # a chain of mappings is slow to copy
    top = [node for one in sources for node in JINJA.parse(one).body]
    return loaded, sources, all(isinstance(one, nodes.Block | nodes.Extends | nodes.Output) for one in top)


def _with_parents(source: str) -> list[str]:
    """The file and all it is built on: what a judge's name has to depend on."""
    below = meta.find_referenced_templates(JINJA.parse(source))
    read = (LOADER.get_source(JINJA, one)[0] for one in below if one)
    return [source, *(text for one in read for text in _with_parents(one))]
