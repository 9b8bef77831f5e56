"""The same completions come out however prompts are spread, as often as the model says."""

from itertools import groupby

import making
import pytest
import torch
import transformers
from test_forward import ALL, policy_over

from jurist.policies import writer as module
from jurist.policies.policy import load_policy
from jurist.policies.writer import Drawing, HFWriter, next_tokens, nucleus

torch.set_num_threads(1)
PROMPTS = [[5, 6, 7], [8, 9, 10, 11, 12, 13], [3, 4, 5, 6], [20, 21]]
KEYS = [f"prompt {number}" for number in range(len(PROMPTS))]
END = 2


def ending(model, prompts=PROMPTS, keys=KEYS, n=3, slots=module.CACHE_SLOTS, **how):
    """The rollouts as they end."""
    drawing = Drawing(**{"max_tokens": 12, "ends": [END], **how})
    return [*HFWriter(policy_over(model), slots).write(prompts, n, drawing, keys)]


def write(model, *args, **how):
    """Of each prompt its rollouts."""
    return [[*some] for _, some in groupby(sorted(ending(model, *args, **how)), lambda one: one.prompt)]


@pytest.mark.parametrize("kind", ALL)
def test_greedy_drawing_is_what_generate_writes_prompt_by_prompt(kind):
    model = making.model(kind)
    got = write(model, n=2, temperature=0.0)

    for samples, prompt in zip(got, PROMPTS, strict=True):
        ids = torch.tensor([prompt])
        how = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": END, "pad_token_id": 0}
        want = model.generate(ids, attention_mask=torch.ones_like(ids), **how)[0, len(prompt) :].tolist()
        assert [one.ids for one in samples] == [want, want]


@pytest.mark.parametrize("kind", ["llama", "gemma3"])
def test_the_same_completions_come_out_however_the_prompts_are_spread(kind):
    model = making.model(kind)
    together = write(model, top_p=0.9)
    apart = [write(model, [prompt], [key], top_p=0.9)[0] for prompt, key in zip(PROMPTS, KEYS, strict=True)]
    few = write(model, slots=30, top_p=0.9)

    ids = [[[one.ids for one in some] for some in each] for each in (together, apart, few)]
    assert ids[0] == ids[1] == ids[2]


def test_what_does_not_fit_into_memory_is_drawn_in_halves_and_nothing_twice(monkeypatch):
    model = making.model("llama")
    want, forward, rows = write(model), model.forward, []

    def limited(*args, input_ids, **how):
        rows.append(len(input_ids))
        if len(input_ids) > 6:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(*args, input_ids=input_ids, **how)

    monkeypatch.setattr(model, "forward", limited)
    assert write(model) == want
    assert max(rows) == 12
    monkeypatch.setattr(model, "forward", lambda **_: limited(input_ids=[0] * 7))
    with pytest.raises(torch.OutOfMemoryError):
        write(model)


def test_samples_of_one_prompt_differ_and_another_key_draws_anew():
    model = making.model()
    (one,), (other,) = (write(model, PROMPTS[:1], [key]) for key in "ab")
    assert len({tuple(sample.ids) for sample in one + other}) == 6


def test_each_prompt_is_computed_once_for_all_its_samples():
    model, shapes = making.model(), []
    model.register_forward_pre_hook(
        lambda _, args, kwargs: shapes.append(kwargs["input_ids"].shape), with_kwargs=True
    )
    write(model, n=8)

    assert shapes[0] == (4, 6)
    assert all(shape[1] == 1 for shape in shapes[1:])


def test_a_completion_is_handed_over_as_soon_as_it_ends_and_ends_at_its_end_token():
    model = making.model()
    with torch.no_grad():
        model.lm_head.weight[END] += 2 * model.lm_head.weight.abs().mean()
    ended = ending(model, n=32, max_tokens=60)

    lengths = [len(one.ids) for one in ended]
    assert len(ended) == len({(one.prompt, one.sample) for one in ended}) == 4 * 32
    assert lengths == sorted(lengths)
    assert {one.finish for one in ended} == {"stop", "length"}
    for one in ended:
        assert (one.ids[-1] == END) == (one.finish == "stop")
        assert END not in one.ids[:-1]


def test_tokens_are_drawn_as_often_as_the_model_says():
    model = making.model()
    want_V = torch.softmax(model(torch.tensor([PROMPTS[0]])).logits[0, -1].detach() / 0.5, -1)
    (got,) = write(model, PROMPTS[:1], ["x"], n=4000, max_tokens=1, temperature=0.5)

    counts_V = torch.bincount(torch.tensor([one.ids[0] for one in got]), minlength=len(want_V)) / 4000
    assert (counts_V - want_V).abs().max() < 4 * (want_V.max() / 4000).sqrt()


@pytest.mark.parametrize("vocabulary", [40, 9000])
def test_the_nucleus_is_that_of_transformers_row_by_row(vocabulary):
    logits_BV = torch.randn(5, vocabulary, generator=torch.Generator().manual_seed(1)) * 3
    for row, top_p in enumerate((0.1, 0.5, 0.9, 0.99, 1.0)):
        warper = transformers.TopPLogitsWarper(top_p)
        want_V = warper(None, logits_BV[row : row + 1].double())[0].softmax(-1)
        ids_K, kept_BK = nucleus(logits_BV.softmax(-1), torch.full((5, 1), top_p, dtype=torch.float64))
        got_V = torch.zeros(vocabulary, dtype=torch.float64).scatter(0, ids_K, kept_BK[row].double())
        torch.testing.assert_close(got_V / got_V.sum(), want_V, rtol=1e-5, atol=1e-7)


def test_cold_and_warm_rows_are_drawn_together():
    rows = [module.Draw(Drawing(4, [END], temperature), iter([0.999])) for temperature in (0.0, 1.0)]
    logits_BV = torch.tensor([[3.0, 0.0, 0.0], [3.0, 0.0, 2.9]])
    assert next_tokens(logits_BV, rows) == [0, 2]


@pytest.mark.parametrize(("dtype", "top_p"), [("float32", 1.0), ("bfloat16", 1.0), ("bfloat16", 0.9)])
def test_over_a_large_vocabulary_each_token_has_the_stretch_of_its_probability(dtype, top_p):
    logits_1V = torch.randn(1, 5000, generator=torch.Generator().manual_seed(0)) * 3
    logits_1V = logits_1V.to(getattr(torch, dtype))
    probs_V = logits_1V[0].double().softmax(-1)
    if top_p < 1:
        ordered = probs_V.sort(descending=True)
        probs_V[ordered.indices[ordered.values.cumsum(0) - ordered.values >= top_p]] = 0
    ends_V = (probs_V / probs_V.sum()).cumsum(0)
    uniforms = torch.linspace(0, 1 - 2**-53, 999, dtype=torch.float64)

    rows = [module.Draw(Drawing(4, [END], 1.0, top_p), iter([one])) for one in uniforms.tolist()]
    tokens = torch.tensor(next_tokens(logits_1V.expand(999, -1), rows))

    assert (probs_V[tokens] > 0).all()
    assert (ends_V[tokens] >= uniforms - 1e-6).all()
    assert (ends_V[tokens] - (probs_V / probs_V.sum())[tokens] <= uniforms + 1e-6).all()


def test_the_version_counts_syncs_and_travels_with_each_rollout(tmp_path):
    policy = load_policy(making.checkpoint(tmp_path / "base"))
    writer, how = HFWriter(policy), Drawing(3, policy.ends)
    (before,) = writer.write(PROMPTS[:1], 1, how, ["a"])
    assert writer.sync(policy) == 1
    (after,) = writer.write(PROMPTS[:1], 1, how, ["a"])

    assert (before.version, after.version, before.ids) == (0, 1, after.ids)
