"""A matchup or a completion, and how to ask about it, become an Ask.

Text that many questions share comes first (instructions, rubric, principle, reference, conversation), then
the candidates: servers that keep what they have read need to read only the candidates again.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec.structs import replace

from ..engines.engine import Ask, Engine, Reply
from ..errors import SettingError
from ..records import Completion, Matchup, Message, Prompt, content_id
from .constitution import Principle
from .fence import code_for, fence
from .read import Menu
from .settings import RATIONALE_TOKENS, Example, JudgeConfig, text_of
from .template import Form, QuestionTemplate

TOP_LOGPROBS: Final = 20
"""As many as the vendors give: spaces and brackets make several tokens of one label."""
TOP_IN_RATIONALE: Final = 5
"""Where every token of a rationale carries them, fewer."""
_MOST_LABELS: Final = 20


class Question:
    """One judge's way of asking, compiled once."""

    def __init__(self, cfg: JudgeConfig, kind: str, engine: Engine, drawn_from: str = "") -> None:
        """`kind` is pairwise or pointwise; `drawn_from` names where the principles come from."""
        self.cfg, self.stage = cfg, cfg.stage
        self.menu = Menu("A", "B", "C" if cfg.ties else None)
        self.labels = labels_of(cfg, kind, self.menu)
        self.top_logprobs = top_logprobs(cfg, engine)
        ours = "pairwise" if kind == "pairwise" else "additive" if cfg.additive else "pointwise"
        shows = ("conversation", "first", "second") if kind == "pairwise" else ("conversation", "response")
        self._template = QuestionTemplate(cfg.template, f"{ours}.jinja", shows)
        self._fixed: dict[str, Any] = {
            "stage": self.stage,
            "against_length": cfg.against_length,
            "rubric": text_of(cfg.rubric),
            **(
                {"ties": cfg.ties}
                if kind == "pairwise"
                else dict(zip(("low", "high"), cfg.bounds, strict=True))
            ),
        }
        self._forms: dict[tuple[str, bool], Form] = {}
        self._kind = kind
        self._prompt: Prompt | None = None
        self._shown: dict[str, Any] = {}
        self._final = self._render_final()
        self._examples = tuple(turn for one in cfg.examples for turn in self._example_turns(one))
        settings = (cfg.heat, cfg.max_tokens, cfg.logprobs, self.top_logprobs, cfg.reference, cfg.examples)
        code = content_id("judge", self._template.sources, self._fixed, settings, drawn_from)[:6]
        self.name = f"{cfg.name or cfg.kind}:{engine.name}#{code}"

    def pair(self, matchup: Matchup, principle: Principle | None = None, sample: int = 0) -> Ask:
        """Which of the two is better, seated as they are."""
        shown = self._show(matchup.prompt)
        first, second = matchup.first, matchup.second
        one, other = (first, second) if first.id < second.id else (second, first)
        code = code_for(one.id + other.id, shown["conversation"], first.text, second.text)
        shown["first"] = fence("response-A", first.text, code)
        shown["second"] = fence("response-B", second.text, code)
        return self._ask(self._form(principle, shown), shown, sample)

    def single(self, prompt: Prompt, completion: Completion, sample: int = 0) -> Ask:
        """How good this one is."""
        shown = self._show(prompt)
        code = code_for(completion.id, shown["conversation"], completion.text)
        shown["response"] = fence("response", completion.text, code)
        return self._ask(self._form(None, shown), shown, sample)

    async def put_to(self, engine: Engine, ask: Ask) -> Reply:
        """The reply; of two calls, the second, with the rationale as its reasoning and what both cost."""
        reply = await engine.answer(ask)
        if self.stage != "rationale" or reply.finish == "refused" or not reply.text.strip():
            return reply
        final = await engine.answer(self._after(ask, reply.text))
        return replace(
            final,
            reasoning=reply.text.strip(),
            usage=reply.usage + final.usage,
            seconds=reply.seconds + final.seconds,
            cost=reply.cost + final.cost,
        )

    def lacks_logprobs(self, reply: Reply) -> bool:
        """A judge told to read log-probs takes no bare word for a certainty."""
        return self.cfg.logprobs is True and bool(reply.text) and not reply.tokens and reply.finish == "stop"

    def _after(self, asked: Ask, rationale: str) -> Ask:
        """The second of two calls: the same conversation, the rationale, and the verdict asked for."""
        turns = (*asked.messages, Message("assistant", rationale), Message("user", self._final))
        # The rationale was sampled; the verdict on it is not sampled once more.
        return Ask(
            messages=turns,
            max_tokens=self.cfg.max_tokens,
            top_logprobs=self.top_logprobs,
            labels=self.labels if self.top_logprobs else (),
            sample=asked.sample,
        )

    def _ask(self, form: Form, shown: dict[str, Any], sample: int) -> Ask:
        system, user = form.fill(shown)
        cfg, stage = self.cfg, self.stage
        messages = (Message("system", system), *self._examples, Message("user", user))
        if stage == "rationale":
            return Ask(messages, cfg.heat, max_tokens=min(cfg.max_tokens, RATIONALE_TOKENS), sample=sample)
        if stage == "reason":
            top = min(self.top_logprobs, TOP_IN_RATIONALE)
            return Ask(messages, cfg.heat, max_tokens=cfg.max_tokens, top_logprobs=top, sample=sample)
        return Ask(
            messages=messages,
            temperature=cfg.heat,
            max_tokens=cfg.max_tokens,
            top_logprobs=self.top_logprobs,
            # Labels invite an engine to weigh them without writing: only where log-probs are what we read.
            labels=self.labels if self.top_logprobs else (),
            sample=sample,
        )

    def _show(self, prompt: Prompt) -> dict[str, Any]:
        """The texts of this prompt, kept until the next: questions about one prompt come together."""
        if prompt is not self._prompt:
            code = code_for(prompt.id, *(turn.content for turn in prompt.messages), prompt.reference or "")
            turns = (fence(f"turn-{turn.role}", turn.content, code) for turn in prompt.messages)
            reference = prompt.reference if self.cfg.reference else None
            self._shown = {
                "prompt": prompt,
                "conversation": "\n".join(turns),
                "reference": "" if reference is None else fence("reference", reference, code),
            }
            self._prompt = prompt
        return self._shown

    def _form(self, principle: Principle | None, shown: dict[str, Any]) -> Form:
        key = (principle.id if principle else "", bool(shown["reference"]))
        form = self._forms.get(key)
        if form is None:
            fixed = {**self._fixed, "principle": principle.text if principle else "", "has_reference": key[1]}
            form = self._forms[key] = Form(self._template, fixed, shown)
        return form

    def _render_final(self) -> str:
        if self.stage != "rationale":
            return ""
        slots = dict.fromkeys(("conversation", "reference", "first", "second", "response"), "")
        fixed = {**self._fixed, **slots, "principle": "", "has_reference": False, "prompt": Prompt.of("")}
        blocks = self._template.render(fixed)
        if "final" not in blocks:
            raise SettingError(
                f"reason_calls: 2 needs a block 'final' in the template {self._template.path}. "
                "Add: {% block final %}...{% endblock %}"
            )
        return blocks["final"]

    def _example_turns(self, example: Example) -> tuple[Message, ...]:
        """An answered question, in the words this judge would have been asked and should have answered in."""
        prompt = Prompt.of(example.request)
        first, second = Completion.of(prompt.id, example.first), Completion.of(prompt.id, example.second)
        shown = {**self._show(prompt), "reference": ""}
        code = code_for(first.id + second.id, shown["conversation"], first.text, second.text)
        shown["first"] = fence("response-A", first.text, code)
        shown["second"] = fence("response-B", second.text, code)
        shown["response"] = fence("response", first.text, code)
        asked = Message("user", self._form(None, shown).fill(shown)[1])
        label = self._example_label(example)
        if self.stage == "verdict":
            return asked, Message("assistant", label)
        if self.stage == "rationale":
            final = Message("user", self._final)
            return asked, Message("assistant", example.reason), final, Message("assistant", label)
        word = "Verdict" if self._kind == "pairwise" else "Score"
        return asked, Message("assistant", f"{example.reason}\n{word}: {label}".strip())

    def _example_label(self, example: Example) -> str:
        if self._kind == "pointwise":
            known = {str(score): str(score) for score in range(self.cfg.bounds[0], self.cfg.bounds[1] + 1)}
        else:
            known = {"first": self.menu.first, "second": self.menu.second}
            known.update({"tie": self.menu.tie} if self.menu.tie else {})
        if example.verdict not in known:
            raise SettingError(
                f"an example's verdict is one of {', '.join(known)}, got '{example.verdict}'. "
                f"Set verdict: {next(iter(known))}"
            )
        return known[example.verdict]


def labels_of(cfg: JudgeConfig, kind: str, menu: Menu) -> tuple[str, ...]:
    """The answers on offer, where there are few enough to be weighed."""
    if kind == "pairwise":
        return tuple(label for label in (menu.first, menu.second, menu.tie) if label)
    low, high = cfg.bounds
    return tuple(map(str, range(low, high + 1))) if high - low < _MOST_LABELS else ()


def top_logprobs(cfg: JudgeConfig, engine: Engine) -> int:
    """How many alternatives to ask for; none from an engine that says it gives none."""
    gives = getattr(engine, "gives_logprobs", True)
    if cfg.logprobs and not gives:
        raise SettingError(
            f"logprobs: true, but {engine.name} gives none. Leave the setting out, or set logprobs: false"
        )
    return TOP_LOGPROBS if gives and cfg.logprobs is not False else 0
