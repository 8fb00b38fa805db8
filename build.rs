//! Generates the event types from `schemas/`, without protoc: protox compiles the files, prost-build writes the Rust. And notes the commit, where
//! there is one, for what is printed with measurements.

use std::error::Error;
use std::path::PathBuf;

use prost::Message;

/// The files of the packages `segue.v1` and `segue.fleet.v1`.
const FILES: [&str; 8] = [
    "segue/v1/common.proto",
    "segue/v1/catalog.proto",
    "segue/v1/decision.proto",
    "segue/v1/delivery.proto",
    "segue/v1/events.proto",
    "segue/v1/dead_letter.proto",
    "segue/v1/listening.proto",
    "segue/fleet/v1/fleet.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rustc-env=SEGUE_COMMIT={}", commit().unwrap_or_else(|| "unknown".to_owned()));
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

/// The commit that is built: from git where that is there. Rebuilt when HEAD moves.
fn commit() -> Option<String> {
    // Only what is there: a missing file would make cargo build anew each time.
    for file in [".git/HEAD", ".git/logs/HEAD"] {
        if std::path::Path::new(file).exists() {
            println!("cargo:rerun-if-changed={file}");
        }
    }
    let output = std::process::Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}
