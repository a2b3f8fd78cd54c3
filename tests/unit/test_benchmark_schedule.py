"""Which processes a benchmark runs, with processes that only say what they were asked."""

from __future__ import annotations

import importlib.machinery
import logging
from pathlib import Path

import pytest

from benchmark_factory import answer
from recsys_spark.benchmark import job, schedule
from recsys_spark.benchmark.choices import choose_reg
from recsys_spark.benchmark.data import Prepared
from recsys_spark.benchmark.heap import middle, smallest, smallest_heaps
from recsys_spark.benchmark.job import measure_all
from recsys_spark.benchmark.kept import Kept
from recsys_spark.benchmark.launch import ContenderFailed, Measured
from recsys_spark.benchmark.notes import notes
from recsys_spark.benchmark.report import markdown
from recsys_spark.benchmark.results import record_of
from recsys_spark.benchmark.scaling import scale
from recsys_spark.benchmark.schedule import (
    Bench,
    Found,
    kept_folder,
    plan_of,
    planned,
    require_groups,
    require_packages,
)
from recsys_spark.benchmark.spec import SparkChoice, Spec
from recsys_spark.benchmark.times import fit_times
from recsys_spark.cli import make_parser
from recsys_spark.config import BenchmarkSettings, Contender, Settings, load_settings
from recsys_spark.errors import ConfigError, EnvironmentProblem

ROOT = Path(__file__).resolve().parents[2]
PREPARED = Prepared("data", "features", {"train": 1, "validation": 1, "test": 1}, None)
ABOUT = {"git.commit": "abc", "git.dirty": "false"}
# Blocks and cache: seconds to build, seconds of an iteration.
SECONDS = {(2, False): (9.0, 3.0), (2, True): (12.0, 1.0), (4, False): (10.0, 3.5), (4, True): (13.0, 4.0)}
OURS, SPARK, CENTRED, FACTORS = "blockals_features", "pyspark", "pyspark_centred", "blockals_factors"


def settings(*overrides: str) -> Settings:
    quick = [
        "benchmark.contenders=[blockals_factors, blockals_features, pyspark, pyspark_centred]",
        "benchmark.blocks=[2, 4]",
        "benchmark.regs=[0.05, 0.1]",
        "benchmark.repeats=2",
        "benchmark.rank=6",
        "benchmark.cores=3",
    ]
    return load_settings([], [*quick, *overrides], {})


class Asked(list[Spec]):
    """Every order, in turn; heaps below `needs` MiB are too small."""

    needs = 0

    def measure(self, spec: Spec, *, interval: float, kernels: str, timeout: float | None) -> Measured:
        self.append(spec)
        if spec.driver_memory.endswith("m") and int(spec.driver_memory[:-1]) < self.needs:
            raise ContenderFailed("out of heap")
        if spec.plan.kind != "pyspark":
            return answer(spec)
        build, iteration = SECONDS[spec.plan.spark.blocks, spec.plan.spark.cache]
        return answer(spec, build=build, iteration=iteration, rmse=0.9)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    orders = Asked()
    monkeypatch.setattr(schedule, "measure", orders.measure)
    return orders


def bench(folder: Path, chosen: Settings) -> Bench:
    return Bench(chosen, chosen.benchmark, PREPARED, Kept(folder, ABOUT))


def compared(folder: Path, chosen: Settings) -> Found:
    return measure_all(bench(folder, chosen), chosen.benchmark)


def test_settings_are_chosen_before_contenders_are_measured_in_turns(asked, tmp_path):
    found = compared(tmp_path, settings())
    tried = [(spec.plan.spark.blocks, spec.plan.spark.cache) for spec in asked[:3]]
    assert tried == [(2, False), (4, False), (2, True)]  # caching with the best number of blocks alone
    assert found.choice == SparkChoice(blocks=2, cache=True)  # 12 + 10 · 1 beats 9 + 10 · 3
    assert [(trial.reg, trial.build, trial.fit) for trial in found.trials] == [
        (0.05, 9, 39),
        (0.1, 10, 45),
        (0.05, 12, 22),
    ]
    assert {spec.plan.spark for spec in asked[3:]} == {found.choice}
    names = [spec.name for spec in asked[3:]]
    assert names[0] == CENTRED  # λs; those of pyspark were tried with its blocks
    assert names[1:3] == [OURS, FACTORS]  # compiling
    assert names[3:] == [FACTORS, OURS, SPARK, CENTRED, OURS, SPARK]
    assert {name: len(runs) for name, runs in found.runs.items()} == {FACTORS: 1, OURS: 2, SPARK: 2, CENTRED: 1}
    assert len(asked) == planned(settings().benchmark)


def test_the_best_λ_is_measured_and_lent_to_who_asks_for_it(asked, tmp_path):
    found = compared(tmp_path, settings())
    assert found.best == {SPARK: 0.1, CENTRED: 0.1, FACTORS: 0.1}
    assert found.regs[SPARK].keys() == {0.05, 0.1}
    assert found.regs[SPARK][0.1] < found.regs[SPARK][0.05]
    by_name = {spec.name: spec.plan for spec in asked[-6:]}
    assert by_name[FACTORS].reg == by_name[SPARK].reg == 0.1
    assert by_name[FACTORS].train.user.reg_mode == "weighted"
    assert by_name[OURS].reg is None


def test_each_process_is_asked_for_the_right_fits(asked, tmp_path):
    compared(tmp_path, settings("benchmark.iterations=7", "benchmark.max_iter=4", "benchmark.curve=[1, 3, 8]"))
    for spec in asked[-6:]:
        points = [1, 3, 4] if spec.plan.kind == "pyspark" and spec.turn == "1" else [4]
        assert [o.max_iter for o in spec.fits] == [0, 0, 1, 8, 0, *([3] if 3 in points else []), 4]
        assert [o.source for o in spec.fits].index("derived") == 4
        assert [o.max_iter for o in spec.fits if o.judged] == points
        assert [o.served for o in spec.fits] == [False] * (len(spec.fits) - 1) + [True]
    assert [(o.max_iter, o.judged) for o in asked[0].fits] == [(0, False), (4, True)]


def test_a_whole_fit_that_is_long_enough_tells_what_an_iteration_takes(asked, tmp_path):
    found = compared(tmp_path, settings("benchmark.max_iter=6"))
    (run, _) = found.runs[SPARK]
    assert [o.max_iter for o in run.spec.fits] == [0, 0, 1, 0, 2, 3, 5, 6]
    assert fit_times(run.outcome)["iteration"] == pytest.approx(1.0)


def test_λs_are_sought_downhill(asked, tmp_path):
    regs = (0.4, 0.02, 0.1, 0.2, 0.3)
    chosen = settings(f"benchmark.regs={list(regs)}", "benchmark.blocks=[2]", "benchmark.cache=[false]")
    for begun, wanted in ((None, [(0.1, 0.2, 0.3), (0.02,)]), (0.4, [(0.3, 0.4), (0.2,), (0.1,), (0.02,)])):
        measuring, found = bench(tmp_path / str(begun), chosen), Found()
        if begun is not None:
            measuring.best[SPARK] = begun
        asked.clear()
        choose_reg(measuring, found, CENTRED, chosen.benchmark.known[CENTRED])
        assert [tuple(order.reg for order in spec.fits) for spec in asked] == wanted
        assert found.best[CENTRED] == measuring.best[CENTRED] == 0.1


def test_the_same_terms_for_all(asked, tmp_path):
    compared(tmp_path, settings("benchmark.driver_memory=5g", 'benchmark.conf={"spark.x": "y"}'))
    terms = {(s.plan.train.rank, s.cores, s.driver_memory, s.data, s.conf["spark.x"]) for s in asked}
    assert terms == {(6, 3, "5g", "data", "y")}


def test_one_setting_needs_no_sweep(asked, tmp_path):
    chosen = settings("benchmark.blocks=[4]", "benchmark.cache=[false]", "benchmark.regs=[0.3]", "benchmark.repeats=1")
    found = compared(tmp_path, chosen)
    assert found.trials == []
    assert found.regs == {}
    assert len(asked) == 2 + 4
    assert asked[-1].plan.reg == 0.3


def test_a_run_that_was_cut_short_goes_on_where_it_was(asked, tmp_path, monkeypatch, caplog):
    def cut(spec: Spec, **rest: object) -> Measured:
        if len(asked) == 7:
            raise KeyboardInterrupt
        return asked.measure(spec, **rest)

    with monkeypatch.context() as patch:
        patch.setattr(schedule, "measure", cut)
        with pytest.raises(KeyboardInterrupt):
            compared(tmp_path, settings())
    (tmp_path / "kernels").mkdir()
    with caplog.at_level(logging.INFO):
        found = compared(tmp_path, settings())
    assert len(asked) == planned(settings().benchmark) == 12
    assert (tmp_path / "kernels").is_dir()  # compiled already
    assert len(found.runs[SPARK]) == 2
    assert "11 of 12: blockals_features, repeat 2; 2 left, about 1 min" in caplog.text
    assert caplog.text.count("measured before") == 7


def test_cold_is_cold(asked, tmp_path):
    (tmp_path / "kernels").mkdir()
    compared(tmp_path, settings())
    assert not (tmp_path / "kernels").exists()


def test_the_smallest_heap_is_sought_by_halving(asked, tmp_path):
    asked.needs = 1000
    found, chosen = Found(), settings("benchmark.heap_steps=6", "benchmark.contenders=[blockals_features]")
    smallest_heaps(bench(tmp_path, chosen), found)
    tried = found.heaps[OURS]
    assert tried[0][:2] == (4096, True)
    assert 1000 <= smallest(tried) < 1100
    assert all(completed == (heap >= 1000) for heap, completed, _ in tried)
    assert middle(450, 4096) == 1360


def test_scaling_measures_a_point_that_lies_on_two_axes_once(asked, tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2})
    found = Found()
    chosen = settings(
        "benchmark.scaled=[pyspark]",
        "benchmark.shares=[1.0, 0.5]",
        "benchmark.ranks=[6, 12]",
        "benchmark.core_counts=[1, 3, 99]",
    )
    scale(bench(tmp_path, chosen), found)
    assert [(axis, at) for _, axis, at, _ in found.scaled][2:] == [
        ("rank", 6),
        ("rank", 12),
        ("cores", 1),
        ("cores", 3),
    ]
    assert [(s.share, s.plan.train.rank, s.cores) for s in asked] == [(0.5, 6, 3), (1, 6, 3), (1, 12, 3), (1, 6, 1)]
    assert {tuple(fit.max_iter for fit in s.fits) for s in asked} == {(2, 1, 6)}


def test_convergence_is_measured_without_relaxation_and_with_it(asked, tmp_path):
    chosen = settings("benchmark.sections=[convergence]")  # pyspark.ml.ALS's blocks are not tried for that
    found = measure_all(bench(tmp_path, chosen), chosen.benchmark)
    assert [relaxation for relaxation, _ in found.relaxed] == [1.0, chosen.train.relaxation]
    assert [s.plan.train.relaxation for s in asked] == [1.0, chosen.train.relaxation]
    assert all([order.max_iter for order in s.fits] == [chosen.benchmark.convergence] for s in asked)
    assert planned(chosen.benchmark) == 2


def test_weak_scaling_gives_every_executor_as_many_users(asked, tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3})
    chosen = settings("benchmark.sections=[weak]", "benchmark.executors=[1, 4, 8]")
    found = measure_all(bench(tmp_path, chosen), chosen.benchmark)
    assert [(s.plan.exchange, s.executors, s.cores, s.share) for s in asked] == [
        ("broadcast", 1, 1, 0.25),
        ("broadcast", 4, 1, 1.0),
        ("mixed", 1, 1, 0.25),
        ("mixed", 4, 1, 1.0),
        ("shuffle", 1, 1, 0.25),
        ("shuffle", 4, 1, 1.0),
    ]
    assert [(exchange, count) for exchange, count, _ in found.weak] == [(s.plan.exchange, s.executors) for s in asked]
    # The three that this machine has no cores for are spared when it comes to them.
    assert planned(chosen.benchmark) == 9


def test_sections_are_chosen(asked, tmp_path):
    chosen = settings("benchmark.sections=[scaling]", "benchmark.scaled=[pyspark]", "benchmark.core_counts=[1]")
    found = measure_all(bench(tmp_path, chosen), chosen.benchmark)
    assert found.runs == {}
    assert len(found.trials) == 3  # as good a pyspark.ml.ALS as in the comparison
    assert len(found.trials) + len(found.scaled) == planned(chosen.benchmark) == 12


def test_a_contender_s_plan():
    chosen = settings()
    known = chosen.benchmark.known
    biases = plan_of(chosen, chosen.benchmark, known["biases"])
    assert (biases.train.rank, biases.groups, biases.reg) == (0, (), None)
    graph = plan_of(chosen, chosen.benchmark, known["blockals_graph"])
    assert graph.graph is not None
    assert (graph.groups, graph.graph.top_k, graph.train.rank) == (None, 15, 6)
    wrong = known["biases"].model_copy(update={"set": {"train.rnk": 1}})
    with pytest.raises(ConfigError, match=r"train\.rnk"):
        plan_of(chosen, chosen.benchmark, wrong)


def test_settings_name_contenders_that_there_are():
    assert list(BenchmarkSettings(contenders=("all",)).chosen) == list(BenchmarkSettings().known)
    with pytest.raises(ConfigError, match=r"contenders: no contender spark; known: blockals_factors, .*implicit"):
        settings("benchmark.contenders=[spark]")
    with pytest.raises(ConfigError, match=r"baseline: no contender pysparc; known"):
        settings("benchmark.baseline=pysparc")
    with pytest.raises(ConfigError, match=r"scaled: cmfrec is measured on all users alone"):
        settings("benchmark.scaled=[pyspark, cmfrec]")
    with pytest.raises(ConfigError, match=r"regs and reg_of exclude one another"):
        settings("benchmark.models.blockals_factors.regs=[0.1]")


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    found = {"implicit": importlib.machinery.ModuleSpec("implicit", None), "cmfrec": None}
    monkeypatch.setattr(schedule.importlib.util, "find_spec", found.get)
    known = BenchmarkSettings().known
    require_packages({name: known[name] for name in ("implicit", "pyspark")})
    with pytest.raises(EnvironmentProblem, match=r"kind cmfrec need .*'recsys-spark\[benchmark\]'"):
        require_packages(known)


def test_a_contender_s_feature_groups_have_to_exist():
    known = BenchmarkSettings(
        models={"genres": Contender(groups=("genre", "mood")), **BenchmarkSettings().models}
    ).known
    require_groups({name: model for name, model in known.items() if name != "genres"}, {"genre"})
    with pytest.raises(
        ConfigError, match=r"models\.genres\.groups: no feature group mood; this data set has genre, year"
    ):
        require_groups(known, {"year", "genre"})


def test_outcomes_are_kept_beside_the_records_or_in_the_user_s_cache(tmp_path, monkeypatch):
    assert kept_folder(tmp_path, "demo") == tmp_path / "processes"
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert kept_folder(None, "demo") == Path("/cache/recsys_spark/benchmark/demo")


def test_the_page_on_the_benchmark_names_every_contender_and_all_that_is_unfair():
    page = (ROOT / "docs/benchmark.md").read_text(encoding="utf-8")
    assert [name for name in BenchmarkSettings().known if f"| `{name}`" not in page] == []
    kinds = ("blockals", "pyspark", "cmfrec", "implicit")
    told = notes({kind: {"kind": kind, "plan": {"graph": {}}} for kind in kinds})
    assert [note for note in told if f"- {note}\n" not in page] == []
    assert any("graph" in note for note in notes({"g": {"kind": "blockals", "plan": {"graph": {"top_k": 5}}}}))


def test_the_real_32m_has_three_models_beside_published_figures(asked, tmp_path):
    chosen = load_settings([ROOT / "conf/ml-32m.yaml"], ["benchmark.contenders=[biases, factors, genres]"], {})
    found = compared(tmp_path, chosen)
    plans = {name: runs[0].spec.plan for name, runs in found.runs.items()}
    assert {name: (plan.train.rank, plan.groups) for name, plan in plans.items()} == {
        "biases": (0, ()),
        "factors": (30, ()),
        "genres": (30, ("genre",)),
    }
    page = markdown(record_of(found, chosen.benchmark, PREPARED), {})
    assert "| iteration, s | 0.50 | 0.50 | 0.50 | 13.00 |" in page
    assert "on another machine and split" in page


def test_arguments_of_the_job_go_before_its_settings_and_are_checked():
    def options(*given: str) -> BenchmarkSettings:
        args = make_parser("benchmark", "", job.add_arguments).parse_args(given)
        return job.options_of(settings("benchmark.repeats=2"), args)

    found = options("--rank", "7", "--contenders", "pyspark, biases", "--heap")
    assert (found.rank, found.repeats, list(found.chosen), found.sections) == (7, 2, ["biases", "pyspark"], ("heap",))
    assert options().sections == ("compare", "curves")
    with pytest.raises(ConfigError, match=r"--rank: .* less than or equal to 512, found 513; --repeats: .*found 0"):
        options("--rank", "513", "--repeats", "0")
    with pytest.raises(ConfigError, match="contenders: no contender mahout; known: "):
        options("--contenders", "mahout")
