"""What all jobs share: arguments, settings, logging, the session, and the one JSON line at the end of stdout."""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys_spark.config import Settings, conf_dir, load_settings
from recsys_spark.errors import ConfigError, EnvironmentProblem, RecsysError
from recsys_spark.redact import RedactingFormatter, redact

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)

_INTERRUPTED = 130  # what shells report for a program that Ctrl-C ended


@dataclass(frozen=True)
class JobResult:
    """What a step reports: measures by name, paths or names of what it made, and a text for people, if it has one."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    summary: str = ""


Step = Callable[["SparkSession", Settings, argparse.Namespace], JobResult]


def run_job(
    name: str,
    step: Step,
    *,
    description: str,
    add_arguments: Callable[[argparse.ArgumentParser], None] | None = None,
    argv: Sequence[str] | None = None,
) -> int:
    """Run a step as a program: the body of every file in ``jobs/``.

    The last line on stdout is one JSON object: ``job``, ``status`` (ok or failed), ``metrics``, ``outputs``,
    ``seconds`` and, if it failed, ``error``. Logs and errors go to stderr. Neither shows a secret (`redact`).

    Parameters
    ----------
    step : gets the session, the settings and the parsed arguments
    add_arguments : adds the job's own arguments to the parser
    argv : arguments in place of the command line's

    Returns
    -------
    int
        Exit code: 0, 1 after a failure, 130 after an interrupt. (Wrong usage exits with 2, as argparse does.)
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("py4j").setLevel(logging.WARNING)
    args = make_parser(name, description, add_arguments).parse_args(argv)
    start = time.monotonic()
    error: str | None = None
    code, result = 0, JobResult()
    try:
        result = _run(name, step, args)
    except RecsysError as problem:
        code, error = 1, redact(str(problem))
        print(f"{name}: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        code, error = _INTERRUPTED, "interrupted"
        print(f"{name}: interrupted", file=sys.stderr)
    except Exception as failure:  # the boundary of the program: whatever it is, the JSON line must say so
        code, error = 1, redact(f"{type(failure).__name__}: {failure}").split("\n\tat ")[0]  # without Java's stack
        print(redact(traceback.format_exc()), file=sys.stderr, end="")
    sys.stderr.flush()
    if result.summary:
        print(redact(result.summary))
    print(result_line(name, result, time.monotonic() - start, error), flush=True)
    return code


def make_parser(
    name: str, description: str, add_arguments: Callable[[argparse.ArgumentParser], None] | None = None
) -> argparse.ArgumentParser:
    """The arguments that all jobs have, and the job's own."""
    program = f"spark-submit.sh jobs/{name}.py"
    parser = argparse.ArgumentParser(prog=program, description=description, allow_abbrev=False)
    parser.add_argument("--dataset", help="demo, 1m, a MovieLens folder or zip, or a release's name")
    parser.add_argument("--workdir", help="root of the lake: path or URI")
    parser.add_argument(
        "--config", action="append", default=[], metavar="YAML", help="settings file, or its name in conf/; repeatable"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="one setting, such as train.rank=20; repeatable"
    )
    if add_arguments is not None:
        add_arguments(parser)
    return parser


def setting_argument(parser: argparse.ArgumentParser, flag: str, key: str, meaning: str, value: Any = None) -> None:
    """Add an option that stands for a setting: ``--run-date D`` is ``--set score.run_date=D``.

    Parameters
    ----------
    value : what a flag that takes no argument stands for
    """
    store: dict[str, Any] = {} if value is None else {"action": "store_const", "const": value}
    parser.add_argument(flag, dest=key, help=f"{meaning} ({key})", **store)


def settings_of(args: argparse.Namespace) -> Settings:
    """Settings from the parsed arguments: ``conf/default.yaml`` if there is one, ``--config``, ``--set``, the options.

    Raises
    ------
    ConfigError
        A file that cannot be found, or any problem that :func:`recsys_spark.config.load_settings` reports.
    """
    folder = conf_dir()
    files = [folder / "default.yaml"] if folder else []
    files += [find_config(name, folder) for name in args.config]
    given = {key: value for key, value in vars(args).items() if key in ("dataset", "workdir") or "." in key}
    options = {key: value for key, value in given.items() if value is not None}
    return load_settings(files, args.set, options)


def find_config(name: str, folder: Path | None) -> Path:
    """A settings file by its path, or by its name in `folder`, with or without ``.yaml``.

    Raises
    ------
    ConfigError
        There is none; the message lists those in `folder`.
    """
    given = Path(name)
    candidates = [given]
    if folder is not None and not given.is_absolute():
        candidates += [folder / name, folder / f"{name}.yaml"]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    known = ", ".join(sorted(file.name for file in folder.glob("*.yaml"))) if folder else "none"
    raise ConfigError(f"--config {name}: no such file, here or in conf/ (which has {known})")


def result_line(name: str, result: JobResult, seconds: float, error: str | None = None) -> str:
    """The job's JSON line; values that JSON lacks (NaN, infinities) become null."""
    line: dict[str, Any] = {
        "job": name,
        "status": "ok" if error is None else "failed",
        "metrics": {key: _plain(value) for key, value in result.metrics.items()},
        "outputs": {key: redact(str(value)) for key, value in result.outputs.items()},
        "seconds": round(seconds, 3),
    }
    if error is not None:
        line["error"] = error
    return json.dumps(line, ensure_ascii=False, allow_nan=False)


def _run(name: str, step: Step, args: argparse.Namespace) -> JobResult:
    settings = settings_of(args)  # before Spark is loaded: a mistyped key should not cost seconds
    from py4j.protocol import Py4JJavaError
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    from recsys_spark import lake
    from recsys_spark.session import build_session, check_executors, explain_worker_failure, stop_session

    borrowed = SparkSession.getActiveSession() is not None
    spark = None
    try:
        spark = build_session(f"recsys_spark {name}")
        check_executors(spark)
        lake.check_place(spark, settings.workdir)
        return step(spark, settings, args)
    except (Py4JJavaError, PySparkException, OSError) as failure:
        if problem := explain_worker_failure(str(failure)):
            raise EnvironmentProblem(problem) from failure
        raise
    finally:
        if spark is not None and not borrowed:
            stop_session(spark)


def _plain(value: Any) -> Any:
    """A number as Python's own, or None where JSON has no such number."""
    number = value.item() if hasattr(value, "item") else value
    return None if isinstance(number, float) and not math.isfinite(number) else number
