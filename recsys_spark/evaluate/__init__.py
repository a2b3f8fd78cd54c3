"""How good predictions are: metrics, baselines on the same rows, figures and tables.

``rating`` defines the metrics on arrays and ``aggregate`` is its Spark twin; ``baselines`` predicts with simpler models
and with pyspark.ml.ALS; ``ranking`` judges top-N lists, ``contest`` those of the model beside simpler rankers;
``report`` tabulates, ``figures`` draws, ``job`` publishes.
"""
