"""A copy of the project whose Java, Python, pip and Spark are stand-ins that record what they are asked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("basename", "bash", "cat", "cksum", "cp", "dirname", "grep", "head", "mkdir", "mv", "rm", "sed", "tail")

# Answers what the script asks of a Python: its version, the file lock, a virtual environment, pip.
PYTHON = """\
#!{bash}
echo "$(basename "$0") $1 $2 $3" >> "{log}"
case "$1 $2" in
  "-m venv") mkdir -p "$4/bin"; cp "$0" "$4/bin/python" ;;
  "-m pip")
    exec {python} -c '
import fcntl, os, sys
with open(sys.argv[1]) as file:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(int(os.environ.get("PIP_EXIT", "0")))
sys.exit("pip ran without the lock")' "{env}" ;;
  "-c import fcntl"*) [ -z "${{WAITING:-}}" ] || echo waiting > "$WAITING"; exec {python} "$@" ;;
  "-c "*) {answer} ;;
  *) exec {python} "$@" ;;
esac
"""
# Shows what Spark was given: through pyspark where this is the job, else on its command line.
RECORDER = """\
import json, os, shlex, sys
names = ("SPARK_HOME", "SPARK_CONF_DIR", "SPARK_DRIVER_MEMORY", "PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON", "PYTHONPATH")
options = shlex.split(os.environ.get("PYSPARK_SUBMIT_ARGS", ""))
assert options[-1:] in ([], ["pyspark-shell"])
given = {"args": [*options[:-1], *sys.argv[0 if options else 1 :]], "cwd": os.getcwd()}
print(json.dumps(given | {name: os.environ.get(name) for name in names}))
"""
JOB = f'"""Do one thing."""\n{RECORDER}'


class House:
    """A copy of the project with stand-ins on PATH."""

    def __init__(self, scratch: Path) -> None:
        self.root, self.bin, self.log = scratch / "my project", scratch / "bin", scratch / "log"
        for folder in (self.root / "conf", self.root / "jobs", self.root / "recsys_spark", self.bin):
            folder.mkdir(parents=True)
        for name in ("spark-submit.sh", "conf/env.sh", "conf/ship.py"):
            shutil.copy2(ROOT / name, self.root / name)
        (self.root / "conf/requirements.lock").write_text("numpy==1\n")
        (self.root / "recsys_spark/__init__.py").write_text("")
        (self.root / "jobs/one.py").write_text(JOB)
        (self.root / "jobs/two.py").write_text('"""Do two things.\n\nAt once.\n"""\n')
        for tool in TOOLS:
            os.symlink(shutil.which(tool), self.bin / tool)
        self.log.write_text("")
        self.java("17.0.9")
        self.python("python3", "3.11 whole")

    def program(self, path: Path, text: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
        return path

    def java(self, version: str, folder: Path | None = None) -> Path:
        text = f"#!{self.bin}/bash\necho 'openjdk version \"{version}\" 2024-01-01' >&2\n"
        return self.program((folder or self.bin) / "java", text)

    def python(self, name: str, answer: str | None) -> Path:
        says = f'echo "{answer}"' if answer else "exit 127"
        values = {"bash": self.bin / "bash", "log": self.log, "python": sys.executable, "answer": says}
        return self.program(self.bin / name, PYTHON.format(**values, env=self.root / "conf/env.sh"))

    def environ(self, **env: str) -> dict[str, str]:
        return {"PATH": str(self.bin), "HOME": str(self.root), **env}

    def packable(self) -> None:
        """Let the Python of .venv be a real one, and .venv a virtual environment with two packages beside Spark.

        ``core`` is one of setup.py's, and requires ``helper``; ``tool`` is not.
        """
        venv = self.root / ".venv"
        self.program(venv / "bin/python", f'#!{self.bin}/bash\nexec {sys.executable} "$@"\n')
        (venv / "pyvenv.cfg").write_text("home = /usr/bin\n")
        (self.root / "setup.py").write_text('CORE = ["core>=1"]\n')
        site = venv / "lib/python3.11/site-packages"
        for name, needs in (("core", "Requires-Dist: helper\n"), ("helper", ""), ("tool", "")):
            (site / f"{name}-1.dist-info").mkdir()
            (site / f"{name}-1.dist-info/METADATA").write_text(
                f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n{needs}"
            )
            (site / f"{name}-1.dist-info/RECORD").write_text(f"{name}/a.py,,\n../../../bin/{name},,\n")
            (site / name / "tests").mkdir(parents=True)
            (site / name / "a.py").write_text("")
            (site / name / "tests/a.py").write_text("")

    def installed(self) -> None:
        """Put a .venv there as a finished installation leaves it."""
        venv = self.root / ".venv"
        self.python("made", "3.11 whole").rename(self.program(venv / "bin/python", ""))
        self.spark()
        lock = (self.root / "conf/requirements.lock").read_bytes()
        crc = subprocess.run(["cksum"], input=lock, capture_output=True, check=True).stdout.decode().strip()
        (venv / ".installed").write_text(f"requirements.lock {crc}\n")

    def spark(self) -> None:
        home = self.root / ".venv/lib/python3.11/site-packages/pyspark"
        self.program(home / "bin/spark-submit", f"#!{sys.executable}\n{RECORDER}")

    def run(self, *args: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.root / "spark-submit.sh"), *args],
            cwd=cwd or self.root,
            env=self.environ(**env),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def submitted(self, *args: str, cwd: Path | None = None, **env: str) -> dict:
        done = self.run(*args, cwd=cwd, **env)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def calls(self, words: str) -> int:
        return sum(words in line for line in self.log.read_text().splitlines())
