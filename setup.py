"""Packaging: a small core (what executors import) and extras for what only the driver needs."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

VERSION = re.search(r'^__version__ = "(.+)"$', (HERE / "recsys_spark/__init__.py").read_text(encoding="utf-8"), re.M)[1]

CORE = [
    "numpy>=1.26,<3",
    "scipy>=1.12,<2",
    "numba>=0.60,<1",
    "pyarrow>=15",
    "pandas>=2.2,<3",  # pyspark 4.x does not admit pandas 3
    "pydantic>=2.7,<3",
    "PyYAML>=6,<7",
    "threadpoolctl>=3,<4",  # one BLAS thread where the bits of a solve must not depend on cores
]
EXTRAS = {
    "spark": ["pyspark>=4.0,<5"],
    "tracking": ["mlflow>=3.1,<4"],
    "tuning": ["optuna>=4,<5"],
    "plots": ["matplotlib>=3.8,<4", "rich>=13"],
    "cluster": ["venv-pack2>=0.9,<1"],  # packs .venv for executors; venv-pack itself has not been released since 2018
    # Others that the benchmark can measure; cmfrec is built where it is installed, with a C compiler.
    "benchmark": ["cmfrec>=3.5,<4", "implicit>=0.7,<1"],
    "dev": [
        "build>=1.2",
        "chispa>=0.11",
        "hypothesis>=6.100",
        "ipykernel>=6.29",
        "mypy>=1.11",
        "nbclient>=0.10",
        "pandas-stubs>=2.2,<3",
        "pytest>=8",
        "pytest-xdist>=3.6",
        "ruff>=0.6",
        "setuptools>=70",
        "types-PyYAML>=6",
        "wheel>=0.43",
    ],
}

setup(
    name="recsys-spark",
    version=VERSION,
    description="Block-ALS with biases and side features on Apache Spark",
    long_description=(HERE / "README.md").read_text(encoding="utf-8") if (HERE / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10,<3.14",
    packages=find_packages(include=["recsys_spark", "recsys_spark.*"]),
    package_data={"recsys_spark": ["py.typed", "**/*.json", "**/*.csv"]},
    install_requires=CORE,
    extras_require={
        **EXTRAS,
        "all": sorted({r for name, reqs in EXTRAS.items() if name not in ("dev", "benchmark") for r in reqs}),
    },
)
