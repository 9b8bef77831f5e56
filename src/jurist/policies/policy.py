"""A policy: Hugging Face weights with their tokenizer, and everything that is asked of them but sampling.

`forward` is the only thing that trainers call on it while it learns, so that DDP and FSDP see one module and
one call. Passes without gradient go through `token_stats`, cut to fit into memory.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..engines.checkpoints import (
    TINY,
    dtype_of,
    ending_tokens,
    find_checkpoint,
    refuse_reward_model,
    set_template_args,
    weights_hash,
)
from ..errors import SettingError
from .checkpoint import (
    Attention,
    Dtype,
    Lora,
    ModelKind,
    disable_dropout,
    fit_together,
    load_model,
    load_tokenizer,
    reward_head,
    save_model,
    with_lora,
)
from .forward import (
    PromptForm,
    answer_states,
    causal_of,
    logits_of,
    row_slots,
    rows_at_once,
    shared_forms,
    token_logprobs,
)
from .tokens import Example, Ids, by_length, padded

Want = Literal["logprobs", "value", "reward", "states"]
PASS_SLOTS: Final = 16_384
"""Token slots in a pass without gradient."""
KL_SLOTS: Final = 4096
"""In one that two models take, after which progress is reported."""


class TokenStats(NamedTuple):
    """What was wanted of the `A` answers of a batch, rows in order and each row's answers in order."""

    mask_AT: Tensor
    """True on answer tokens; they begin at column 0."""
    logprobs_AT: Tensor | None = None
    """Log-prob of each answer token given all before it; 0 where the mask is False."""
    value_AT: Tensor | None = None
    """What the value head expects where the token was written."""
    reward_A: Tensor | None = None
    """The reward head, on the last token's state."""
    state_AD: Tensor | None = None
    """That state itself."""


class Policy(nn.Module):
    """A model with its tokenizer, and where it came from."""

    def __init__(
        self, model: Any, tokenizer: Any, path: Path, hash: str, kind: ModelKind = "causal", dtype: str = ""
    ):
        super().__init__()
        self.model = model
        self.value_head: nn.Linear | None = None
        self.tokenizer, self.path, self.kind = tokenizer, path, kind
        self.hash = hash
        """Of the weights as they were loaded: which reference a run was held near is a matter of record."""
        self.dtype = dtype
        """What its config says it is to be read in, whatever it was loaded in here."""

    @property
    def ends(self) -> list[int]:
        """The tokens at which an answer is over."""
        return ending_tokens(self.tokenizer, self.model)

    @property
    def max_positions(self) -> int:
        """Tokens in the longest row that the model has positions for."""
        config = causal_of(self.model).config.get_text_config()
        return int(getattr(config, "max_position_embeddings", None) or sys.maxsize)

    @property
    def device(self) -> torch.device:
        return cast(torch.device, causal_of(self.model).device)

    def add_value_head(self) -> None:
        """For PPO. In float32 even on a bfloat16 trunk, since values are sums of small steps; from zero."""
        width = causal_of(self.model).get_input_embeddings().weight.shape[1]
        self.value_head = nn.Linear(width, 1, device=self.device, dtype=torch.float32)
        nn.init.zeros_(self.value_head.weight)
        nn.init.zeros_(self.value_head.bias)

    def forward(
        self,
        rows: Sequence[Example],
        want: Sequence[Want] = ("logprobs",),
        temperature: float = 1.0,
        form: PromptForm | Literal["auto"] = "auto",
    ) -> TokenStats:
        """Only what is wanted is computed; each prompt is computed once for all its answers."""
        states = answer_states(self.model, rows, form)
        device = states.hidden_ND.device
        ids_AT, mask_AT = padded([answer for row in rows for answer in row.answers])
        ids_AT, mask_AT = ids_AT.to(device), mask_AT.to(device)
        found: dict[str, Tensor] = {}

        def each(x_M: Tensor) -> Tensor:
            return torch.zeros_like(mask_AT, dtype=x_M.dtype).masked_scatter(mask_AT, x_M)

        if "logprobs" in want:
            logp_M = token_logprobs(self.model, states.before_MD, ids_AT[mask_AT], temperature)
            found["logprobs_AT"] = each(logp_M)
        if "value" in want:
            assert self.value_head is not None
            with torch.autocast(device.type, enabled=False):
                found["value_AT"] = each(self.value_head(states.before_MD.float()).squeeze(-1))
        if "states" in want:
            found["state_AD"] = states.last_AD
        if "reward" in want:
            # A sum over the one label, not a view of it: sharded models give no views away.
            found["reward_A"] = reward_head(causal_of(self.model))(states.last_AD).float().sum(-1)
        return TokenStats(mask_AT, **found)

    @torch.inference_mode()
    def next_logits(self, prompts: Sequence[Ids]) -> Tensor:
        """The logits after each prompt; what all of them begin with is computed once."""
        rows = [Example(prompt, [()]) for prompt in prompts]
        low, high = min(map(list, prompts)), max(map(list, prompts))
        most = min(map(len, prompts)) - 1  # each keeps a token of its own
        shared = next((at for at in range(most) if low[at] != high[at]), most)
        alike = len(prompts) > 1 and shared >= 16 and "prefilled" in shared_forms(self.model)
        if alike:
            rows = [Example(prompts[0][:shared], [prompt[shared:] for prompt in prompts])]
        states = answer_states(self.model, rows, "prefilled" if alike else "concat")
        return logits_of(self.model, states.last_AD)

    def load_reference(self, path: str | Path, **loading: Any) -> Policy:
        """The policy at `path`, whose log-probs this one's are compared with.

        It is never guessed from where this one came from: one that has already learnt would be held near
        itself.
        """
        reference = load_policy(path, **loading)
        if reference.tokenizer.get_vocab() != self.tokenizer.get_vocab():
            raise SettingError(
                f"the reference policy {reference.path} has other tokens than the policy {self.path}, so"
                " their log-probs cannot be compared. Name the model the policy comes from:"
                f" --reference {self.path}"
            )
        return reference

    def save(self, folder: str | Path, *, merge: bool = True) -> Path:
        """Write the checkpoint, whole or not at all. Merging an adapter changes this policy for good."""
        merges = merge and hasattr(self.model, "peft_config")
        model = self.model.merge_and_unload() if merges else self.model
        return save_model(model, self.tokenizer, Path(folder), self.dtype)


def load_policy(
    path: str | Path,
    *,
    lora: Lora | None = None,
    dtype: Dtype = "auto",
    kind: ModelKind = "causal",
    seed: int = 0,
    template: Mapping[str, Any] | None = None,
    attention: Attention = "auto",
    empty: bool = False,
) -> Policy:
    """The checkpoint at `path`, a folder or a name on the hub, ready to be trained or sampled from.

    With `kind="reward"` the head gives one number. `template` are arguments of the chat template; `empty`
    leaves the weights unread.
    """
    folder = find_checkpoint(path)
    if kind == "causal":
        refuse_reward_model(folder)
    tokenizer = load_tokenizer(folder)
    set_template_args(tokenizer, template or {})
    model = load_model(folder, kind, dtype, attention, empty=empty)
    fit_together(model, tokenizer, folder, kind)
    disable_dropout(model)  # the base's; an adapter has a setting for its own
    if lora is not None:
        # Where the adapter looks for its base once it is saved apart: not from the current folder.
        base = str(folder.resolve()) if Path(path).is_dir() or str(path) == TINY else str(path)
        model = with_lora(model, lora, kind, seed, base)
    return Policy(model, tokenizer, folder, weights_hash(folder), kind, dtype_of(folder))


def load_to_read(path: str | Path, device: str = "", dtype: Dtype | Literal[""] = "", **how: Any) -> Policy:
    """A policy that learns no more: in the dtype that its config names, on a CPU without that in float32."""
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cpu") and not cpu_has_bfloat16_for(path):
        dtype = dtype or "float32"
    return load_policy(path, dtype=dtype or "auto", **how).to(device).eval()


def cpu_has_bfloat16_for(path: str | Path) -> bool:
    """Whether a checkpoint's config names bfloat16 and this processor has instructions for it.

    With these, 270M weights took .55 of the time to sample from and to score with, and a token's log-prob
    moved by .03 in the mean; without them bfloat16 is slower than float32, as float16 is.
    """
    has = getattr(torch.cpu, "get_capabilities", dict[str, bool])()
    named = dtype_of(find_checkpoint(path)) == "bfloat16"
    return named and bool(has.get("avx512_bf16") or has.get("amx_bf16"))


@torch.no_grad()
def token_stats(
    module: Any,
    rows: Sequence[Example],
    slots: int = PASS_SLOTS,
    want: Sequence[Want] = ("logprobs",),
    temperature: float = 1.0,
    tell: Callable[[str], None] = lambda read: None,
) -> TokenStats:
    """The same for many rows: without gradient, in passes that fit, on the CPU, padded to the longest answer.

    `module` is a policy or what wraps it, since a sharded one has to be called through its wrapping.
    """
    ends = [*accumulate((len(row.answers) for row in rows), initial=0)]
    _, mask_AT = padded([answer for row in rows for answer in row.answers])
    whole: dict[str, Tensor] = {}
    policy, was_training = module, module.training
    while not isinstance(policy, Policy):
        policy = policy.module
    module.eval()
    done = 0
    try:
        for part in by_length([row_slots(policy.model, row) for row in rows], slots):
            stats = module([rows[row] for row in part], want, temperature)
            at_A = [at for row in part for at in range(ends[row], ends[row + 1])]
            done += len(at_A)
            tell(f"{done} of {ends[-1]} answers")
            for name, some in zip(TokenStats._fields[1:], stats[1:], strict=True):
                if some is not None:
                    more = mask_AT.shape[1] - some.shape[1] if name.endswith("AT") else 0
                    some = F.pad(some.float().cpu(), (0, more)) if more else some.float().cpu()
                    whole.setdefault(name, torch.zeros(len(mask_AT), *some.shape[1:]))[at_A] = some
    finally:
        module.train(was_training)
    return TokenStats(mask_AT, **whole)


@torch.no_grad()
def kl(
    policy: Policy,
    ref: Policy,
    rows: Sequence[Example],
    temperature: float = 1.0,
    tell: Callable[[int], None] = lambda done: None,
) -> float:
    """KL(policy | ref) in nats an answer, along answers that were drawn from `policy` at this temperature.

    Before each token the two are compared over the whole vocabulary, which is never negative and varies less
    than the log-ratio of the token that was drawn.
    """
    total, pair, done = 0.0, (policy.model, ref.model), 0
    for part in by_length([row.length for row in rows], KL_SLOTS):
        tell(done)
        done += len(part)
        states = [answer_states(model, [rows[row] for row in part]).before_MD for model in pair]
        for pieces in zip(*(states_MD.split(rows_at_once(ref.model)) for states_MD in states), strict=True):
            ours_MV, ref_MV = (
                (logits_of(model, states_MD).float() / temperature).log_softmax(-1)
                for model, states_MD in zip(pair, pieces, strict=True)
            )
            total += float((ours_MV.exp() * (ours_MV - ref_MV)).sum(dtype=torch.float64))
    return total / sum(len(row.answers) for row in rows)
