"""What the notebooks show: the results of the jobs as small tables and figures; driver.

``results`` opens a lake, ``tables`` and ``lists`` ask Spark, ``embedding`` looks into the factors, ``data_figures`` and
``model_figures`` draw.
"""

from recsys_spark.explore.results import Results, open_results

__all__ = ["Results", "open_results"]
