"""The settings of a judge: one Struct, which is also its YAML and its command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct
from msgspec.structs import fields

from ..engines.engine import ENGINES, EngineConfig
from ..errors import SettingError


class Example(Struct, frozen=True, forbid_unknown_fields=True):
    """A question already answered, shown to the judge before its own."""

    request: Annotated[str, Meta(description="The prompt.")]
    first: Annotated[str, Meta(description="The first completion; for a score, the completion itself.")]
    verdict: Annotated[str, Meta(description="first, second or tie; for a score, the number.")]
    second: Annotated[str, Meta(description="The second completion.")] = ""
    reason: Annotated[str, Meta(description="The rationale, for judges that give one.")] = ""


class JudgeConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """How a judge asks. Two judges with the same settings and engine have the same name."""

    kind: Annotated[
        str,
        Meta(
            description="pairwise, pointwise, additive, constitution, a rule (exact, regex:...), module:name."
        ),
    ] = "pairwise"
    engine: Annotated[
        str | EngineConfig | None, Meta(description="Who answers, e.g. openai:gpt-5-mini; rules need none.")
    ] = None
    name: Annotated[str, Meta(description="What to call this judge; its kind when empty.")] = ""
    swap: Annotated[
        str, Meta(description="Ask in both orders: always, never, or fraction:0.2 of the matchups.")
    ] = "always"
    reason: Annotated[
        bool | None,
        Meta(description="Rationale before the verdict. Null: only where the model gives no log-probs."),
    ] = None
    reason_calls: Annotated[
        Literal[1, 2],
        Meta(description="2: a call for the rationale, then one for the label and its log-probs."),
    ] = 1
    logprobs: Annotated[
        bool | None,
        Meta(description="Probability from log-probs. Null: where there are any; true: only from them."),
    ] = None
    forced: Annotated[
        Literal["never", "allow"],
        Meta(description="Whether a model that gives no label may be held to one; such verdicts are marked."),
    ] = "never"
    ties: Annotated[bool, Meta(description="Offer the judge a tie.")] = False
    samples: Annotated[int, Meta(description="How often each question is asked; the mean counts.")] = 1
    temperature: Annotated[float | None, Meta(description="Null: 0 for one sample, 0.7 for several.")] = None
    max_tokens: Annotated[
        int, Meta(description="Room for a rationale and hidden thinking; a label alone takes a few tokens.")
    ] = 1024
    reference: Annotated[bool, Meta(description="Show the prompt's reference answer where it has one.")] = (
        False
    )
    against_length: Annotated[bool, Meta(description="Tell the judge not to prefer longer responses.")] = (
        False
    )
    rubric: Annotated[str, Meta(description="What to judge by: text, or the path of a text file.")] = ""
    template: Annotated[
        str, Meta(description="Path of a Jinja file with the blocks system, user and final, instead of ours.")
    ] = ""
    scale: Annotated[
        tuple[int, int], Meta(description="Lowest and highest score; many models write 10 as two tokens.")
    ] = (1, 9)
    examples: Annotated[
        tuple[Example, ...], Meta(description="Questions already answered, shown first.")
    ] = ()
    constitution: Annotated[str, Meta(description="Path of a constitution; ours when empty.")] = ""
    clamp: Annotated[
        tuple[float, float] | None,
        Meta(description="Hold probabilities inside these bounds, e.g. [0.4, 0.6] (Bai et al. 2022)."),
    ] = None

    def __post_init__(self) -> None:
        read_swap(self.swap)
        if self.samples < 1:
            raise SettingError(f"a judge is asked at least once, got samples: {self.samples}; set samples: 1")
        if self.temperature is not None and not self.temperature >= 0:
            raise SettingError(f"no model samples at temperature: {self.temperature}; set temperature: 0")
        if self.samples > 1 and self.temperature == 0:
            raise SettingError(
                f"samples: {self.samples} at temperature: 0 asks the same again; set temperature: 0.7"
            )
        if self.max_tokens < 1:
            raise SettingError(
                f"max_tokens leaves no room for a reply, got {self.max_tokens}; set max_tokens: 1024"
            )
        if not 0 < self.scale[1] - self.scale[0] <= 100:
            raise SettingError(
                f"a scale runs from low to high in at most 100 steps, got {list(self.scale)};"
                " set scale: [1, 9]"
            )
        if self.clamp is not None and not 0 <= self.clamp[0] < self.clamp[1] <= 1:
            raise SettingError(
                f"clamp holds two probabilities, low then high, got {list(self.clamp)}; set clamp: [0.4, 0.6]"
            )
        _refuse_idle(self)

    @staticmethod
    def from_word(word: str) -> dict[str, Any]:
        """What a judge named by one word is: an engine that is asked about pairs, or a kind of judge."""
        return {"engine" if word.partition(":")[0] in ENGINES else "kind": word}

    @property
    def effective_temperature(self) -> float:
        return self.temperature if self.temperature is not None else (0.7 if self.samples > 1 else 0.0)

    @property
    def bounds(self) -> tuple[int, int]:
        return (0, 5) if self.kind == "additive" else self.scale


_ASKING: Final = ("pairwise", "pointwise", "additive", "constitution")
_SCORING: Final = ("pointwise", "additive", "exact", "numeric", "regex", "json_schema")
_RULES: Final = ("exact", "numeric", "regex", "json_schema", "shorter", "longer", "first", "second")
_ONLY_FOR: Final = {
    **dict.fromkeys(
        ("engine", "reason", "logprobs", "forced", "temperature", "max_tokens", "reference"), _ASKING
    ),
    **dict.fromkeys(("against_length", "rubric", "template", "examples"), _ASKING),
    "ties": ("pairwise", "constitution"),
    "scale": ("pointwise",),
    "constitution": ("constitution",),
}
_NOT_FOR: Final = {"swap": _SCORING, "clamp": _SCORING, "samples": _RULES}


def _refuse_idle(cfg: JudgeConfig) -> None:
    """A setting that this judge has no use for was meant for something."""
    kind = cfg.kind.partition(":")[0]
    for field in fields(cfg):
        name, value = field.name, getattr(cfg, field.name)
        idle = kind not in _ONLY_FOR.get(name, (kind,)) or kind in _NOT_FOR.get(name, ())
        if idle and value != field.default:
            others = _ONLY_FOR.get(name, ())
            way_out = f"leave it out, or set kind: {others[-1]}" if others else "leave it out"
            raise SettingError(f"a judge of kind '{kind}' has no use for {name}, got {value!r}; {way_out}")
    if cfg.reason_calls == 2 and not cfg.reason:
        raise SettingError("reason_calls: 2 is for a judge that reasons; set reason: true")


def read_swap(swap: str) -> float:
    """The share of matchups that is asked in both orders."""
    if swap in ("always", "never"):
        return float(swap == "always")
    word, _, share = swap.partition(":")
    try:
        asked = float(share)
    except ValueError:
        asked = -1.0
    if word != "fraction" or not 0 <= asked <= 1:
        raise SettingError(f"swap is always, never or a fraction, got '{swap}'; set swap: fraction:0.2")
    return asked


def text_of(setting: str) -> str:
    """A setting that is either the text itself or the path of a file with it."""
    is_path = "\n" not in setting and len(setting) < 1024 and (Path(setting).suffix or "/" in setting)
    if not setting or not is_path:
        return setting
    if Path(setting).is_file():
        return Path(setting).read_text(encoding="utf-8").strip()
    if " " not in setting and Path(setting).suffix in (".txt", ".md", ".jinja"):
        raise SettingError(f"there is no file {setting}. Look with: ls {Path(setting).parent}")
    return setting


Combine = Literal["vote", "mean", "dawid_skene", "anchored"]


class JuryConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """How the opinions of several judges become one."""

    combine: Annotated[
        Combine, Meta(description="vote, mean of probabilities, dawid_skene, or anchored on labels.")
    ] = "mean"
    quorum: Annotated[
        float, Meta(description="Share of the judges with a usable opinion; one at least is needed.")
    ] = 0.5
    smoothing: Annotated[
        float, Meta(description="dawid_skene: imagined answers of each kind, so that none is impossible.")
    ] = 0.01
    tolerance: Annotated[
        float, Meta(description="dawid_skene: it ends when a round adds less to the mean log-likelihood.")
    ] = 1e-7

    def __post_init__(self) -> None:
        if not 0 <= self.quorum <= 1:
            raise SettingError(f"quorum is a share of the judges, got {self.quorum}; set quorum: 0.5")
        for name in ("smoothing", "tolerance"):
            if not getattr(self, name) >= 0:
                raise SettingError(f"{name} is at least 0, got {getattr(self, name)}; leave it out")
