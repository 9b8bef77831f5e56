import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from jurist.models.drawing import draw  # noqa: E402

torch.set_num_threads(1)
PROMPTS = [[5, 6, 7], [8, 9, 10, 11, 12, 13], [3, 4, 5, 6], [20, 21]]
KEYS = [f"prompt {number}" for number in range(len(PROMPTS))]
END = 2


def llama():
    torch.manual_seed(0)
    cfg = transformers.LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4
    )
    return transformers.LlamaForCausalLM(cfg).eval()


def gpt2():
    torch.manual_seed(0)
    cfg = transformers.GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    return transformers.GPT2LMHeadModel(cfg).eval()


def qwen():
    torch.manual_seed(0)
    cfg = transformers.Qwen2Config(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    return transformers.Qwen2ForCausalLM(cfg).eval()


def drawn(model, prompts=PROMPTS, keys=KEYS, **how):
    how = {"samples": 3, "max_tokens": 12, "end_ids": [END], **how}
    return draw(model, prompts, keys=keys, **how)


@pytest.mark.parametrize("make", [llama, gpt2, qwen])
def test_greedy_drawing_is_what_generate_writes_prompt_by_prompt(make):
    model = make()

    got = drawn(model, samples=2, temperature=0.0)

    for place, prompt in enumerate(PROMPTS):
        ids = torch.tensor([prompt])
        want = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=12,
            do_sample=False,
            eos_token_id=END,
            pad_token_id=0,
        )[0, len(prompt) :].tolist()
        assert got[2 * place].ids == want
        assert got[2 * place + 1].ids == want


def test_the_same_completions_come_out_however_the_prompts_are_split():
    model = llama()

    together = drawn(model)
    apart = [one for prompt, key in zip(PROMPTS, KEYS, strict=True) for one in drawn(model, [prompt], [key])]
    small = drawn(model, rows_at_once=3)

    assert [one.ids for one in together] == [one.ids for one in apart] == [one.ids for one in small]


def test_samples_of_one_prompt_differ_and_another_key_draws_anew():
    model = llama()

    one = drawn(model, PROMPTS[:1], ["a"])
    other = drawn(model, PROMPTS[:1], ["b"])

    assert len({tuple(sample.ids) for sample in one + other}) == 6


def test_each_prompt_is_read_once_for_all_its_samples():
    model, widths = llama(), []
    model.register_forward_pre_hook(
        lambda _, args, kwargs: widths.append(kwargs["input_ids"].shape), with_kwargs=True
    )

    drawn(model, samples=8)

    assert widths[0] == (4, 6)
    assert all(shape[1] == 1 for shape in widths[1:])


def test_an_answer_is_heard_of_as_soon_as_it_ends_and_ends_at_its_end_token():
    model = llama()
    with torch.no_grad():
        model.lm_head.weight[END] += 0.05 * model.lm_head.weight.abs().mean()
    heard = []

    got = drawn(model, samples=16, max_tokens=60, on_end=heard.append)

    lengths = [len(one.ids) for one in heard]
    assert sorted(heard, key=lambda one: (one.prompt, one.sample)) == got
    assert lengths == sorted(lengths)
    assert {one.finish for one in heard} == {"stop", "length"}
    for one in heard:
        assert (one.ids[-1] == END) == (one.finish == "stop")
        assert END not in one.ids[:-1]


def test_tokens_are_drawn_as_often_as_the_model_says():
    model = llama()
    ids = torch.tensor([PROMPTS[0]])
    want_V = torch.softmax(model(ids).logits[0, -1].detach() / 0.5, -1)

    got = drawn(model, PROMPTS[:1], ["x"], samples=4000, max_tokens=1, temperature=0.5, rows_at_once=4000)

    counts_V = torch.bincount(torch.tensor([one.ids[0] for one in got]), minlength=64) / 4000
    assert (counts_V - want_V).abs().max() < 4 * (want_V.max() / 4000).sqrt()
