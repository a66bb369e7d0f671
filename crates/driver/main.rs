//! The `hone` binary: parse, choose a backend, wire, exit code; nothing else.

fn main() {}
