import json

import making
import pytest
import torch

from jurist.engines.checkpoints import find_checkpoint, weights_hash, weights_named
from jurist.errors import DataError, SettingError
from jurist.policies.checkpoint import Lora
from jurist.policies.policy import cpu_has_bfloat16_for, kl, load_policy, load_to_read, token_stats
from jurist.policies.tokens import Example, tokenise_many
from jurist.records import Completion, Prompt

torch.set_num_threads(1)
IDS = torch.tensor([[2, 40, 50, 60, 1]])


@pytest.mark.parametrize("kind", making.KINDS)
def test_any_checkpoint_loads_and_saves_unchanged_as_safetensors(tmp_path, kind):
    base = making.checkpoint(tmp_path / "base", kind)
    policy = load_policy(base)
    saved = policy.save(tmp_path / "again")

    torch.testing.assert_close(load_policy(saved).model(IDS).logits, policy.model(IDS).logits)
    names = {file.name for file in saved.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt"))]
    assert json.loads((saved / "generation_config.json").read_text())["eos_token_id"] == 1


@pytest.mark.parametrize("kind", ["gpt2"])
def test_an_adapter_says_the_same_merged_and_apart(tmp_path, kind):
    base = making.checkpoint(tmp_path / "base", kind)
    policy = load_policy(base, lora=Lora(r=4))
    for name, weight in policy.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    want = policy.model(IDS).logits
    apart = load_policy(policy.save(tmp_path / "apart", merge=False))
    merged = load_policy(policy.save(tmp_path / "merged"))

    torch.testing.assert_close(merged.model(IDS).logits, want, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(apart.model(IDS).logits, want, rtol=1e-5, atol=1e-5)
    assert (load_policy(base).model(IDS).logits - want).abs().max() > 0.01
    assert not (tmp_path / "apart" / "model.safetensors").exists()


def test_what_has_learnt_is_kept_whole_and_read_in_the_dtype_of_its_base(tmp_path):
    from transformers import AutoModelForCausalLM

    making.model().to(torch.bfloat16).save_pretrained(tmp_path / "base")
    making.tokenizer().save_pretrained(tmp_path / "base")
    policy = load_policy(tmp_path / "base", dtype="float32")
    with torch.no_grad():
        policy.model.lm_head.weight += 1e-6  # a step that bfloat16 has no number for
    saved = policy.save(tmp_path / "learnt")
    again = load_policy(saved, dtype="float32")

    torch.testing.assert_close(again.model.lm_head.weight, policy.model.lm_head.weight, rtol=0, atol=0)
    assert policy.dtype == again.dtype == "bfloat16"
    for opened in (load_policy(saved).model, AutoModelForCausalLM.from_pretrained(saved)):
        assert {weight.dtype for weight in opened.parameters()} == {torch.bfloat16}
    native = torch.cuda.is_available() or cpu_has_bfloat16_for(saved)
    assert not cpu_has_bfloat16_for(making.checkpoint(tmp_path / "single"))
    assert load_to_read(saved).model.dtype == (torch.bfloat16 if native else torch.float32)
    assert load_to_read(saved, dtype="float32").model.dtype == torch.float32


def test_the_hash_names_the_weights(tmp_path):
    one = weights_hash(making.checkpoint(tmp_path / "one"))

    assert one == weights_hash(making.checkpoint(tmp_path / "same"))
    assert one != weights_hash(making.checkpoint(tmp_path / "other", seed=1))


def test_a_base_without_a_chat_template_is_refused(tmp_path):
    base = making.checkpoint(tmp_path / "base")
    (base / "chat_template.jinja").unlink()

    with pytest.raises(SettingError, match="has no chat template"):
        load_policy(base)


def test_an_attention_that_is_not_installed_is_refused_with_the_setting_that_names_another(tmp_path):
    with pytest.raises(SettingError, match=r"flash_attention_2 cannot be used here .* --model.attention"):
        load_policy(making.checkpoint(tmp_path / "base"), attention="flash_attention_2")


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    base = making.checkpoint(tmp_path / "base", vocabulary=200)

    with pytest.raises(SettingError, match="do not belong together"):
        load_policy(base)


def test_a_folder_without_a_checkpoint_and_a_name_nobody_has_are_refused(tmp_path):
    with pytest.raises(SettingError, match=r"no config\.json"):
        load_policy(tmp_path)
    with pytest.raises(SettingError, match="there is no checkpoint at nobody/has-this"):
        load_policy("nobody/has-this")


def test_the_folder_of_a_training_stands_for_its_model(tmp_path):
    base = making.checkpoint(tmp_path / "sft" / "model")
    assert find_checkpoint(tmp_path / "sft") == base
    assert weights_named(str(tmp_path / "sft")) == weights_named(str(base)) != ""


def test_weights_that_are_no_safetensors_have_no_name(tmp_path):
    with pytest.raises(DataError, match=r"no \.safetensors"):
        weights_hash(tmp_path)


def test_a_reward_model_starts_without_an_opinion_and_pads_with_something_else_than_the_end(tmp_path):
    base = tmp_path / "base"
    making.model().save_pretrained(base)
    making.tokenizer(pad=False).save_pretrained(base)
    policy = load_policy(base, kind="reward")

    assert policy.model(IDS).logits.item() == 0.0
    assert policy.tokenizer.pad_token_id != policy.tokenizer.eos_token_id
    assert policy.model.config.pad_token_id == policy.tokenizer.pad_token_id


def test_a_base_s_dropout_is_off_so_that_a_row_says_the_same_twice(tmp_path):
    base = making.checkpoint(tmp_path / "base", "gpt2")
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"resid_pdrop": 0.5, "attn_pdrop": 0.5}))
    model = load_policy(base).model.train()

    torch.testing.assert_close(model(IDS).logits, model(IDS).logits, rtol=0, atol=0)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("policies")
    return [making.checkpoint(folder / f"{seed}", seed=seed, initializer_range=0.3) for seed in (0, 1)]


@torch.no_grad()
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_the_kl_is_that_of_the_whole_vocabulary_before_each_token_that_was_written(both, temperature):
    ours, theirs = map(load_policy, both)
    prompts = [Prompt.of("why"), Prompt.of("tell me a long answer")]
    completions = [Completion.of(prompt.id, "because light") for prompt in prompts]
    texts = [(prompt, (one,), {}) for prompt, one in zip(prompts, completions, strict=True)]
    rows = [*tokenise_many(texts, ours.tokenizer)]
    want = 0.0
    for row in rows:
        whole = torch.tensor([[*row.prompt_ids, *row.answers[0]]])
        logps = [
            (one.model(whole).logits[0, len(row.prompt_ids) - 1 : -1] / temperature).log_softmax(-1)
            for one in (ours, theirs)
        ]
        want += float((logps[0].exp() * (logps[0] - logps[1])).sum()) / len(rows)

    assert kl(ours, theirs, rows, temperature) == pytest.approx(want, rel=1e-4)
    assert want > 0.1
    assert kl(ours, ours, rows) == 0.0


def test_what_is_read_of_many_rows_is_that_of_each_alone_in_their_order(both):
    policy = load_policy(both[0])
    rows = [Example(list(range(5, 6 + n)), [[7] * (n % 3 + 1), [9, 8, n]]) for n in (3, 30, 8, 1)]
    want = ("logprobs", "states")
    many = token_stats(policy.train(), rows, 40, want)

    assert policy.training
    for at, row in enumerate(rows):
        alone, two = policy([row], want), slice(2 * at, 2 * at + 2)
        got_2T, want_2T = many.logprobs_AT[two], alone.logprobs_AT.detach()
        torch.testing.assert_close(got_2T[:, : want_2T.shape[1]], want_2T, rtol=1e-4, atol=1e-4)
        assert (got_2T[:, want_2T.shape[1] :] == 0).all()
        torch.testing.assert_close(many.state_AD[two], alone.state_AD.detach(), rtol=1e-4, atol=1e-4)


def test_values_are_read_where_each_token_was_written(both):
    policy, row = load_policy(both[0]), Example([5, 6, 7], [[8, 9, 10], [11]])
    policy.add_value_head()
    torch.nn.init.normal_(policy.value_head.weight)
    value_AT = policy([row], ("value",)).value_AT

    hidden_LD = policy.model.model(torch.tensor([[5, 6, 7, 8, 9]])).last_hidden_state[0, 2:]
    torch.testing.assert_close(value_AT[0], policy.value_head(hidden_LD)[:, 0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(value_AT[1, 0], value_AT[0, 0], rtol=1e-4, atol=1e-4)
    assert (value_AT[1, 1:] == 0).all()


@pytest.mark.parametrize("alike", [0, 20])
def test_what_comes_next_is_what_each_prompt_alone_says(both, alike):
    policy = load_policy(both[0])
    prompts = [[*range(20, 20 + alike), *range(5, 6 + n)] for n in (3, 1, 7)]
    want = torch.stack([policy.model(torch.tensor([one])).logits[0, -1].log_softmax(-1) for one in prompts])

    torch.testing.assert_close(policy.next_logits(prompts).log_softmax(-1), want, rtol=1e-4, atol=1e-4)
