//! BERT: configuration, Hugging Face names, encoder and heads, forward and backward by hand.
