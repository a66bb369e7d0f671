//! Developer tasks, run as `cargo xtask TASK`: one `match`, nothing the product needs.

fn main() {}
