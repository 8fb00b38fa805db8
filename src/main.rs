//! The `segue` binary: parses the command line and runs the command.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Much of an ad break's memory is asked for by one thread and given back by another, the journal's or accounting's: glibc's allocator takes
/// a lock for that and joins free pieces at once. The library and its tests have the system's.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    segue::cli::main()
}
