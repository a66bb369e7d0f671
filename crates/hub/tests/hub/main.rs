//! The hub against a small HTTP server of our own: nothing here leaves the machine.

mod broken;
mod cached;
mod fetched;
mod packaged;
mod refused;
mod server;
mod sets;
mod world;
