"""What each part of the model buys: variants on the same folds, and paired tests of their differences.

``outcome`` is one variant on one fold, ``spark_als`` fits pyspark.ml.ALS as a variant, ``statistics`` compares, ``job``
runs and publishes.
"""
