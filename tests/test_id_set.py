from jurist.records import IdSet, content_id


def test_an_id_is_new_once():
    seen = IdSet()
    ids = [content_id(i) for i in range(5000)]

    assert all(seen.add(id) for id in ids)
    assert not any(seen.add(id) for id in ids)
    assert len(seen) == 5000


def test_ids_that_share_their_last_bits_are_told_apart():
    seen = IdSet()

    assert all(seen.add(f"{i << 40:016x}") for i in range(1, 400))
    assert not any(seen.add(f"{i << 40:016x}") for i in range(1, 400))


def test_the_id_of_all_zeros_is_an_id_too():
    seen = IdSet()

    assert seen.add("0" * 32)
    assert not seen.add("0" * 32)


def test_the_end_of_one_id_and_the_start_of_the_next_are_not_an_id():
    seen = IdSet()

    assert seen.add("000" + "0102030405060" + "0" * 16)
    assert seen.add("000" + "0708090a0b0c0" + "0" * 16)
    assert seen.add("000" + "0405060708090" + "0" * 16)
    assert not seen.add("000" + "0708090a0b0c0" + "0" * 16)
