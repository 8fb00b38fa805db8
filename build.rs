//! Generates the event types from `schemas/`.

fn main() {}
