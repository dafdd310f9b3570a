//! `jifen`: the mall, its sandbox, and the operator's commands.

use std::process::ExitCode;

use clap::Parser as _;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    jifen::commands::run(jifen::commands::Arguments::parse())
}
