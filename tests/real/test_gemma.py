"""The pretrained model as a Hugging Face folder, with fewer tokens, and back as a file for llama.cpp."""

import json
import urllib.request

import pytest

from support.llama import PROMPTS, llama_server, skip_without_model

pytestmark = pytest.mark.real
skip_without_model()

import torch  # noqa: E402

from jurist.policies.policy import load_policy  # noqa: E402
from jurist.policies.tokens import Example  # noqa: E402
from support import gemma  # noqa: E402

TEXT = "The weather was fine, so we went down to the river and"


@pytest.fixture(scope="module")
def english():
    return load_policy(gemma.english(), dtype="float32").eval()


def test_the_small_vocabulary_changes_nothing_for_the_tokens_it_keeps(english):
    whole = load_policy(gemma.checkpoint(), dtype="float32").eval()
    ids = english.tokenizer(TEXT).input_ids
    tokens = english.tokenizer.convert_ids_to_tokens(ids)
    assert tokens == whole.tokenizer.convert_ids_to_tokens(whole.tokenizer(TEXT).input_ids)
    kept = whole.tokenizer.convert_tokens_to_ids(
        english.tokenizer.convert_ids_to_tokens(list(range(gemma.TOKENS)))
    )
    ours = english.next_logits([ids])[0]
    assert torch.allclose(ours, whole.next_logits([whole.tokenizer(TEXT).input_ids])[0, kept], atol=1e-4)
    assert "".join(tokens) == TEXT.join(["<bos>", ""]).replace(" ", "▁")


def test_any_text_comes_back_from_the_small_vocabulary(english):
    words = english.tokenizer
    for text in (*PROMPTS, "naïve café — 東京 🙂\n\n  two  spaces\tand a tab", "<b>bold</b>"):
        ids = words(text).input_ids
        assert words.unk_token_id not in ids
        assert words.decode(ids, skip_special_tokens=True) == text


def test_an_english_base_finds_english_likely(english):
    """What a model that was put together wrongly would not."""
    ids = english.tokenizer(TEXT).input_ids
    mixed = [ids[0], *sorted(ids[1:])]
    real, shuffled = (
        english([Example(some[:1], [some[1:]])]).logprobs_AT.mean().item() for some in (ids, mixed)
    )
    assert real > -3.5
    assert real > shuffled + 2


def test_llama_cpp_reads_the_written_file_as_transformers_reads_the_folder(english, tmp_path):
    """The likeliest first words of an answer, from weights of 8 bits."""
    file = gemma.write_gguf(gemma.english(), tmp_path / "english.gguf")
    with llama_server(file) as server:
        for prompt in PROMPTS[:4]:
            asked = {"messages": [{"role": "user", "content": prompt}], "max_tokens": 1, "logprobs": True}
            request = urllib.request.Request(
                f"{server.url}/chat/completions",
                json.dumps(asked | {"top_logprobs": 5, "temperature": 0}).encode(),
                {"Content-Type": "application/json"},
            )
            told = json.load(urllib.request.urlopen(request, timeout=60))["choices"][0]["logprobs"][
                "content"
            ][0]
            turns = [{"role": "user", "content": prompt}]
            ids = english.tokenizer.apply_chat_template(turns, add_generation_prompt=True)["input_ids"]
            logp = english.next_logits([ids])[0].log_softmax(-1)
            for one in told["top_logprobs"]:
                (token,) = english.tokenizer(one["token"], add_special_tokens=False).input_ids
                assert one["logprob"] == pytest.approx(float(logp[token]), abs=0.25)
