//! Baselines and many runs: TF-IDF, comparison and its statistics.
