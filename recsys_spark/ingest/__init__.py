"""From a release of ratings to checked, typed Parquet, and frozen splits of it.

``source`` finds the release (``releases``, ``download``, ``archive``), ``raw`` its files and physical lines;
``ratings`` and ``entities`` parse these (``parse`` holds the row functions), ``write`` and ``report`` account for every
line, ``job`` publishes; ``splits`` assigns folds and ``split_job`` freezes them.
"""
