"""The settings of a judge: one Struct, which is also its YAML and its command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from ..config import fields_of
from ..engines.engine import ENGINES, EngineConfig
from ..errors import SettingError


class JudgedExample(Struct, frozen=True, forbid_unknown_fields=True):
    """A question already answered, shown to the judge before its own."""

    request: Annotated[str, Meta(description="The prompt.")]
    first: Annotated[str, Meta(description="The first completion; for a score, the completion itself.")]
    verdict: Annotated[str, Meta(description="first, second or tie; for a score, the number.")]
    second: Annotated[str, Meta(description="The second completion.")] = ""
    reason: Annotated[str, Meta(description="The rationale, for judges that give one.")] = ""


class JudgeConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """How a judge asks. Two judges with the same settings and engine have the same name."""

    kind: Annotated[
        str, Meta(description="pairwise, pointwise, additive, constitution, exact, regex:..., module:name.")
    ] = "pairwise"
    engine: Annotated[
        str | EngineConfig | None, Meta(description="Who answers, e.g. openai:gpt-5-mini; rules need none.")
    ] = None
    name: Annotated[str, Meta(description="What to call this judge; its kind when empty.")] = ""
    swap: Annotated[
        str, Meta(description="Ask in both orders: always, never, or fraction:0.2 of the matchups.")
    ] = "always"
    reason: Annotated[
        bool | None, Meta(description="Rationale before the verdict. Null: where there are no log-probs.")
    ] = None
    reason_calls: Annotated[
        Literal[1, 2], Meta(description="2: one call for the rationale, and then one for the label.")
    ] = 1
    logprobs: Annotated[
        bool | None, Meta(description="Read log-probs. Null: where there are any; true: nothing else.")
    ] = None
    forced: Annotated[
        Literal["never", "allow"], Meta(description="Hold a model that gives no label to one, and say so.")
    ] = "never"
    ties: Annotated[bool, Meta(description="Offer the judge a tie.")] = False
    samples: Annotated[int, Meta(ge=1, description="How often each question is asked; the mean counts.")] = 1
    temperature: Annotated[
        Annotated[float, Meta(ge=0)] | None, Meta(description="Null: 0 for one sample, 0.7 for several.")
    ] = None
    max_tokens: Annotated[int, Meta(ge=1, description="Room for a rationale and for hidden thinking.")] = 1024
    reference: Annotated[bool, Meta(description="Show the prompt's reference answer, if any.")] = False
    against_length: Annotated[bool, Meta(description="Tell the judge that length is no merit.")] = False
    rubric: Annotated[str, Meta(description="What to judge by: text, or the path of a text file.")] = ""
    template: Annotated[
        str, Meta(description="Path of a Jinja file with the blocks system, user and final.")
    ] = ""
    scale: Annotated[
        tuple[int, int], Meta(description="Lowest and highest score; many models write 10 as two tokens.")
    ] = (1, 9)
    examples: Annotated[tuple[JudgedExample, ...], Meta(description="Answered questions, shown first.")] = ()
    constitution: Annotated[str, Meta(description="Path of a constitution; ours when empty.")] = ""
    clamp: Annotated[
        tuple[float, float] | None, Meta(description="Bounds of probabilities, e.g. [0.4, 0.6].")
    ] = None

    def __post_init__(self) -> None:
        read_swap(self.swap)
        if self.samples > 1 and self.temperature == 0:
            raise SettingError("several samples at temperature: 0 are all the same; set temperature: 0.7")
        low, high = self.scale
        if not 0 < high - low <= 100:
            raise SettingError(
                f"scale is [{low}, {high}], not up to 100 steps from low to high; set scale: [1, 9]"
            )
        if self.clamp is not None and not 0 <= self.clamp[0] < self.clamp[1] <= 1:
            raise SettingError(
                f"clamp is {self.clamp}, not two probabilities, low first; set clamp: [0.4, 0.6]"
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


_COMPARING: Final = ("pairwise", "constitution")
_SCORING: Final = ("pointwise", "additive")
_CHECKS: Final = ("exact", "numeric", "regex", "json_schema")
_ASKING: Final = (*_SCORING, *_COMPARING)
_ONLY_FOR: Final = {
    **dict.fromkeys(("engine", "reason", "logprobs", "forced", "temperature", "max_tokens"), _ASKING),
    **dict.fromkeys(("reference", "against_length", "rubric", "template", "examples"), _ASKING),
    "ties": _COMPARING,
    "scale": ("pointwise",),
    "constitution": ("constitution",),
}
_NOT_FOR: Final = {
    **dict.fromkeys(("swap", "clamp"), (*_SCORING, *_CHECKS)),
    "samples": (*_CHECKS, "shorter", "longer", "first", "second"),
}


def _refuse_idle(cfg: JudgeConfig) -> None:
    """A setting that this judge has no use for was meant for something."""
    kind = cfg.kind.partition(":")[0]
    for name, field in fields_of(type(cfg)).items():
        value = getattr(cfg, name)
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
    path = Path(setting)
    if "\n" in setting or len(setting) > 1000 or not (path.suffix or "/" in setting):
        return setting
    if path.is_file():
        return path.read_text(encoding="utf-8").strip()
    if " " not in setting and path.suffix in (".txt", ".md", ".jinja"):
        raise SettingError(f"there is no file {setting}. Look with: ls {path.parent}")
    return setting


Combine = Literal["vote", "mean", "dawid_skene", "anchored"]


class JuryConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """How the opinions of several judges become one."""

    combine: Annotated[
        Combine, Meta(description="vote, mean of probabilities, dawid_skene, or anchored on labels.")
    ] = "mean"
    quorum: Annotated[
        float, Meta(ge=0, le=1, description="Share of the judges with a usable opinion; one at least.")
    ] = 0.5
    smoothing: Annotated[
        float, Meta(ge=0, description="Of dawid_skene: added to each count of how a judge answers.")
    ] = 0.01
    tolerance: Annotated[
        float, Meta(gt=0, description="Of dawid_skene: gain in log-likelihood per verdict at which it ends.")
    ] = 1e-5
