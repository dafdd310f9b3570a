//! `jifen audit`.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use jifen_app::App;
use jifen_domain::AccountId;
use jifen_store::{AuditObserver, AuditProgress, Finding};

use super::output::{Output, printable};

/// How often a terminal is told how far it is, and how often a log.
const TERMINAL_PAUSE: Duration = Duration::from_millis(100);
const LOG_PAUSE: Duration = Duration::from_secs(5);
/// Characters of the bar.
const BAR_WIDTH: usize = 30;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// One account only, found without reading the others: the user's id, negated for the account of test keys.
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    account: Option<i64>,
}

pub(super) async fn run(
    arguments: Arguments,
    app: &App,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let mut watch = Watch::new(output.json);
    let account = arguments.account.map(AccountId);
    let audited = app.audit_observed(account, &mut watch).await?;
    watch.clear();
    if let Some(account) = account.filter(|_| audited.accounts == 0) {
        bail!("there is no account {account}");
    }
    let (accounts, entries, differences) = (audited.accounts, audited.entries, audited.findings);
    let more = match audited.unnamed {
        0 => String::new(),
        unnamed => format!(", and {unnamed} or more that are named when these are gone"),
    };
    output.done(
        &format!("{accounts} accounts, {entries} entries: {differences} differences{more}"),
        &serde_json::json!({
            "accounts": accounts,
            "entries": entries,
            "differences": differences,
            "unnamed": audited.unnamed,
            "findings": watch.findings,
        }),
    )?;
    Ok(if differences == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Says on the way how far it is and what was found.
struct Watch {
    /// Findings are kept for the answer instead of being printed as they come.
    keeps_findings: bool,
    findings: Vec<String>,
    is_terminal: bool,
    started: Instant,
    told: Option<Instant>,
    is_line_open: bool,
}

impl Watch {
    fn new(keeps_findings: bool) -> Self {
        Self {
            keeps_findings,
            findings: Vec::new(),
            is_terminal: std::io::stderr().is_terminal(),
            started: Instant::now(),
            told: None,
            is_line_open: false,
        }
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.is_line_open) {
            write("\r\x1b[K");
        }
    }
}

impl AuditObserver for Watch {
    fn progress(&mut self, progress: AuditProgress) {
        let pause = if self.is_terminal {
            TERMINAL_PAUSE
        } else {
            LOG_PAUSE
        };
        let since = self.told.unwrap_or(self.started);
        if since.elapsed() < pause {
            return;
        }
        self.told = Some(Instant::now());
        let line = line(progress, self.started.elapsed());
        if self.is_terminal {
            write(&format!("\r\x1b[K{line}"));
            self.is_line_open = true;
        } else {
            write(&format!("{line}\n"));
        }
    }

    fn found(&mut self, finding: Finding) {
        let finding = printable(&finding.to_string());
        if self.keeps_findings {
            self.findings.push(finding);
        } else {
            self.clear();
            println!("  - {finding}");
        }
    }
}

/// `[###...]  43%  entries: 430000 rows, 510000 a second, 12 s left`
fn line(progress: AuditProgress, elapsed: Duration) -> String {
    let AuditProgress {
        table,
        rows,
        permille,
    } = progress;
    let millis = i64::try_from(elapsed.as_millis())
        .unwrap_or(i64::MAX)
        .max(1);
    let Some(done) = permille.map(|permille| permille.clamp(0, 1_000)) else {
        return format!("{table}: {rows} rows");
    };
    let rate = i128::from(rows) * 1_000 / i128::from(millis);
    let filled = usize::try_from(done).unwrap_or(0) * BAR_WIDTH / 1_000;
    let bar = format!("{}{}", "#".repeat(filled), ".".repeat(BAR_WIDTH - filled));
    let left = if done == 0 {
        String::new()
    } else {
        let seconds = i128::from(millis) * i128::from(1_000 - done) / i128::from(done) / 1_000;
        format!(", {seconds} s left")
    };
    format!(
        "[{bar}] {:>3}%  {table}: {rows} rows, {rate} a second{left}",
        done / 10
    )
}

fn write(text: &str) {
    let mut stderr = std::io::stderr().lock();
    // Progress that cannot be written is no reason to stop an audit.
    let written = stderr.write_all(text.as_bytes());
    written.and_then(|()| stderr.flush()).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(permille: Option<i64>, rows: i64, seconds: u64) -> String {
        let progress = AuditProgress {
            table: "entries",
            rows,
            permille,
        };
        line(progress, Duration::from_secs(seconds))
    }

    #[test]
    fn the_line_tells_how_far_how_fast_and_how_long() {
        assert_eq!(
            at(Some(250), 1_000_000, 2),
            "[#######.......................]  25%  entries: 1000000 rows, 500000 a second, 6 s left"
        );
        assert_eq!(
            at(Some(1_000), 8, 2),
            "[##############################] 100%  entries: 8 rows, 4 a second, 0 s left"
        );
        assert_eq!(at(None, 7, 1), "entries: 7 rows");
    }

    #[test]
    fn what_a_broken_position_says_does_not_break_the_line() {
        for permille in [i64::MIN, -1, 0, 1_001, i64::MAX] {
            assert!(at(Some(permille), i64::MAX, 0).starts_with('['));
        }
    }
}
