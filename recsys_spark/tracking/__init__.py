"""Experiment tracking with MLflow, from the driver alone. No other package imports mlflow.

``run`` is what the pipeline talks to; ``pyfunc`` is what MLflow loads a logged model with (it needs no Spark and no
tracking server); ``provenance`` says what code ran on which machine.
"""
