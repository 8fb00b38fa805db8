//! Generates the event types from `schemas/`, without protoc: protox compiles the files, prost-build writes the Rust.

use std::error::Error;
use std::path::PathBuf;

use prost::Message;

/// The files of package `segue.v1`.
const FILES: [&str; 4] =
    ["segue/v1/common.proto", "segue/v1/catalog.proto", "segue/v1/decision.proto", "segue/v1/events.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=schemas/segue");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let mut files = protox::Compiler::new(["schemas"])?;
    files.include_imports(true).open_files(FILES)?;
    let set = files.file_descriptor_set();
    // The compatibility test compares this set with the committed one.
    std::fs::write(out.join("segue.binpb"), set.encode_to_vec())?;
    prost_build::Config::new().out_dir(&out).disable_comments(["."]).compile_fds(set)?;
    Ok(())
}
