"""Nothing that is read is run: no pickle, no evaluation, no shell, in the sources and with files made to do harm."""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_spark.als.model_io import load_model, save_model
from recsys_spark.blocks.layout import Block
from recsys_spark.blocks.wire import unpack
from recsys_spark.config import load_settings
from recsys_spark.errors import ConfigError, DataError
from tests.model_factory import random_model

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for folder in ("recsys_spark", "jobs", "conf") for path in (ROOT / folder).rglob("*.py"))

BUILTINS = {"eval", "exec", "compile", "__import__", "input"}
METHODS = {
    *("read_pickle", "to_pickle", "pickleFile", "saveAsPickleFile", "objectFile", "saveAsObjectFile"),
    *("unsafe_load", "full_load", "load_all", "unsafe_load_all", "system", "popen", "mktemp", "extractall"),
    *("_create_unverified_context", "deserialize_pandas", "read_msgpack"),
}
MODULE_METHODS = {("yaml", "load"), ("np", "load"), ("numpy", "load"), ("np", "save"), ("np", "savez")}
KEYWORDS = {"allow_pickle": True, "shell": True, "verify": False}


def dangers(source: str) -> Iterator[str]:
    """Calls that evaluate, unpickle or go to a shell, in a source."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Name) and called.id in BUILTINS:
            yield called.id
        if isinstance(called, ast.Attribute):
            owner = called.value.id if isinstance(called.value, ast.Name) else ""
            if called.attr in METHODS or (owner, called.attr) in MODULE_METHODS:
                yield called.attr
        for keyword in node.keywords:
            given = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
            if keyword.arg in KEYWORDS and given is KEYWORDS[keyword.arg]:
                yield str(keyword.arg)


@pytest.mark.parametrize(
    "source",
    ["eval('1')", "exec(text)", "np.load(f)", "yaml.load(f)", "pd.read_pickle(f)", "sc.pickleFile(p)", "z.extractall()",
     "subprocess.run(c, shell=True)", "f(allow_pickle=True)", "os.system(c)", "get(url, verify=False)"],
)  # fmt: skip
def test_what_is_looked_for_is_found(source: str) -> None:
    assert list(dangers(source))


def test_the_sources_do_none_of_it() -> None:
    assert len(SOURCES) > 150
    found = {path.relative_to(ROOT).as_posix(): list(dangers(path.read_text(encoding="utf-8"))) for path in SOURCES}
    assert {name: calls for name, calls in found.items() if calls} == {}


class Harm:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def harm(tmp_path: Path) -> Iterator[bytes]:
    """A pickle that leaves a mark when it is read, and after the test no mark."""
    mark = tmp_path / "mark"
    payload = pickle.dumps(Harm(mark))
    pickle.loads(payload)
    mark.rmdir()  # it works
    yield payload
    assert not mark.exists(), "a file was unpickled"


def extended(kind: pa.DataType, payload: bytes) -> pa.Field:
    """A field of the extension type that pyarrow before 14.0.1 unpickled (CVE-2023-47248)."""
    mark = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": payload}
    return pa.field("id", kind, metadata=mark)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_table_of_a_model_that_holds_a_pickle_is_only_a_table(tmp_path: Path, harm: bytes) -> None:
    save_model(random_model(), tmp_path / "m")
    path = tmp_path / "m" / "userFactors.parquet"
    table = pq.read_table(path)
    schema = table.schema.set(0, extended(table.schema.field(0).type, harm))
    pq.write_table(table.cast(schema), path)
    assert b"arrow.py_extension_type" in base64.b64decode(pq.ParquetFile(path).metadata.metadata[b"ARROW:schema"])
    with contextlib.suppress(DataError):  # as this version of pyarrow has it: an unknown type, or none
        load_model(tmp_path / "m")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", ["model.json", "history.parquet", "userFactors.parquet", "itemProjection.parquet"])
@pytest.mark.parametrize("kind", ["pickle", "npz"])
def test_a_pickle_in_place_of_a_file_of_a_model_is_refused(tmp_path: Path, harm: bytes, name: str, kind: str) -> None:
    save_model(random_model(), tmp_path / "m")
    content = harm
    if kind == "npz":
        buffer = io.BytesIO()
        np.savez(buffer, factors=np.array([Harm(tmp_path / "mark")], dtype=object))
        content = buffer.getvalue()
    (tmp_path / "m" / name).write_bytes(content)
    with pytest.raises(DataError, match=name):
        load_model(tmp_path / "m")


def test_blocks_and_messages_hold_no_objects(harm: bytes) -> None:
    header = json.dumps({"side": 0, "start": 0, "arrays": {"keys": ["|O", 1, 0]}}).encode()
    record = b"RSBLK001" + len(header).to_bytes(8, "little") + header + harm + bytes(64)
    with pytest.raises((TypeError, ValueError)):
        Block.from_buffer(record)
    with pytest.raises(pa.ArrowInvalid):
        unpack(harm)


def test_settings_make_no_objects(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    text = f"!!python/object/apply:os.mkdir ['{mark}']"
    (tmp_path / "s.yaml").write_text(f"dataset: {text}\n")
    with pytest.raises(ConfigError, match=r"cannot read .*s.yaml: could not determine a constructor"):
        load_settings([tmp_path / "s.yaml"])
    with pytest.raises(ConfigError, match="could not determine a constructor"):
        load_settings(overrides=[f"dataset={text}"])
    assert not mark.exists()
