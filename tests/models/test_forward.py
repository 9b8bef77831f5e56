from contextlib import nullcontext
from functools import reduce

import making
import pytest
import torch
from torch import Tensor

from jurist.models import dpo, forward
from jurist.models.batch import Example
from jurist.models.costs import Shape, shape_of, slots
from jurist.models.forms import shelved
from jurist.models.forward import answers_forward, planned, shared_forms
from jurist.models.plan import recompute
from jurist.models.policy import Lora, with_lora

torch.set_num_threads(1)


def ids(n: int, seed: int) -> list[int]:
    return torch.randint(5, 300, (n,), generator=torch.Generator().manual_seed(seed)).tolist()


PAIRS = [Example(ids(9, 1), [ids(4, 2), ids(7, 3)]), Example(ids(3, 4), [ids(1, 5), ids(2, 6)])]
UNEVEN = [*PAIRS, Example(ids(20, 7), [ids(6, 8)]), Example(ids(1, 9), [ids(3, 10)] * 4)]


def loss_and_gradient(model, examples, how, head="logprobs") -> tuple[Tensor, Tensor]:
    """Something that depends on every number of the output in another way."""
    model.zero_grad()
    said = answers_forward(model, examples, how=how, head=head)
    out = said.logprobs_AT if head == "logprobs" else said.hidden_AD
    loss = (out * torch.linspace(0.5, 1.5, out.numel()).view_as(out)).mean()
    loss.backward()
    return loss.detach(), torch.cat([w.grad.flatten() for w in model.parameters() if w.grad is not None])


@pytest.mark.parametrize("kind", making.KINDS)
@pytest.mark.parametrize("how", ["mask", "cache", "repeat"])
@pytest.mark.parametrize("head", ["logprobs", "hidden"])
def test_a_shared_prompt_gives_the_loss_and_gradients_of_the_concatenated_pass(kind, how, head):
    model = making.model(kind)

    want_loss, want_gradient = loss_and_gradient(model, UNEVEN, "concat", head)
    loss, gradient = loss_and_gradient(model, UNEVEN, how, head)

    torch.testing.assert_close(loss, want_loss, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, want_gradient, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("how", ["mask", "cache", "repeat"])
def test_a_shared_prompt_gives_the_same_gradients_to_a_lora(how):
    model = with_lora(making.model(), Lora(r=4))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)

    want_loss, want_gradient = loss_and_gradient(model, UNEVEN, "concat")
    loss, gradient = loss_and_gradient(model, UNEVEN, how)

    torch.testing.assert_close(loss, want_loss, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, want_gradient, rtol=1e-5, atol=1e-5)
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize("how", ["mask", "cache", "repeat"])
def test_in_bfloat16_a_shared_prompt_is_as_exact_as_bfloat16_is(how):
    model = making.model().to(torch.bfloat16)

    want = answers_forward(model, UNEVEN, how="concat").logprobs_AT
    got = answers_forward(model, UNEVEN, how=how).logprobs_AT

    torch.testing.assert_close(got, want, rtol=0, atol=0.05)  # log-probs near -6: 8 bits of mantissa


@pytest.mark.parametrize("kind", making.KINDS)
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_log_probs_are_those_of_the_model_called_plainly(kind, attention):
    model = making.model(kind, attn_implementation=attention)
    got = answers_forward(model, PAIRS).logprobs_AT

    row = 0
    for example in PAIRS:
        for answer in example.answers:
            whole = torch.tensor([example.prompt_ids + answer])
            logp = model(whole).logits[0].log_softmax(-1)[len(example.prompt_ids) - 1 : -1]
            want = logp.gather(-1, torch.tensor(answer)[:, None])[:, 0]
            torch.testing.assert_close(got[row, : len(answer)], want, rtol=1e-5, atol=1e-5)
            assert (got[row, len(answer) :] == 0).all()
            row += 1


def test_packed_rows_do_not_see_each_other():
    model = making.model()
    alone = [Example(ids(n, n), [ids(n % 5 + 1, n)]) for n in range(1, 14)]

    want_loss, want_gradient = loss_and_gradient(model, alone, "concat")
    loss, gradient = loss_and_gradient(model, alone, "pack")

    torch.testing.assert_close(loss, want_loss, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, want_gradient, rtol=1e-5, atol=1e-5)


def test_shelves_hold_every_row_once_and_none_is_too_full():
    lengths = [7, 3, 4, 2, 2, 5, 7, 1]
    shelves = shelved(lengths)

    assert sorted(row for shelf in shelves for row in shelf) == list(range(8))
    assert all(sum(lengths[row] for row in shelf) <= 7 for shelf in shelves)
    assert len(shelves) == 5  # 31 tokens need at least that many


@pytest.mark.parametrize("kind", making.KINDS)
def test_ordinary_decoders_can_share_a_prompt_both_ways(kind):
    assert shared_forms(making.model(kind)) == ("mask", "cache", "repeat")


def windowed():
    from transformers import MistralConfig, MistralForCausalLM

    small = {**making.SMALL, "num_key_value_heads": 2, "vocab_size": 330, "sliding_window": 4}
    return MistralForCausalLM(MistralConfig(**small)).eval()


def test_a_sliding_window_falls_back_with_a_word():
    model = windowed()

    with pytest.warns(UserWarning, match="cannot share a prompt"):
        assert forms_of(model, *PAIRS) == {"concat"}
    got = answers_forward(model, PAIRS).logprobs_AT
    torch.testing.assert_close(got, answers_forward(model, PAIRS, how="concat").logprobs_AT)


def forms_of(model, *examples):
    return {form for form, _ in planned(model, examples)}


def test_the_form_follows_from_the_lengths():
    model = making.model(hidden_size=256, num_hidden_layers=4)

    def chosen(prompt: int, answer: int, answers: int) -> set[str]:
        return forms_of(model, *[Example([1] * prompt, [[1] * answer] * answers)] * 2)

    assert chosen(5, 2, 1) == {"concat"}
    assert chosen(9, 4, 2) == {"mask"}  # too little work for two passes
    assert chosen(2000, 64, 2) == {"cache"}
    assert chosen(128, 256, 8) == {"repeat"}  # eight answers in a row would mostly be hidden from each other


def test_layers_that_compute_their_activations_twice_get_the_prompt_in_one_pass():
    model = making.model(hidden_size=256, num_hidden_layers=4)
    long = Example([1] * 2000, [[1] * 64] * 2)
    recompute(model)

    assert forms_of(model, long) == {"cache"}
    assert forms_of(model.train(), long) == {"mask"}


def test_layers_that_gather_their_weights_get_one_pass_though_others_were_tried_before():
    model = making.model(hidden_size=256, num_hidden_layers=4)
    long = Example([1] * 2000, [[1] * 64] * 2)
    assert forms_of(model, long) == {"cache"}
    model.gathers = type("FSDPLayer", (torch.nn.Module,), {})()

    assert forms_of(model, long) == {"mask"}


@pytest.mark.slow
def test_rows_of_unlike_length_go_through_in_batches_of_their_own_and_come_back_in_order():
    model = making.model(hidden_size=256, num_hidden_layers=4, max_position_embeddings=2048)
    rows = [Example(ids(n, n), [ids(9, n), ids(n % 7 + 1, n + 1)]) for n in (900, 6, 880, 12, 5)]
    batches = [rows for _, rows in planned(model, rows)]

    assert sorted(map(sorted, batches)) == [[0, 2], [1, 3, 4]]
    want_loss, want_gradient = loss_and_gradient(model, rows, "concat")
    loss, gradient = loss_and_gradient(model, rows, "auto")
    torch.testing.assert_close(loss, want_loss, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, want_gradient, rtol=1e-5, atol=1e-5)


def test_the_prompt_is_not_taken_further_than_to_the_keys_of_the_last_layer():
    model = making.model()
    seen = []
    model.model.layers[-1].mlp.register_forward_hook(lambda _, ids, out: seen.append(out.shape[:2].numel()))
    answers_forward(model, [Example(ids(200, 1), [ids(4, 2), ids(5, 3)])], how="cache")

    assert seen == [1 + 4 + 5]


def test_many_logits_are_made_in_pieces_and_give_the_same(monkeypatch):
    model = making.model()
    want_loss, want_gradient = loss_and_gradient(model, UNEVEN, "cache")
    monkeypatch.setattr(forward, "LOGITS_AT_ONCE", 5 * 330)
    loss, gradient = loss_and_gradient(model, UNEVEN, "cache")

    torch.testing.assert_close(loss, want_loss, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(gradient, want_gradient, rtol=1e-5, atol=1e-6)


def test_the_gradient_of_a_log_prob_is_that_of_the_plain_softmax():
    logits = torch.randn(40, 11, dtype=torch.float64, requires_grad=True)
    said = torch.randint(11, (40,))
    weight = torch.randn(40)

    (want,) = torch.autograd.grad(
        (logits.log_softmax(-1).gather(-1, said[:, None])[:, 0] * weight).sum(), logits
    )
    (got,) = torch.autograd.grad((forward.LogProbs.apply(logits, said) * weight).sum(), logits)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)


def test_under_autocast_the_mask_has_the_type_of_the_scores():
    model = making.model()
    want = answers_forward(model, UNEVEN, how="concat").logprobs_AT
    with torch.autocast("cpu", torch.bfloat16):
        for how in ("mask", "cache", "repeat"):
            got = answers_forward(model, UNEVEN, how=how).logprobs_AT
            torch.testing.assert_close(got, want, rtol=0, atol=0.05)


def test_a_temperature_is_that_of_the_softmax():
    model = making.model()
    whole = torch.tensor([PAIRS[0].prompt_ids + PAIRS[0].answers[0]])
    at = len(PAIRS[0].prompt_ids) - 1
    want = (model(whole).logits[0, at] / 0.7).log_softmax(-1)[PAIRS[0].answers[0][0]]

    got = answers_forward(model, PAIRS, temperature=0.7).logprobs_AT[0, 0]
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


def test_dropping_the_reset_of_positions_would_be_noticed():
    """The check that guards sharing has to fail for a model whose positions are taken from the row."""
    model = making.model("gpt2")
    plain = model.transformer.forward
    model.transformer.forward = lambda position_ids=None, **how: plain(**how)

    with pytest.warns(UserWarning, match="cannot share"):
        assert shared_forms(model) == ()


def passes(model) -> list[int]:
    """The slots of each pass that is made from now on, counted where the layers begin."""
    seen: list[int] = []
    model.base_model.register_forward_pre_hook(
        lambda _, args, fields: seen.append(fields["input_ids"].numel()), with_kwargs=True
    )
    return seen


@pytest.mark.parametrize("shares", [True, False])
def test_no_more_slots_are_taken_than_was_said_whether_a_prompt_is_shared_or_not(shares):
    model = making.model() if shares else windowed()
    with nullcontext() if shares else pytest.warns(UserWarning, match="cannot share a prompt"):
        shared_forms(model)
    rows = [Example(ids(40, n), [ids(3 + n, n), ids(5, n + 1)]) for n in range(8)]
    seen = passes(model)
    dpo.logprobs(model, rows, 200)

    assert max(seen) <= 200
    assert len(seen) == (3 if shares else 4)


@pytest.mark.parametrize("how", ["concat", "mask", "cache", "repeat"])
def test_slots_are_those_that_go_through_the_layers(how):
    model = making.model()
    rows = [Example(ids(9, 1), [ids(4, 2), ids(7, 3)]), Example(ids(9, 4), [ids(7, 5), ids(4, 6)])]
    shared_forms(model)
    seen = passes(model)
    answers_forward(model, rows, how=how)

    assert slots(how, reduce(Shape.joined, map(shape_of, rows))) == sum(seen)
