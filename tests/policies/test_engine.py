"""A checkpoint in this process answers as it would alone, whatever else is asked beside it."""

import asyncio
import json
import math
import shutil
import subprocess
import sys
from contextlib import closing
from functools import cache
from pathlib import Path

import pytest
from msgspec.structs import replace

from jurist.engines.budget import Budget
from jurist.engines.checkpoints import weights_hash
from jurist.engines.engine import Ask, EngineConfig, open_engine
from jurist.engines.journaled import Engines
from jurist.errors import CallFailed, CallRefused, DataError, Interrupted, SettingError
from jurist.journal import Journal
from jurist.records import Message
from jurist.tiny.model import ASSISTANT, END, PAD, SPECIAL, TEMPLATE, UNKNOWN, USER, make_tokenizer

torch = pytest.importorskip("torch", reason="needs the extra 'train'")
transformers = pytest.importorskip("transformers", reason="needs the extra 'train'")
from jurist.policies import engine as local  # noqa: E402
from jurist.policies.forward import shared_forms  # noqa: E402

WORDS = "one two three four five six seven eight nine ten A B C What is plus ? . Which response is better It"
SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "initializer_range": 0.3}
SHAPE |= {"intermediate_size": 64, "num_key_value_heads": 2}
FAMILIES = {
    "llama": lambda **ids: transformers.LlamaConfig(**SHAPE, **ids),
    "qwen": lambda **ids: transformers.Qwen2Config(**SHAPE, **ids),
    "gpt2": lambda **ids: transformers.GPT2Config(n_embd=32, n_layer=2, n_head=4, **ids),
    "sliding": lambda **ids: transformers.MistralConfig(sliding_window=8, **SHAPE, **ids),
}
SLOWLY = {"qwen", "gpt2"}
"""Read as the plain one is; their tokenizers and places differ."""


def checkpoint(folder, family="llama", seed=0):
    """A random model with a tokenizer of a few words."""
    tokenizer = qwen_tokenizer() if family == "qwen" else make_tokenizer([*WORDS.split(), f" {WORDS}"])
    torch.manual_seed(seed)
    config = FAMILIES[family](
        vocab_size=len(tokenizer), bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=0
    )
    model = transformers.AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def qwen_tokenizer():
    """The class that goes with the model, over bytes that merge into our words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    inner, bytes_ = Tokenizer(models.BPE()), pre_tokenizers.ByteLevel
    inner.pre_tokenizer = bytes_(add_prefix_space=False)
    special = {"special_tokens": list(SPECIAL), "initial_alphabet": bytes_.alphabet()}
    inner.train_from_iterator([*WORDS.split(), f" {WORDS}"] * 2, trainers.BpeTrainer(**special))
    model = json.loads(inner.to_str())["model"]
    words = {"vocab": model["vocab"], "merges": [tuple(pair) for pair in model["merges"]]}
    ends = {"unk_token": UNKNOWN, "eos_token": END, "pad_token": PAD}
    more = {"additional_special_tokens": [USER, ASSISTANT], "chat_template": TEMPLATE}
    return transformers.Qwen2Tokenizer(**words, **ends, **more)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(
    scope="module",
    params=[pytest.param(one, marks=[pytest.mark.slow] * (one in SLOWLY)) for one in FAMILIES],
)
def folder(request, tmp_path_factory):
    return checkpoint(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return checkpoint(tmp_path_factory.mktemp("plain"))


def ask(text, **fields):
    wants = "label" if fields.get("labels") else "text"
    return Ask((Message("user", text),), **{"max_tokens": 12, "wants": wants, **fields})


def together(folder, work, **extra):
    """Run `work(engine)` in a loop of its own and close the engine."""

    async def main():
        engine = local.open_local(EngineConfig(f"hf:{folder}", extra=extra))
        try:
            return await work(engine)
        finally:
            await engine.close()

    return asyncio.run(main())


def answers(folder, asks):
    return together(folder, lambda engine: asyncio.gather(*map(engine.answer, asks)))


TEXTS = ["one two three", "What is one plus two ?", "nine", "five " * 30 + "What is four plus ten ?"]
SHARED = "one two three four five six seven eight nine ten " * 3
ALIKE = [
    f"{SHARED} {middle} {end}" for middle in (SHARED, "ten " * 20) for end in ("A", "B is better", "C . C")
]


def test_seeded_answers_do_not_depend_on_what_is_asked_beside_them_and_draws_count_the_seed_on(folder):
    warm = {"temperature": 1.0, "top_p": 0.9}

    async def work(engine):
        many = await engine.samples(ask(TEXTS[1], seed=5, **warm), 4)
        beside = [ask(text, seed=7, **warm) for text in (TEXTS[3], TEXTS[0], *ALIKE)]
        asks = [ask(TEXTS[1], seed=5 + i, **warm) for i in range(4)]
        return many, (await asyncio.gather(*map(engine.answer, [*beside, *asks])))[-4:]

    many, single = together(folder, work)

    assert [one.text for one in many] == [one.text for one in single]
    assert len({one.text for one in many}) > 1


@cache
def plain(folder):
    """The checkpoint as its own library opens it."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return transformers.AutoModelForCausalLM.from_pretrained(folder), tokenizer


def plain_ids(tokenizer, text):
    how = {"add_generation_prompt": True, "return_tensors": "pt", "return_dict": True}
    return tokenizer.apply_chat_template([{"role": "user", "content": text}], **how)


def plain_logprobs(folder, text, more=()):
    """What a single pass over this question alone, and perhaps some tokens, says comes next."""
    model, tokenizer = plain(folder)
    ids = torch.cat([plain_ids(tokenizer, text)["input_ids"], torch.tensor([more], dtype=torch.long)], 1)
    with torch.inference_mode():
        return model(ids).logits[0, -1].log_softmax(-1)


def chance(tokenizer, logprobs, label):
    """Of all the ways to write a label as one token."""
    ways = [tokenizer(way)["input_ids"] for way in (label, f" {label}")]
    return float(logprobs[[ids[0] for ids in ways if len(ids) == 1]].exp().sum())


def test_greedy_answers_are_those_of_generate_row_by_row(folder):
    model, tokenizer = plain(folder)
    for text, reply in zip(TEXTS, answers(folder, [ask(text) for text in TEXTS]), strict=True):
        ids = plain_ids(tokenizer, text)
        out = model.generate(**ids, max_new_tokens=12, do_sample=False)
        assert reply.text == tokenizer.decode(out[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)


def test_more_questions_than_a_batch_holds_are_all_answered(llama):
    n = local.BATCH_ROWS + 3
    assert len(answers(llama, [ask(f"{number % 60}", max_tokens=1) for number in range(n)])) == n


def weigh(engine, texts):
    return asyncio.gather(*(engine.answer(ask(text, labels=("A", "B"), top_logprobs=20)) for text in texts))


READINGS = {
    "a prompt, once for all its draws": (
        lambda engine: engine.samples(ask(TEXTS[3], temperature=1.0, max_tokens=3), 8),
        lambda seen: [rows for rows, length in seen if length > 1] == [1],
    ),
    "questions that arrive together": (lambda engine: weigh(engine, TEXTS), lambda seen: len(seen) == 1),
    "a beginning that several share": (
        lambda engine: weigh(engine, ALIKE),
        lambda seen: sum(rows * length for rows, length in seen) < 0.75 * sum(len(x.split()) for x in ALIKE),
    ),
}


@pytest.mark.parametrize("reading", READINGS)
def test_nothing_is_read_twice(llama, reading):
    work, as_little_as_it_can = READINGS[reading]

    async def watch(engine):
        seen = watched(engine)
        await work(engine)
        return seen

    assert as_little_as_it_can(together(llama, watch))


def test_labels_are_weighed_as_in_a_pass_over_each_question_alone(folder):
    async def twice(engine):  # the second time the shared beginning is known already
        return [*await weigh(engine, ALIKE), *await weigh(engine, ALIKE)]

    _, tokenizer = plain(folder)
    for text, reply in zip(ALIKE * 2, together(folder, twice), strict=True):
        logprobs = plain_logprobs(folder, text)
        for label in ("A", "B"):
            want = math.log(chance(tokenizer, logprobs, label))
            assert math.isclose(dict(reply.tokens[0].top)[label], want, abs_tol=2e-5)


def test_a_label_of_several_tokens_is_read_on_and_taken_from_what_it_begins_like(folder):
    labels = ("nine", "nine ten", "two")
    (reply,) = answers(folder, [ask(TEXTS[1], labels=labels, top_logprobs=20)])

    _, tokenizer = plain(folder)
    nine, ten = tokenizer("nine ten")["input_ids"]
    first = plain_logprobs(folder, TEXTS[1])
    both = float((first[nine] + plain_logprobs(folder, TEXTS[1], [nine])[ten]).exp())
    said = {text: math.exp(logprob) for text, logprob in reply.tokens[0].top}
    assert math.isclose(said["nine ten"], both, rel_tol=1e-3)
    assert math.isclose(said["nine"], chance(tokenizer, first, "nine") - both, rel_tol=1e-3)


def test_an_answer_ends_where_it_is_told_to_and_its_tokens_make_up_its_text(llama):
    warm = {"top_logprobs": 5, "temperature": 1.0, "seed": 3, "max_tokens": 6}
    (whole,) = answers(llama, [ask(TEXTS[1], **warm)])
    word = whole.text.split()[2]
    (cut,) = answers(llama, [ask(TEXTS[1], stop=(word,), **warm)])

    (none,) = answers(llama, [ask(TEXTS[1], stop=(whole.text[:2],), **warm)])

    assert (none.finish, none.text) == ("stop", "")
    assert (whole.finish, whole.usage.tokens_out) == ("length", 6)
    assert (cut.finish, cut.text) == ("stop", whole.text[: whole.text.index(word)])
    assert "".join(token.text for token in whole.tokens) == whole.text
    assert all(len(token.top) == 5 and token.logprob < 0 for token in whole.tokens)


def test_the_name_changes_with_weights_and_tokenizer_and_not_with_the_card(llama, tmp_path):
    same = shutil.copytree(llama, tmp_path / "same")
    assert weights_hash(same) == weights_hash(llama) != weights_hash(checkpoint(tmp_path / "other", seed=1))

    (same / "chat_template.jinja").write_text("{{ messages[0].content }}")

    assert weights_hash(same) != weights_hash(llama)
    one, other = (open_engine({"engine": f"hf:{llama}", "extra": {"device": on}}) for on in ("cpu", "cpu:0"))
    assert weights_hash(llama)[:12] in one.name == other.name


def test_a_folder_called_model_has_the_name_of_its_training(llama, tmp_path, monkeypatch):
    trained = shutil.copytree(llama, tmp_path / "sft" / "model")
    monkeypatch.chdir(trained.parent)

    names = {open_engine(f"hf:{path}").name for path in (trained, "model", "model/", "../sft/model")}
    assert names == {f"hf:sft#{weights_hash(llama)[:12]}"}


def test_a_checkpoint_is_opened_without_torch(llama):
    opened = "import sys; from jurist.engines.engine import open_engine; open_engine(sys.argv[1]); "
    shown = "print(*{'torch', 'transformers', 'numpy'} & {*sys.modules})"
    said = subprocess.check_output([sys.executable, "-c", opened + shown, f"hf:{llama}"], text=True)

    assert said.strip() == ""


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"engine": "hf:."}, "it has no config.json"),
        ({"engine": "hf:./none"}, "no checkpoint folder"),
        ({"engine": "hf:bare"}, "safe_serialization=True"),
        ({"engine": "hf:mute"}, "put one at"),
        ({"engine": "hf:endless"}, "has no eos token"),
        ({"engine": "hf:torn"}, "the tokenizer in torn cannot be loaded"),
        ({"engine": "hf:mute", "extra": {"devise": "cpu"}}, "Did you mean 'device'"),
    ],
    ids=str,
)
def test_what_cannot_be_opened_is_refused_with_the_way_out(llama, tmp_path, monkeypatch, spec, message):
    monkeypatch.chdir(tmp_path)
    for name, part in (("bare", "model.safetensors"), ("mute", "chat_template.jinja")):
        (Path(shutil.copytree(llama, name)) / part).unlink()
    told = json.loads((llama / "tokenizer_config.json").read_text()) | {"eos_token": None}
    for name, file, text in (
        ("endless", "tokenizer_config.json", json.dumps(told)),
        ("torn", "tokenizer.json", "{"),
    ):
        (Path(shutil.copytree(llama, name)) / file).write_text(text)
    with pytest.raises((SettingError, DataError), match=message):
        open_engine(spec)


def test_what_cannot_be_answered_is_refused_alone(llama, tmp_path):
    strict = shutil.copytree(llama, tmp_path / "strict")
    said = (strict / "chat_template.jinja").read_text()
    check = "{% if 'odd' in messages[0].content %}{{ raise_exception('no odd things') }}{% endif %}"
    (strict / "chat_template.jinja").write_text(check + said)

    async def work(engine):
        asks = [ask(text, max_tokens=1) for text in ("one", "odd", "one " * 3000, "two")]
        return await asyncio.gather(*map(engine.answer, asks), return_exceptions=True)

    one, odd, long, two = together(strict, work)

    assert one.usage.tokens_out == two.usage.tokens_out == 1
    assert [type(odd), type(long)] == [CallRefused] * 2
    assert ("no odd things" in str(odd), "Shorten the prompt" in str(long)) == (True, True)


def test_a_cancelled_call_stops_nobody_else_and_is_not_written_to_its_end(llama):
    async def work(engine):
        seen = watched(engine)
        longest = ask("one", max_tokens=2000, temperature=1.0, seed=1)
        endless = [asyncio.create_task(engine.answer(replace(longest, seed=i))) for i in range(4)]
        while len(seen) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        for one in endless:
            one.cancel()
        told = await asyncio.gather(*endless, return_exceptions=True)
        reply = await asyncio.wait_for(engine.answer(ask("two", labels=("A", "B"))), 5)
        return told, reply, len(seen)

    told, reply, passes = together(llama, work)

    assert all(isinstance(one, asyncio.CancelledError) for one in told)
    assert reply.text in ("A", "B")
    assert passes < 1000


def test_on_ctrl_c_a_batch_ends_at_its_next_token_and_what_is_whole_is_kept(llama):
    async def work(engine):
        seen, engine.budget = watched(engine), Budget()
        lengths = (3, 2000, 2000)
        asks = [ask("one", max_tokens=n, temperature=1.0, seed=n, stop=("never",)) for n in lengths]
        calls = [asyncio.create_task(engine.answer(one)) for one in asks]
        await calls[0]
        doing, passes = engine.doing, len(seen)
        engine.budget.stop(Interrupted("stopped"))
        told = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 5)
        return told, doing, len(seen) - passes

    (whole, *cut), doing, more = together(llama, work)

    assert whole.usage.tokens_out <= 3
    assert [type(one) for one in cut] == [Interrupted] * 2
    assert doing.startswith("3 answers, token ")
    assert more < 100


def test_a_policy_that_is_its_own_judge_is_loaded_once(llama, tmp_path):
    with closing(Journal(tmp_path / "journal.sqlite")) as journal:
        engines = Engines(journal, Budget())
        policy, judge = engines(f"hf:{llama}"), engines(f"hf:{llama}")
        other = engines({"engine": f"hf:{llama}", "extra": {"dtype": "bfloat16"}})
    assert policy.engine is judge.engine is not other.engine


def test_a_failure_reaches_everybody_who_waits_and_the_next_call_is_answered(llama, monkeypatch):
    async def work(engine):
        with monkeypatch.context() as broken:
            engine._policy = engine._load()
            broken.setattr(engine._policy.model, "forward", stumble)
            broken.setattr(engine._policy, "next_logits", stumble)
            asks = [ask(text, labels=labels) for text in TEXTS for labels in ((), ("A", "B"))]
            told = await asyncio.gather(*map(engine.answer, asks), return_exceptions=True)
            broken.setattr(engine, "_tokenise", stumble)
            told += await asyncio.gather(engine.answer(asks[0]), return_exceptions=True)
        return told, await engine.answer(ask("one", max_tokens=2))

    def stumble(*args, **fields):
        raise ZeroDivisionError("no reason")

    told, reply = together(llama, work)

    assert len(told) == 2 * len(TEXTS) + 1
    assert all(isinstance(one, CallFailed) and "no reason" in str(one) for one in told)
    assert reply.usage.tokens_out == 2


def test_what_does_not_fit_into_memory_is_read_in_halves(llama, monkeypatch):
    most = 2

    async def work(engine):
        policy = engine._policy = engine._load()
        whole = policy.next_logits

        def next_logits(rows):
            if len(rows) > most:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried too much")
            return whole(rows)

        monkeypatch.setattr(policy, "next_logits", next_logits)
        asks = [ask(text, labels=("A", "B")) for text in TEXTS]
        return await asyncio.gather(*map(engine.answer, asks), return_exceptions=True)

    assert [one.text in ("A", "B") for one in together(llama, work)] == [True] * len(TEXTS)
    most = 0
    (*_, refused) = together(llama, work)
    assert isinstance(refused, CallFailed)
    assert str(refused).endswith("set: extra: {dtype: bfloat16}")


def watched(engine):
    """The shape of everything the model is given to read."""
    seen = []

    def note(module, args, fields):
        read = next(one for name in ("inputs_embeds", "input_ids") if (one := fields.get(name)) is not None)
        seen.append(tuple(read.shape[:2]))

    engine._policy = engine._load()
    shared_forms(engine._policy.model)  # the first pass tries them
    engine._policy.model.base_model.register_forward_pre_hook(note, with_kwargs=True)
    return seen


def test_an_answer_ends_with_the_token_that_closes_a_turn_though_the_tokenizer_names_another(llama, tmp_path):
    (whole,) = answers(llama, [ask("nine", top_logprobs=1)])
    said = [one.text for one in whole.tokens]
    last = next(one for one in said[2:] if one.strip().isalpha() and said.index(one) >= 2)
    tokenizer = transformers.AutoTokenizer.from_pretrained(llama)
    tokenizer.add_special_tokens({"additional_special_tokens": [last]})
    closing = shutil.copytree(llama, tmp_path / "closing")
    tokenizer.chat_template = TEMPLATE.replace(
        "{{ turn.content }}<|end|>{% end", f"{{{{ turn.content }}}}{last}{{% end"
    )
    tokenizer.save_pretrained(closing)

    (cut,) = answers(closing, [ask("nine")])

    assert tokenizer.eos_token == END
    assert (cut.text, cut.finish) == ("".join(said[: said.index(last)]), "stop")
