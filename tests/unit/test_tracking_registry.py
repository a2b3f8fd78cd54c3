"""The registry in a temporary SQLite store: champions, promotions, rollbacks, and models brought back as data."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys_spark.als.model_io import save_model
from recsys_spark.config import Settings
from recsys_spark.errors import ConfigError, DataError, EnvironmentProblem, NotPublishedError, RefusedError
from recsys_spark.tracking.run import fetch_model, open_registry, track
from tests.model_factory import random_model

mlflow = pytest.importorskip("mlflow", reason="the extra 'tracking' is not installed")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A store, made once: creating its tables takes seconds."""
    folder = tmp_path_factory.mktemp("registry")
    return Settings(dataset="tiny", tracking={"uri": f"sqlite:///{folder}/mlflow.db", "experiment": "tests"})


def versions(settings: Settings, name: str, n: int) -> None:
    client = mlflow.MlflowClient(tracking_uri=settings.tracking.uri)
    client.create_registered_model(name)
    for _ in range(n):
        client.create_model_version(name, source="file:///nowhere")


def champion_of(settings: Settings, name: str) -> str | None:
    found = open_registry(settings, name).champion()
    return found.number if found else None


def test_champions_are_promoted_and_rolled_back_one_by_one(settings: Settings) -> None:
    versions(settings, "films", 3)
    registry = open_registry(settings, "films")
    assert registry.champion() is None
    registry.promote("1", None)
    for number in ("2", "3"):
        registry.promote(number, registry.champion())
    assert champion_of(settings, "films") == "3"
    was, now = registry.roll_back("complaints")
    assert (was.number, now.number, champion_of(settings, "films")) == ("3", "2", "2")
    registry.roll_back()
    assert champion_of(settings, "films") == "1"
    with pytest.raises(RefusedError, match="version 1 of 'films' is the first champion: there is none to roll back to"):
        registry.roll_back()
    third = registry.version("3")
    assert third is not None
    assert third.decided
    assert third.tags["decision"] == "rolled back"
    assert third.tags["rolled_back"].endswith(" UTC to version 2: complaints")
    text = mlflow.MlflowClient(tracking_uri=settings.tracking.uri).get_model_version("films", "3").description
    assert text == f"Rolled back {third.tags['rolled_back']}."


def test_a_champion_that_somebody_else_has_changed_is_left_alone(settings: Settings) -> None:
    versions(settings, "changed", 3)
    registry = open_registry(settings, "changed")
    registry.promote("1", None)
    known = registry.champion()
    registry.promote("2", known)
    with pytest.raises(RefusedError, match="judged beside version 1, and now the champion is version 2; run jobs/ret"):
        registry.promote("3", known)
    assert champion_of(settings, "changed") == "2"


def test_nothing_to_roll_back(settings: Settings) -> None:
    with pytest.raises(NotPublishedError, match="the model 'nobody' in sqlite:.* has no champion to roll back"):
        open_registry(settings, "nobody").roll_back()
    versions(settings, "gone", 2)
    registry = open_registry(settings, "gone")
    registry.promote("1", None)
    registry.promote("2", registry.champion())
    mlflow.MlflowClient(tracking_uri=settings.tracking.uri).delete_model_version("gone", "1")
    with pytest.raises(NotPublishedError, match="version 1 of 'gone', the champion before 2, is gone: set the alias"):
        registry.roll_back()
    assert champion_of(settings, "gone") == "2"


def test_the_newest_version_with_a_tag(settings: Settings) -> None:
    versions(settings, "tagged", 3)
    registry = open_registry(settings, "tagged")
    for number in ("1", "2"):
        registry.note(number, {"recipe": "a"}, "what it is")
    found = registry.find("recipe", "a")
    assert found is not None
    assert found.number == "2"
    assert registry.find("recipe", "b") is None
    assert open_registry(settings, "nobody").find("recipe", "a") is None


def test_a_registered_model_comes_back_as_data(settings: Settings, tmp_path: Path) -> None:
    save_model(random_model(), tmp_path / "saved")
    named = settings.tracking.model_copy(update={"register_as": "served"})
    with track(settings.model_copy(update={"tracking": named}), "train") as tracker:
        tracker.log_model(tmp_path / "saved")
    assert tracker.version == "1"
    open_registry(settings, "served").promote("1", None)
    for uri, alias in (("models:/served@champion", {"alias": "champion"}), ("models:/served/1", {})):
        model, facts = fetch_model(settings, uri)
        assert model.fingerprint() == random_model().fingerprint()
        assert facts == {"uri": uri, "name": "served", "version": "1", "run_id": tracker.run_id, **alias}


def test_models_that_are_not_there_or_not_ours(settings: Settings, tmp_path: Path) -> None:
    for uri in ("models:/served@nobody", "models:/none@champion", "models:/none/7"):
        with pytest.raises(NotPublishedError, match=rf"no model {uri} in sqlite:.*; run jobs/retrain\.py first"):
            fetch_model(settings, uri)
    for uri in ("models:/served", "models:/a/b/c", "models:/@champion"):
        with pytest.raises(ConfigError, match=r"is no registered model: write models:/NAME@ALIAS or models:/NAME/VERS"):
            fetch_model(settings, uri)
    client = mlflow.MlflowClient(tracking_uri=settings.tracking.uri)
    for name, loader, data in (("theirs", "their.loader", "x"), ("outside", "recsys_spark.tracking.pyfunc", "../x")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "MLmodel").write_text(
            f"flavors: {{python_function: {{loader_module: {loader}, data: {data}}}}}\n", encoding="utf-8"
        )
        client.create_registered_model(name)
        client.create_model_version(name, source=folder.as_uri())
        with pytest.raises(
            DataError,
            match=rf"models:/{name}/1 is no model of recsys_spark: its loader is '{loader}', its data '{data}'",
        ):
            fetch_model(settings, f"models:/{name}/1")


def test_without_tracking_or_a_store_there_is_no_registry(settings: Settings) -> None:
    off = settings.model_copy(update={"tracking": settings.tracking.model_copy(update={"enabled": False})})
    with pytest.raises(ConfigError, match="the registered model 'x' lies in MLflow's registry, and tracking is off"):
        open_registry(off, "x")
    with pytest.raises(ConfigError, match="models:/x@champion lies in MLflow's registry, and tracking is off"):
        fetch_model(off, "models:/x@champion")
    away = settings.model_copy(update={"tracking": settings.tracking.model_copy(update={"uri": "http://127.0.0.1:9"})})
    with pytest.raises(EnvironmentProblem, match=r"cannot use the MLflow store http://127\.0\.0\.1:9"):
        open_registry(away, "x")


def test_a_store_that_goes_away_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = open_registry(settings, "films")

    def locked(*_: object, **__: object) -> None:
        raise OSError("database is locked")

    for call in ("get_model_version_by_alias", "search_model_versions", "set_model_version_tag"):
        monkeypatch.setattr(registry._client, call, locked)
    for ask in (registry.champion, lambda: registry.find("a", "b"), lambda: registry.note("1", {"a": "b"})):
        with pytest.raises(EnvironmentProblem, match=r"cannot use the MLflow store sqlite:.*: database is locked"):
            ask()
