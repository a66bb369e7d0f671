//! Find, fetch, verify and cache models by name.
