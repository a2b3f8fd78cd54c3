"""BlockALS beside pyspark.ml.ALS: seconds to build and to iterate, memory, test RMSE; and the kernels beside sgemm."""
