"""Counter-based random numbers: known values, independence of shape and order, and the right distributions."""

from __future__ import annotations

import numpy as np

from recsys_spark.generate.hashing import Stream, chain, to_uniform


def test_splitmix64_has_its_published_first_outputs() -> None:
    zero = np.zeros(1, np.uint64)
    assert [hex(int(chain(zero, n)[0])) for n in (1, 2, 3)] == [
        "0xe220a8397b1dcdaf",
        "0x6e789e6aa1b965f4",
        "0x6c45d188009454f",
    ]


def test_a_number_depends_on_its_ids_alone() -> None:
    stream = Stream(7, "test")
    user, item = np.arange(50), np.arange(100, 150)
    whole = stream.uniform(user, item)
    one_by_one = [stream.uniform(u, i)[0] for u, i in zip(user, item, strict=True)]
    np.testing.assert_array_equal(whole, one_by_one)
    np.testing.assert_array_equal(stream.uniform(user[:, None], item[None, :]).diagonal(), whole)
    np.testing.assert_array_equal(stream.uniform(user.astype(np.int32), item.astype(np.uint16)), whole)


def test_seed_name_and_order_of_ids_all_matter() -> None:
    base = Stream(7, "test").bits(3, 4)[0]
    others = [Stream(8, "test").bits(3, 4), Stream(7, "toast").bits(3, 4), Stream(7, "test").bits(4, 3)]
    assert base not in [other[0] for other in others]


def test_uniform_never_reaches_its_ends() -> None:
    ends = to_uniform(np.array([0, 2**64 - 1], np.uint64))
    assert 0 < ends[0] < 1e-15
    assert 1 - 1e-15 < ends[1] < 1


def test_uniform_and_normal_have_their_moments_and_ids_do_not_correlate() -> None:
    ids = np.arange(200_000)
    u, z = Stream(1, "a").uniform(ids), Stream(1, "a").normal(ids)
    assert abs(u.mean() - 0.5) < 0.003
    assert abs(u.var() - 1 / 12) < 0.001
    assert abs(z.mean()) < 0.01
    assert abs(z.std() - 1) < 0.01
    for other in (Stream(1, "b").uniform(ids), Stream(1, "a").uniform(ids, 0), np.roll(u, 1)):
        assert abs(np.corrcoef(u, other)[0, 1]) < 0.01
