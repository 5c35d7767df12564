"""Accuracy, cost and leakage, measured: one module an experiment, one result file a run."""
