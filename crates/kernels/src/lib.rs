//! The Backend trait (the kernel contract), its scalar reference and the conformance suite.
