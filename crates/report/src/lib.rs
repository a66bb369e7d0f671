//! Sinks for training events: progress, JSONL, tables, plots.
