//! Readers, checks, splits, tokenisation and batching of labelled texts.
