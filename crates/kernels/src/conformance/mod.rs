//! The conformance suite: every operation of a backend against the scalar reference, at ragged and awkward sizes.
