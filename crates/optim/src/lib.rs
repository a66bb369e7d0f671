//! AdamW policy: parameter groups, decay, layer-wise rates, schedules, clipping.
