"""Arguments, settings files and the JSON line of jobs, without Spark."""

from __future__ import annotations

import json

import numpy as np
import pytest

from recsys_spark import cli
from recsys_spark.config import Settings
from recsys_spark.errors import ConfigError


def parse(*argv):
    return cli.make_parser("probe", "Probe.", lambda p: p.add_argument("--more", type=int)).parse_args(argv)


def test_options_beat_overrides_and_files(tmp_path):
    file = tmp_path / "a b.yaml"
    file.write_text("workdir: from_file\ndataset: from_file\ntrain: {rank: 3}\n")
    args = parse(
        "--config", str(file), "--set", "dataset=from_set", "--set", "train.seed=5", "--workdir", "given", "--more", "4"
    )
    settings = cli.settings_of(args)
    assert (settings.dataset, settings.workdir) == ("from_set", "given")
    assert (settings.train.rank, settings.train.seed, args.more) == (3, 5, 4)


def test_an_option_can_stand_for_a_setting():
    def add(parser):
        cli.setting_argument(parser, "--run-date", "score.run_date", "which day")
        cli.setting_argument(parser, "--publish-anyway", "score.gates.publish_anyway", "whatever it is", True)

    def parsed(*argv):
        return cli.make_parser("probe", "Probe.", add).parse_args(argv)

    settings = cli.settings_of(parsed("--set", "score.run_date=2026-01-01", "--run-date", "2026-11-20"))
    assert (str(settings.score.run_date), settings.score.gates.publish_anyway) == ("2026-11-20", False)
    assert cli.settings_of(parsed("--publish-anyway")).score.gates.publish_anyway
    with pytest.raises(ConfigError, match=r"score\.run_date: .*found 'soon' \(in --run-date\)"):
        cli.settings_of(parsed("--run-date", "soon"))


def test_without_arguments_the_defaults():
    assert cli.settings_of(parse()) == Settings()


@pytest.mark.parametrize("name", ["ml-latest-small", "ml-latest-small.yaml"])
def test_a_settings_file_is_found_by_its_name_in_conf(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert cli.find_config(name, cli.conf_dir()).name == "ml-latest-small.yaml"


def test_a_file_here_beats_one_in_conf(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "default.yaml").write_text("dataset: here\n")
    assert cli.settings_of(parse("--config", "default.yaml")).dataset == "here"


def test_a_missing_settings_file_lists_those_there_are():
    with pytest.raises(ConfigError, match=r"--config nowhere: no such file.*which has default\.yaml"):
        cli.settings_of(parse("--config", "nowhere"))
    with pytest.raises(ConfigError, match="which has none"):
        cli.find_config("nowhere", None)


def test_an_installed_package_without_conf_uses_the_models_defaults(monkeypatch):
    monkeypatch.setattr(cli, "conf_dir", lambda: None)
    assert cli.settings_of(parse("--set", "train.rank=4")).train.rank == 4


def test_abbreviated_options_are_refused(capsys):
    with pytest.raises(SystemExit) as caught:
        parse("--work", "x")
    assert caught.value.code == 2
    assert "unrecognized arguments: --work" in capsys.readouterr().err


def test_result_line_is_plain_json():
    metrics = {"rmse": np.float32(0.5), "rows": np.int64(3), "nan": float("nan"), "inf": np.float64("inf"), "n": 2}
    line = cli.result_line("x", cli.JobResult(metrics, {"path": "a/é b"}), 1.23456)
    assert "\n" not in line
    assert json.loads(line) == {
        "job": "x",
        "status": "ok",
        "metrics": {"rmse": 0.5, "rows": 3, "nan": None, "inf": None, "n": 2},
        "outputs": {"path": "a/é b"},
        "seconds": 1.235,
    }


def test_result_line_of_a_failure():
    found = json.loads(cli.result_line("x", cli.JobResult(), 0, 'no "file"\nhere'))
    assert (found["status"], found["error"]) == ("failed", 'no "file"\nhere')


def test_settings_are_checked_before_spark_is_needed(capsys, monkeypatch):
    monkeypatch.setattr("recsys_spark.session.build_session", lambda *_: pytest.fail("a session was opened"))
    code = cli.run_job("x", lambda *_: pytest.fail("the step ran"), description="X.", argv=["--set", "train.rnk=1"])
    out, err = capsys.readouterr()
    found = json.loads(out.splitlines()[-1])
    assert (code, found["status"]) == (1, "failed")
    assert "the nearest known one is train.rank" in found["error"]
    assert "the nearest known one is train.rank" in err
    assert "Traceback" not in err
