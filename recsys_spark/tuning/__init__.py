"""Searching settings: many small fits in Spark tasks, on folds within folds, with Optuna.

``candidate`` is what a fit is asked to be, ``folds`` the data that tasks share, ``fitting`` what a task does, ``lab``
runs many of them; ``space`` and ``sequence`` ask Optuna so that an interrupted search goes on as if it had not been,
``search`` advances many searches together, ``prepare`` and ``job`` read and publish, ``sweep`` varies one parameter,
``figures`` draws.
"""
