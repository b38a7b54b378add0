"""Experiment trackers: wandb, mlflow, tensorboard and trackio receive a run's metrics, curves, report and samples.

A process for each tracker reads the run directory and sends what is committed. The run itself never waits for it. The local files
stay the truth: `ledger` keeps what a tracker has, and whatever is missing can be sent later.
"""
