"""A shared prompt gives the loss and gradients of separate rows, whatever the model's layers see."""

import making
import pytest
import torch
from making import loss_and_gradient

from jurist.policies import forward
from jurist.policies.forward import answer_states, form_for, row_slots, shared_forms
from jurist.policies.policy import Policy, token_stats
from jurist.policies.tokens import Example

torch.set_num_threads(1)
SHARED = ("packed", "masked", "prefilled")
ALL = (*making.KINDS, *making.WINDOWED)


def policy_over(model) -> Policy:
    return Policy(model, None, None, "")


def ids(n: int, seed: int) -> list[int]:
    return torch.randint(5, 300, (n,), generator=torch.Generator().manual_seed(seed)).tolist()


PAIRS = [Example(ids(9, 1), [ids(4, 2), ids(7, 3)]), Example(ids(3, 4), [ids(1, 5), ids(2, 6)])]
UNEVEN = [*PAIRS, Example(ids(20, 7), [ids(6, 8)]), Example(ids(1, 9), [ids(3, 10)] * 4)]


def assert_same(got, want):
    torch.testing.assert_close(got[0], want[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        got[1], want[1], rtol=1e-5, atol=1e-5 * float(want[1].abs().max().clamp(min=1))
    )


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("want", ["logprobs", "states"])
def test_a_shared_prompt_gives_the_loss_and_gradients_of_separate_rows(kind, want):
    model = making.model(kind)
    assert shared_forms(model) == SHARED[model.config._attn_implementation != "sdpa" :]
    separate = loss_and_gradient(model, UNEVEN, "concat", want)
    for form in shared_forms(model):
        assert_same(loss_and_gradient(model, UNEVEN, form, want), separate)


@pytest.mark.parametrize("kind", ["llama", "mistral", "gemma3"])
def test_prompts_padded_on_the_left_without_masks_of_ours_as_flash_attention_takes_them(kind, monkeypatch):
    model = making.model(kind)
    want = loss_and_gradient(model, UNEVEN, "concat")
    monkeypatch.setattr(forward, "is_flash", lambda _: True)
    assert_same(loss_and_gradient(model, UNEVEN, "prefilled"), want)


def test_flash_attention_is_tried_in_16_bits_where_the_weights_have_32(monkeypatch):
    model, seen = making.model(), set()
    monkeypatch.setattr(forward, "is_flash", lambda _: True)
    projection = model.model.layers[0].self_attn.o_proj  # reads what attention gives
    projection.register_forward_pre_hook(lambda _, given: seen.add(given[0].dtype))
    assert shared_forms(model) == ("prefilled",)
    assert seen == {torch.bfloat16}


@pytest.mark.parametrize("form", SHARED)
def test_a_shared_prompt_gives_the_same_gradients_to_a_lora(form):
    model = making.adapted()
    want = loss_and_gradient(model, UNEVEN, "concat")
    assert want[1].abs().sum() > 0
    assert_same(loss_and_gradient(model, UNEVEN, form), want)


@pytest.mark.parametrize("kind", ["llama", "gemma3"])
@pytest.mark.parametrize("form", SHARED)
def test_in_bfloat16_a_shared_prompt_is_as_exact_as_bfloat16_is(kind, form):
    model = making.model(kind)
    want = policy_over(model)(UNEVEN, form="concat").logprobs_AT
    with torch.autocast("cpu", torch.bfloat16):
        under_autocast = policy_over(model)(UNEVEN, form=form).logprobs_AT
    whole = policy_over(model.to(torch.bfloat16))(UNEVEN, form=form).logprobs_AT

    for got in (under_autocast, whole):  # log-probs near -6: 8 bits of mantissa
        torch.testing.assert_close(got, want, rtol=0, atol=0.06)


@pytest.mark.parametrize("kind", making.KINDS)
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_log_probs_are_those_of_the_model_called_plainly(kind, attention):
    model = making.model(kind, attn_implementation=attention)
    stats = policy_over(model)(PAIRS, temperature=0.7)

    row = 0
    for example in PAIRS:
        for answer in example.answers:
            whole = torch.tensor([example.prompt_ids + answer])
            logp = (model(whole).logits[0] / 0.7).log_softmax(-1)[len(example.prompt_ids) - 1 : -1]
            want = logp.gather(-1, torch.tensor(answer)[:, None])[:, 0]
            torch.testing.assert_close(stats.logprobs_AT[row, : len(answer)], want, rtol=1e-5, atol=1e-5)
            assert (stats.logprobs_AT[row, len(answer) :] == 0).all()
            row += 1


def test_the_form_follows_from_lengths_and_from_what_the_layers_can_do():
    model = making.model()

    def chosen(prompt: int, answer: int, answers: int) -> str:
        return form_for(model, [Example([1] * prompt, [[1] * answer] * answers)] * 2)

    assert chosen(5, 2, 1) == "concat"
    assert chosen(9, 4, 2) == "masked"
    assert chosen(2000, 64, 2) == chosen(128, 256, 8) == "prefilled"
    model.activation_checkpointing_enable({"use_reentrant": False})
    assert chosen(2000, 64, 2) == "prefilled"  # nothing is computed twice without a gradient
    model.train()
    assert chosen(2000, 64, 2) == "masked"
    model.eval().gathers = type("FSDPLayer", (torch.nn.Module,), {})()
    assert chosen(2000, 64, 2) == "masked"


def test_layers_whose_masks_cannot_be_written_fall_back_to_separate_rows():
    model = making.model()
    model.config.layer_types = ["linear_attention", "full_attention"]
    assert form_for(model, PAIRS) == "concat"


def test_dropping_the_reset_of_positions_would_be_noticed():
    """The check that guards sharing has to fail for a model whose positions are taken from the row."""
    model = making.model("gpt2")
    plain = model.transformer.forward
    model.transformer.forward = lambda position_ids=None, **how: plain(**how)
    assert shared_forms(model) == ()


def test_the_prompt_is_not_taken_further_than_to_the_keys_of_the_last_layer():
    model, rows = making.model(), []
    model.model.layers[-1].mlp.register_forward_hook(lambda _, args, out: rows.append(out.shape[:2]))
    answer_states(model, [Example(ids(200, 1), [ids(4, 2), ids(5, 3)])], "prefilled")

    assert rows == [(2, 1 + 5)]


def test_many_logits_are_made_in_pieces_and_give_the_same(monkeypatch):
    model = making.model()
    want = loss_and_gradient(model, UNEVEN, "prefilled")
    monkeypatch.setattr(forward, "LOGITS_AT_ONCE", 5 * 330)
    assert_same(loss_and_gradient(model, UNEVEN, "prefilled"), want)


def test_the_gradient_of_a_log_prob_is_that_of_the_plain_softmax():
    logits = torch.randn(40, 11, dtype=torch.float64, requires_grad=True)
    token, weight = torch.randint(11, (40,)), torch.randn(40)

    (want,) = torch.autograd.grad(
        (logits.log_softmax(-1).gather(-1, token[:, None])[:, 0] * weight).sum(), logits
    )
    (got,) = torch.autograd.grad((forward.LogProbs.apply(logits, token) * weight).sum(), logits)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)


def passes_of(model) -> list[int]:
    """The slots of each pass that is made from now on."""
    slots: list[int] = []

    def note(_, args, fields):
        read = next(one for name in ("inputs_embeds", "input_ids") if (one := fields.get(name)) is not None)
        slots.append(read.shape[0] * read.shape[1])

    model.base_model.register_forward_pre_hook(note, with_kwargs=True)
    return slots


@pytest.mark.parametrize("sharing", [True, False])
def test_no_more_slots_are_taken_than_were_allowed(sharing, monkeypatch):
    model = making.model()
    shared_forms(model)
    if not sharing:
        monkeypatch.setattr(forward, "shared_forms", lambda _: ())
    slots = passes_of(model)
    rows = [Example(ids(40, n), [ids(3 + n, n), ids(5, n + 1)]) for n in range(8)]
    token_stats(policy_over(model), rows, 200)

    assert max(slots) <= 200
    assert len(slots) == (3 if sharing else 4)


@pytest.mark.parametrize("prompt", [40, 400])
def test_slots_are_those_that_go_through_the_layers(prompt):
    model = making.model(max_position_embeddings=512)
    row = Example(ids(prompt, 1), [ids(4, 2), ids(7, 3)])
    shared_forms(model)
    slots = passes_of(model)
    answer_states(model, [row])

    assert 0 <= sum(slots) - row_slots(model, row) <= 1  # the prompt's last token goes with each answer
