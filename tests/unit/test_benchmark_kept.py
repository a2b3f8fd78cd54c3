"""Outcomes that outlive the run that asked for them."""

from __future__ import annotations

import pytest

from benchmark_factory import answer, make_spec
from recsys_spark.benchmark.kept import Failure, Kept
from recsys_spark.benchmark.launch import ContenderFailed, Measured
from recsys_spark.benchmark.spec import FitOrder, Spec

ABOUT = {"git.commit": "abc", "git.dirty": "false", "machine.cpu": "cpu", "version.numba": "1"}
SPEC = make_spec(fits=[FitOrder(max_iter=1), FitOrder(max_iter=2, judged=True)])


def never(spec: Spec) -> Measured:
    raise AssertionError(f"measured again: {spec.name}")


def test_the_same_is_measured_once(tmp_path):
    first = Kept(tmp_path / "a", ABOUT).ask(SPEC, answer)
    again = Kept(tmp_path / "a", ABOUT)
    assert again.ask(SPEC, never) == first
    assert again.reused == 1


@pytest.mark.parametrize(
    "change",
    [{"git.commit": "def"}, {"machine.cpu": "other"}, {"version.numba": "2"}, {"git.dirty": "true"}],
)
def test_another_commit_machine_or_version_is_another_measurement(tmp_path, change):
    Kept(tmp_path, ABOUT).ask(SPEC, answer)
    assert Kept(tmp_path, ABOUT | change).find(SPEC) is None


def test_another_order_is_another_measurement(tmp_path):
    kept = Kept(tmp_path, ABOUT)
    kept.ask(SPEC, answer)
    for update in ({"turn": "2"}, {"driver_memory": "2g"}, {"cores": 1}, {"data": "other version"}):
        assert kept.find(SPEC.model_copy(update=update)) is None


def test_what_is_damaged_is_measured_again(tmp_path, caplog):
    kept = Kept(tmp_path, ABOUT)
    kept.ask(SPEC, answer)
    (path,) = tmp_path.glob("*.json")
    path.write_text(path.read_text()[:-9])
    assert kept.find(SPEC) is None
    assert "damaged (JSONDecodeError): measured again" in caplog.text


def test_a_failure_is_kept_only_where_it_is_an_answer(tmp_path):
    def fail(spec: Spec) -> Measured:
        raise ContenderFailed("out of heap")

    kept = Kept(tmp_path, ABOUT)
    with pytest.raises(ContenderFailed):
        kept.ask(SPEC, fail)
    assert kept.find(SPEC) is None
    found = kept.ask(SPEC, fail, may_fail=True)
    assert isinstance(found, Failure)
    assert kept.ask(SPEC, never, may_fail=True) == found


def test_nothing_is_kept_after_forgetting(tmp_path):
    kept = Kept(tmp_path / "a", ABOUT)
    kept.ask(SPEC, answer)
    kept.forget()
    assert kept.find(SPEC) is None
