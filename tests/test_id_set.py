import pytest

from jurist.records import IdSet, content_id

CLASHES = {
    "many": [content_id(i) for i in range(5000)],
    "alike at the end": [f"{i << 40:016x}" for i in range(1, 400)],
    "all zeros": ["0" * 32],
    # The end of one and the start of the next are not an id.
    "side by side": [
        "000" + middle + "0" * 16 for middle in ("0102030405060", "0708090a0b0c0", "0405060708090")
    ],
}


@pytest.mark.parametrize("ids", CLASHES.values(), ids=CLASHES)
def test_an_id_is_new_once(ids):
    seen = IdSet()

    assert [seen.add(id) for id in ids] == [True] * len(ids)
    assert [seen.add(id) for id in ids] == [False] * len(ids)
