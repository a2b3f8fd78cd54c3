"""The tree of settings, its YAML, and what is said about settings that cannot be used."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
import yaml

from recsys_spark.als.settings import AlsSettings
from recsys_spark.config import GroupSpec, Settings, conf_dir, dataset_slug, load_settings, step_root
from recsys_spark.config.__main__ import default_yaml
from recsys_spark.config.load import known_keys
from recsys_spark.errors import ConfigError

CONF = Path(__file__).resolve().parents[2] / "conf"


def test_default_yaml_is_what_the_models_say():
    assert (CONF / "default.yaml").read_text(encoding="utf-8") == default_yaml(), (
        "renew it: python -m recsys_spark.config > conf/default.yaml"
    )


def test_default_yaml_reads_back_as_the_defaults():
    assert Settings.model_validate(yaml.safe_load(default_yaml())) == Settings() == load_settings()


def test_every_setting_has_a_description():
    def undescribed(model, prefix=""):
        for name, info in model.model_fields.items():
            inner = info.annotation
            if isinstance(inner, type) and hasattr(inner, "model_fields"):
                yield from undescribed(inner, f"{prefix}{name}.")
            elif not info.description:
                yield prefix + name

    assert [*undescribed(Settings), *undescribed(GroupSpec, "group.")] == []


@pytest.mark.parametrize("file", sorted(CONF.glob("*.yaml")), ids=lambda file: file.name)
def test_every_file_in_conf_loads(file):
    load_settings([CONF / "default.yaml", file])


def test_later_layers_win(tmp_path):
    first, second = tmp_path / "1.yaml", tmp_path / "2.yaml"
    first.write_text("train: {rank: 3, seed: 4, item: {reg: 1}}\nscore: {n: 7}\n")
    second.write_text("train: {rank: 5, item: {reg_bias: 2}}\n")
    settings = load_settings([first, second], ["train.seed=9", "split.kind=time_cut"], {"workdir": "a: b"})
    train = settings.train
    assert (train.rank, train.seed, train.item.reg, train.item.reg_bias) == (5, 9, 1.0, 2.0)
    assert (settings.score.n, settings.split.kind, settings.workdir) == (7, "time_cut", "a: b")
    assert settings.train.user == Settings().train.user


def test_what_is_not_said_of_items_is_the_default_of_items() -> None:
    own = AlsSettings().item
    assert own != AlsSettings().user
    assert load_settings([], ["train.item.reg_bias=1"], {}).train.item == own.model_copy(update={"reg_bias": 1.0})
    assert load_settings([], ["train.item.reg=1"], {}).train.item.reg_per_rating == own.reg_per_rating > 0


def test_override_values_are_yaml():
    settings = load_settings(
        [],
        [
            "split.cut=2018-03-04",
            "train.clip=[0.5, 5]",
            "train.stop.tol=1e-5",
            "generate.out=null",
            "features.user=[{name: job, column: occupation, kind: one_hot}]",
            "train.item.reg_groups={genre: 2}",
            "dataset=1",
            "tracking.uri=http://host:5000/?a=b",
        ],
    )
    assert settings.split.cut == date(2018, 3, 4)
    assert settings.train.clip == (0.5, 5.0)
    assert settings.train.stop.tol == 1e-5
    assert settings.generate.out is None
    assert settings.features.user == (GroupSpec(name="job", column="occupation", kind="one_hot"),)
    assert settings.train.item.reg_groups == {"genre": 2.0}
    assert settings.dataset == "1"
    assert settings.tracking.uri == "http://host:5000/?a=b"


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Settings().dataset = "other"


@pytest.mark.parametrize(
    ("unknown", "near"),
    [
        ("train.rnk=3", "train.rank"),
        ("rank=3", "train.rank"),
        ("trian.rank=3", "train.rank"),
        ("train.items.reg_bias=3", "train.item.reg_bias"),
        ("features.usr=auto", "features.user"),
        ("work_dir=x", "workdir"),
        ("train.stop.tolerance=1", "train.stop.tol"),
    ],
)
def test_an_unknown_key_names_itself_its_origin_and_the_nearest_known_one(unknown, near):
    key = unknown.split("=")[0]
    with pytest.raises(ConfigError) as caught:
        load_settings([], [unknown])
    assert f"{key}: unknown setting (in --set {unknown}); the nearest known one is {near}" in str(caught.value)


def test_an_unknown_key_of_a_feature_group_is_found_in_its_list():
    with pytest.raises(ConfigError, match=r"features\.item\.0\.colum: .*nearest known one is features\.item\.column"):
        load_settings([], ["features.item=[{name: a, colum: b, column: c, kind: one_hot}]"])


def test_all_problems_are_reported_at_once_with_their_origin(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("train:\n  rank: many\n  raink: 3\nscore: {n: 0}\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(
            [file, tmp_path / "missing.yaml"], ["split.folds=1", "nonsense", "train.seed=[", "blocks.users=x"]
        )
    message = str(caught.value)
    for line in (
        f"train.rank: Input should be a valid integer, unable to parse string as an integer, found 'many' (in {file})",
        f"train.raink: unknown setting (in {file}); the nearest known one is train.rank",
        f"score.n: Input should be greater than or equal to 1, found 0 (in {file})",
        f"cannot read {tmp_path / 'missing.yaml'}",
        "split.folds: Input should be greater than or equal to 2, found 1 (in --set split.folds=1)",
        "--set nonsense: expected key=value",
        "--set train.seed=[: the value is not YAML",
        "blocks.users: Input should be a valid integer",
    ):
        assert line in message, message
    assert message.count("\n  - ") == 8


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("split.test_fold=10", "split: test_fold must be below 10 for kind kfold, found 10"),
        ("split={kind: latest_n, test_fold: 1}", "test_fold must be below 1 for kind latest_n"),
        ("split.name=a/b", "split.name: String should match pattern"),
        ("ingest.scale=[5, 1]", r"ingest: scale must be [low, high] with low < high, found [5.0, 1.0]"),
        ("evaluate.bins=[1, 2]", "evaluate: bins must start at 0 and increase, found [1, 2]"),
        ("evaluate.bins=[0, 3, 3]", "bins must start at 0 and increase"),
        ("evaluate.bins=[]", "bins must start at 0 and increase"),
        ("features.item=[{name: a, column: b, kind: bins}]", "group 'a': width goes with kind bins"),
        ("features.item=[{name: a, column: b, kind: one_hot, width: 2}]", "and bins with a width"),
        (
            "features.user=[{name: a, column: b, kind: one_hot}, {name: a, column: c, kind: one_hot}]",
            "two groups of user features have one name, found ['a', 'a']",
        ),
        ("features.user=none", "features.user: Input should be 'auto', found 'none'"),
        ("train.clip=[5, 1]", "clip must be (low, high) with low < high"),
        ("train.item.reg_groups={genre: x}", "train.item.reg_groups.genre: Input should be a valid number"),
        ("generate.preset=2m", "generate.preset: Input should be 'demo', '1m', '32m' or '320m', found '2m'"),
        ("train=3", "train: Input should be a valid dictionary"),
        ("score.run_date=yesterday", "score.run_date: must be a date such as 2026-11-20, found 'yesterday'"),
        ("dataset=''", "dataset: String should have at least 1 character"),
    ],
)
def test_values_out_of_range_are_refused_in_words(override, words):
    with pytest.raises(ConfigError) as caught:
        load_settings([], [override])
    assert words in str(caught.value)
    assert f"(in --set {override})" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("- a\n- b\n", "must hold a mapping of settings, found a list"),
        ("train: {rank: 3", "cannot read"),
        (b"train: \xff\xfe", "cannot read"),
    ],
)
def test_files_that_are_no_settings_are_refused(tmp_path, content, words):
    file = tmp_path / "bad.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=words):
        load_settings([file])


def test_a_bad_value_is_blamed_on_the_layer_that_set_it_last(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("train: {rank: -1, item: {reg: -1}}\n")
    with pytest.raises(ConfigError) as caught:
        load_settings([file], ["train.rank=-2"])
    assert "found -2 (in --set train.rank=-2)" in str(caught.value)
    assert f"found -1 (in {file})" in str(caught.value)


def test_an_empty_file_changes_nothing(tmp_path):
    file = tmp_path / "empty.yaml"
    file.write_text("# nothing yet\n")
    assert load_settings([file]) == Settings()


def test_known_keys_name_leaves_and_groups():
    keys = set(known_keys())
    assert {"dataset", "train.item.reg", "features.user", "features.item.kind", "evaluate.pyspark.rank"} <= keys
    assert "train" not in keys


@pytest.mark.parametrize(
    ("dataset", "slug"),
    [
        ("demo", "demo"),
        ("1m", "1m"),
        ("ml-32m", "ml-32m"),
        ("/data/ml-latest-small/", "ml-latest-small"),
        ("../My data/ml-32m.zip", "ml-32m"),
        ("s3a://bucket/x/my ratings", "my-ratings"),
        ("C:\\data\\ml-1m", "ml-1m"),
        ("/", "data"),
        ("..", "data"),
    ],
)
def test_dataset_slug(dataset, slug):
    assert dataset_slug(dataset) == slug


def test_step_root():
    settings = Settings(dataset="/data/ml-1m.zip", workdir="hdfs://n/lake/")
    assert step_root(settings, "ratings") == "hdfs://n/lake/ml-1m/ratings"


def test_conf_dir_is_the_projects():
    assert conf_dir() == CONF


@pytest.mark.parametrize(
    ("given", "moment"),
    [
        ("2026-11-19", "2026-11-19T00:00:00+00:00"),
        ("2026-11-19T03:00:00", "2026-11-19T03:00:00+00:00"),
        ("2026-11-19T03:00:00+02:00", "2026-11-19T03:00:00+02:00"),
    ],
)
def test_a_moment_without_a_zone_is_utc(given, moment):
    since = Settings(score={"since": given}).score.since
    assert since is not None
    assert since.isoformat() == moment
    assert Settings(score={"since": "last"}).score.since == "last"
