"""Recommendations: loading a saved model, top-N for many users in Spark, and the job that publishes it."""
