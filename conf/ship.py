"""What spark-submit.sh sends to executors: the package (`--py-files`) and its environment (`--archives`).

Prints the path of the file, which is made only where it is not there yet. Names hold a hash of what is inside: the same
sources make the same file, and a running job's file is never replaced.
"""

from __future__ import annotations

import ast
import hashlib
import io
import os
import sys
import tempfile
import zipfile
from importlib import metadata
from pathlib import Path

EPOCH = (1980, 1, 1, 0, 0, 0)
SITE = "*/site-packages"
NEVER = (f"{SITE}/pyspark/*", "shipped/*", "*/tests/*")  # every cluster brings its own Spark; what is shipped already


def package(root: Path, folder: Path) -> Path:
    """The sources of recsys_spark as a zip in `folder`."""
    buffer = io.BytesIO()
    files = (p for p in (root / "recsys_spark").rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(files):
            archive.writestr(zipfile.ZipInfo(file.relative_to(root).as_posix(), EPOCH), file.read_bytes())
    content = buffer.getvalue()
    target = folder / f"recsys_spark-{_digest(content)}.zip"
    if not target.exists():
        temporary = target.with_suffix(f".{os.getpid()}")
        temporary.write_bytes(content)
        temporary.replace(target)
    return target


def environment(what: str, root: Path, venv: Path, folder: Path) -> Path:
    """The virtual environment without Spark as a tar.gz in `folder`, packed once for each lock that is installed.

    `what` is "driver", for all of it, or "executors", for setup.py's core requirements: a seventh of the files.
    """
    stamp = (venv / ".installed").read_bytes() + (root / "setup.py").read_bytes()
    target = folder / f"environment-{what}-{_digest(stamp)}.tar.gz"
    if target.exists():
        return target
    import venv_pack

    print(f"Packing {venv} for executors; this happens once and takes about half a minute ...", file=sys.stderr)
    tempfile.tempdir = str(folder)  # so that venv_pack's last step is a rename, and /tmp is not filled
    temporary = target.with_name(f"{os.getpid()}-{target.name}")
    try:
        packed = venv_pack.Env(str(venv))
        if what == "executors":
            packed = packed.exclude("*/*").include("bin/python*")
            for name in core_names(root, venv):
                packed = packed.include(f"{SITE}/{name}").include(f"{SITE}/{name}/*")
        for pattern in NEVER:
            packed = packed.exclude(pattern)
        packed.pack(str(temporary), compress_level=1)
    except venv_pack.VenvPackException as problem:
        sys.exit(
            f"Cannot pack {venv} for executors: {problem}\nRemove that folder and run the same command again, or "
            "install the environment on the executors and submit with --installed."
        )
    temporary.replace(target)
    return target


def core_names(root: Path, venv: Path) -> set[str]:
    """What the core requirements of setup.py, and theirs, have put into site-packages."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    body = ast.parse((root / "setup.py").read_text(encoding="utf-8")).body
    assigned = {
        n.targets[0].id: n.value for n in body if isinstance(n, ast.Assign) and isinstance(n.targets[0], ast.Name)
    }
    wanted = [Requirement(text) for text in ast.literal_eval(assigned["CORE"])]
    (site,) = venv.glob("lib/python3.*/site-packages")
    installed = {canonicalize_name(found.name): found for found in metadata.distributions(path=[str(site)])}
    names, seen = set[str](), set[str]()
    while wanted:
        requirement = wanted.pop()
        name = canonicalize_name(requirement.name)
        if name in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(name)
        if name not in installed:
            sys.exit(f"{requirement} is missing in {venv}: delete that folder and run the same command again.")
        names |= {file.parts[0] for file in installed[name].files or () if file.parts[0] != ".."}
        wanted += [Requirement(text) for text in installed[name].requires or ()]
    return names


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()


if __name__ == "__main__":
    what, project, prefix = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    shipped = prefix / "shipped"
    shipped.mkdir(exist_ok=True)
    print(package(project, shipped) if what == "package" else environment(what, project, prefix, shipped))
