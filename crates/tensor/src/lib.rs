//! Ragged batches, the parameter table, counter-based random numbers, safetensors in and out.
