"""The pyspark.ml face: Params, Estimator, Model and their persistence."""
