//! `jifen audit`.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use jifen_app::App;

use super::output::Output;

pub(super) async fn run(app: &App, output: Output) -> anyhow::Result<ExitCode> {
    let shows_progress = std::io::stderr().is_terminal();
    let report = app
        .audit(|done, total| {
            if shows_progress {
                eprint!("\r{done} of {total} accounts");
                // A progress line that cannot be written is no reason to stop an audit.
                std::io::stderr().flush().unwrap_or_default();
            }
        })
        .await?;
    if shows_progress {
        eprintln!();
    }
    let findings: Vec<String> = report
        .findings
        .iter()
        .map(|finding| format!("account {}: {}", finding.account, finding.problem))
        .collect();
    let (accounts, entries) = (report.audited.accounts, report.audited.entries);
    let sentence = format!(
        "{accounts} accounts, {entries} entries: {} differences",
        findings.len()
    );
    output.done(
        &sentence,
        &serde_json::json!({ "accounts": accounts, "entries": entries, "findings": findings }),
    )?;
    if !output.json {
        for finding in &findings {
            println!("  - {finding}");
        }
    }
    Ok(if findings.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
