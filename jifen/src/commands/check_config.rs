//! `jifen config`.

use std::process::ExitCode;

use clap::Subcommand;

use super::output::Output;
use crate::check::mistakes;
use crate::config::{Config, DEFAULTS};

/// Looking at the configuration.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Explain every mistake at once. Exits 1 when there is one.
    Check,
    /// Print every key with its default and what it means.
    Defaults,
}

pub(super) fn run(command: &Command, config: &Config, output: Output) -> anyhow::Result<ExitCode> {
    match command {
        Command::Defaults => print!("{DEFAULTS}"),
        Command::Check => {
            let mistakes = mistakes(config);
            let list: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
            let sentence = if list.is_empty() {
                format!(
                    "the configuration is right (profile {:?}, {})",
                    config.profile,
                    config.store_for_people()
                )
            } else {
                format!("{} mistakes", list.len())
            };
            output.done(&sentence, &serde_json::json!({ "mistakes": list }))?;
            if !output.json {
                for mistake in &list {
                    println!("  - {mistake}");
                }
            }
            if !list.is_empty() {
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
