"""Rows as a tree: each beginning stands there once, and what is said after each row is what it was."""

import random
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'train'")
transformers = pytest.importorskip("transformers", reason="needs the extra 'train'")

from jurist.engines.local import attend  # noqa: E402
from jurist.engines.local.forward import Reader, read_padded  # noqa: E402
from jurist.engines.local.tree import Tree  # noqa: E402

SHARED = list(range(40))


def rows_of_all_kinds(seed):
    """Alike at several depths, one the beginning of another, one twice, one with nothing in common."""
    draw = random.Random(seed)

    def some(most):
        return [draw.randrange(60) for _ in range(draw.randint(1, most))]

    stems = [[*SHARED, *some(30)] for _ in range(3)]
    rows = [[*stem, *some(20)] for stem in stems for _ in range(4)]
    rows += [rows[0], stems[0], rows[1][:-1], [*reversed(SHARED)]]
    draw.shuffle(rows)
    return rows


def model(**shape):
    torch.manual_seed(0)
    torch.set_num_threads(1)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = transformers.LlamaConfig(vocab_size=64, initializer_range=0.3, **sizes, **shape)
    return transformers.LlamaForCausalLM(config).eval()


@pytest.mark.parametrize("seed", range(2))
def test_the_branches_of_a_row_make_up_the_row(seed):
    rows = rows_of_all_kinds(seed)
    tree = Tree(rows, first_place=5)

    for row, path in zip(rows, tree.paths, strict=True):
        slots = [slot for one in path for slot in range(one.start, one.end)]
        assert [tree.ids[slot] for slot in slots] == row
        assert [tree.places[slot] for slot in slots] == list(range(5, 5 + len(row)))
        assert all(one.end <= after.start and after.last <= one.last for one, after in pairwise(path))


@pytest.mark.parametrize(("heads", "kind"), [(4, "cpu"), (2, "cpu"), (2, "elsewhere")])
def test_what_comes_next_is_what_each_row_alone_says(heads, kind, monkeypatch):
    if kind == "elsewhere":
        monkeypatch.setattr(attend, "HAS_KERNEL", frozenset())
    llama = model(num_key_value_heads=heads)
    reader = Reader(llama)

    assert reader.shares
    for seed in range(3):  # from the second on, the beginning is known
        rows = rows_of_all_kinds(seed)
        with torch.inference_mode():
            alone = torch.cat([read_padded(llama, [row]).logits_BV for row in rows])
        assert torch.allclose(reader.ahead(rows[:-2]), alone[:-2], atol=2e-5)
        assert torch.allclose(reader.read(rows).logits_BV, alone, atol=2e-5)


def test_a_model_with_attention_of_its_own_is_found_out_and_read_row_by_row():
    llama = model()
    inner = llama.model.layers[1].self_attn
    usual = inner.forward
    inner.forward = lambda *args, **fields: tuple(
        part if part is None else part.cumsum(1) for part in usual(*args, **fields)
    )

    assert not Reader(llama).shares


def test_two_models_read_at_once_without_a_word_to_each_other():
    readers = [Reader(model(num_key_value_heads=heads)) for heads in (2, 4)]
    rows = [rows_of_all_kinds(seed) for seed in (1, 2)]
    with torch.inference_mode():
        alone = [reader.ahead(some) for reader, some in zip(readers, rows, strict=True)]

    def again(reader, some, want):
        with torch.inference_mode():
            return all(torch.allclose(reader.ahead(some), want, atol=1e-5) for _ in range(4))

    with ThreadPoolExecutor(2) as threads:
        assert all(threads.map(again, readers, rows, alone))
