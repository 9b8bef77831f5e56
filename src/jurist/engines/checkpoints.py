"""Checkpoints where they lie, found and named by what is in them; and their chat templates. Needs no torch.

Engines ask and trainers teach by the same template: a model learns in the very form in which it is asked.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from hashlib import blake2b
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from msgspec import json

from ..errors import DataError, MissingExtra, SettingError
from ..records import Message

ADAPTER: Final = "adapter_config.json"
TINY: Final = "tiny"
"""Names the tiny assistant wherever a checkpoint is named; it is trained on the spot, once."""
_WEIGHTS: Final = "*.safetensors"
_READING: Final = ("tokenizer*", "chat_template*", "*.model", "vocab*", "merges.txt", "*config.json")
"""What decides how text becomes tokens and when an answer ends: as much part of a reply as the weights."""


def find_checkpoint(path: str | Path) -> Path:
    """A folder as it is; `tiny`; anything else is a name on the hub, or in its cache when offline."""
    if str(path) == TINY:  # named, not imported: whoever has checkpoints of their own does not load it
        return Path(import_module("jurist.tiny.model").tiny_checkpoint())
    folder = in_training(path)
    if folder.is_dir():
        if not any((folder / name).exists() for name in ("config.json", ADAPTER)):
            raise SettingError(f"{folder} is no checkpoint: it has no config.json. Look with: ls {folder}")
        return folder
    if folder.exists() or str(path).startswith((".", "/", "~")) or str(path).count("/") > 1:
        raise SettingError(f"there is no checkpoint folder at {path}. Look with: ls {folder.parent}")
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise MissingExtra("a checkpoint of the hub", "huggingface_hub", "train") from None
    try:
        return Path(snapshot_download(str(path), allow_patterns=[_WEIGHTS, *_READING, "*.json"]))
    except Exception as error:  # the hub's client raises its own, and those of the HTTP library it has
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise SettingError(
            f"there is no checkpoint at {path}, and the hub gave none: {reason}. Name a folder; look with: ls"
        ) from None


def in_training(path: str | Path) -> Path:
    """The folder of a training stands for the model in it."""
    folder = Path(path).expanduser()
    model = folder / "model"
    return model if (model / "config.json").exists() and not (folder / "config.json").exists() else folder


def weights_hash(folder: str | Path) -> str:
    """One name for what a checkpoint says: its weights, its tokenizer, and the base below an adapter.

    Weights are read once: the name is kept in `$JURIST_CACHE`, or `jurist` in the user's cache folder, as
    long as the files have the same paths, sizes and times of change.
    """
    folder = Path(folder)
    files = sorted(
        {file for pattern in (_WEIGHTS, *_READING) for file in folder.glob(pattern) if file.is_file()}
    )
    if not any(file.suffix == ".safetensors" for file in files):
        raise DataError(
            f"there are no .safetensors files in {folder}. Convert the weights with:"
            " model.save_pretrained(folder, safe_serialization=True)"
        )
    base = weights_hash(find_checkpoint(base_of(folder))) if (folder / ADAPTER).exists() else ""
    stats = [(file.resolve(), file.stat()) for file in files]
    signature = [(str(file), stat.st_size, stat.st_mtime_ns) for file, stat in stats]
    key = blake2b(repr((signature, base)).encode(), digest_size=16).hexdigest()
    kept = cache_folder() / "weights" / key
    with suppress(OSError):
        return kept.read_text(encoding="ascii")
    digest = digest_of(files)
    digest.update(base.encode())
    # A file changed just now may change again within the same tick of the clock.
    if time.time_ns() - max(changed for *_, changed in signature) > 2_000_000_000:
        with suppress(OSError):  # it only saves time
            kept.parent.mkdir(parents=True, exist_ok=True)
            part = kept.with_name(f"{key}.{os.getpid()}.partial")
            part.write_text(digest.hexdigest(), encoding="ascii")
            part.replace(kept)
    return digest.hexdigest()


def digest_of(files: Iterable[Path]) -> blake2b:
    """Of their names and what is in them."""
    digest = blake2b(digest_size=16)
    for file in files:
        digest.update(file.name.encode())
        with file.open("rb") as content:
            while block := content.read(1 << 22):
                digest.update(block)
    return digest


def cache_folder() -> Path:
    """`$JURIST_CACHE`, or `jurist` in the user's cache folder."""
    if named := os.environ.get("JURIST_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jurist"


def weights_named(spec: object) -> str:
    """The hash of the weights where a setting names a checkpoint's folder, else nothing."""
    is_one = isinstance(spec, str) and (in_training(spec) / "config.json").exists()
    return weights_hash(in_training(str(spec))) if is_one else ""


def dtype_of(folder: Path) -> str:
    """The numbers a checkpoint is meant to be read in, e.g. `bfloat16`; nothing where it does not say."""
    if not (folder / "config.json").exists():
        return dtype_of(find_checkpoint(base_of(folder)))
    config = json.decode((folder / "config.json").read_bytes())
    return str(config.get("dtype") or config.get("torch_dtype") or "")


def gives_rewards(folder: Path) -> bool:
    """Whether a checkpoint, or an adapter's base with it, has learnt to give a number."""
    if (folder / ADAPTER).exists():
        return bool(json.decode((folder / ADAPTER).read_bytes()).get("task_type") == "SEQ_CLS")
    names = json.decode((folder / "config.json").read_bytes()).get("architectures") or ()
    return "ForSequenceClassification" in "".join(names)


def refuse_reward_model(folder: Path) -> None:
    """One that gives numbers has no head to write with; it would be given a random one."""
    if gives_rewards(folder):
        training = folder / "training.json"
        base = json.decode(training.read_bytes()).get("base") if training.exists() else ""
        raise SettingError(
            f"{folder} is a reward model: it gives a number and writes no text."
            f" Name a language model{f', such as the one it came from: {base}' if base else ''}"
        )


def base_of(folder: Path) -> str:
    """What an adapter was trained on."""
    named = json.decode((folder / ADAPTER).read_bytes()).get("base_model_name_or_path")
    if not named:
        raise DataError(f"the adapter in {folder} names no base. Put it under: base_model_name_or_path")
    return str(named)


@contextmanager
def quietly() -> Iterator[None]:
    """Opening and saving without bars, advice, and reports of weights that are meant to be new."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about names in transformers that peft has yet to follow
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def render_chat(tokenizer: Any, messages: Sequence[Message], answer: str | None = None) -> str:
    """The conversation up to where its answer starts, or with the answer that is given."""
    from jinja2 import TemplateError

    turns = [{"role": turn.role, "content": turn.content} for turn in messages]
    if answer is not None:
        turns.append({"role": "assistant", "content": answer})
    how = {"tokenize": False, "add_generation_prompt": answer is None}
    try:
        return str(tokenizer.apply_chat_template(turns, **how))
    except TemplateError:
        if [turn["role"] for turn in turns[:2]] != ["system", "user"]:
            raise
        # Some templates refuse a system turn: what it says goes before the first user turn.
        first = {**turns[1], "content": f"{turns[0]['content']}\n\n{turns[1]['content']}"}
        return str(tokenizer.apply_chat_template([first, *turns[2:]], **how))


def set_template_args(tokenizer: Any, kwargs: Mapping[str, Any]) -> None:
    """Write arguments, e.g. `enable_thinking: false`, into the template as its defaults, which are saved."""
    for name in kwargs:
        if not name.isidentifier():
            raise SettingError(
                f"chat_template_kwargs are arguments of a template, and '{name}' is no name for one."
                " Write them like: chat_template_kwargs.enable_thinking: false"
            )
    said = "".join(
        f"{{% if {name} is not defined %}}{{% set {name} = {value!r} %}}{{% endif %}}"
        for name, value in kwargs.items()
    )
    template = tokenizer.get_chat_template() if kwargs else ""
    if not template.startswith(said):
        tokenizer.chat_template = said + template


def end_of_turn(tokenizer: Any) -> int:
    """The token that closes an answer: what the template writes behind it, or eos where it writes none."""
    return _end_of_turn(tokenizer, tokenizer.get_chat_template())


@lru_cache(maxsize=8)
def _end_of_turn(tokenizer: Any, template: str) -> int:
    from jinja2 import TemplateError

    turns = [{"role": "user", "content": "question"}, {"role": "assistant", "content": "answer"}]
    try:
        text = tokenizer.apply_chat_template(turns, chat_template=template, tokenize=False)
    except TemplateError:  # it wants something else of a conversation; what that is, each prompt will tell
        return int(tokenizer.eos_token_id)
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    special -= {tokenizer.unk_token_id} - {tokenizer.eos_token_id}
    behind = text.rpartition("answer")[2]
    # The first of them: some templates close the whole conversation, too, where no answer is awaited.
    for token in tokenizer(behind, add_special_tokens=False)["input_ids"]:
        if token in special:
            return int(token)
        if tokenizer.decode([token]).strip():
            break
    return int(tokenizer.eos_token_id)


def ending_tokens(tokenizer: Any, model: Any) -> list[int]:
    """All tokens at which an answer is over: the model's, the tokenizer's, and the template's."""
    eos = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    named: Iterable[int] = eos if isinstance(eos, list) else () if eos is None else (eos,)
    own = () if tokenizer.eos_token_id is None else (tokenizer.eos_token_id, end_of_turn(tokenizer))
    return sorted({int(one) for one in (*named, *own)})
