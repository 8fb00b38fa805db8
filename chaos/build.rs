//! The event types, generated from `schemas/` as any consumer does.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=../schemas/segue");
    let set = protox::compile(["segue/v1/events.proto"], ["../schemas"])?;
    prost_build::Config::new().disable_comments(["."]).compile_fds(set)?;
    Ok(())
}
