//! The training loop, evaluation, metrics, early stopping, checkpoints.
