//! `jifen jobs`.

use jifen_app::App;
use serde::Serialize;

use super::output::{Output, Row};

const ROWS_MAX: i64 = 200;

#[derive(Serialize)]
struct Line {
    kind: String,
    subject: String,
    failed_at: String,
    error: String,
}

impl Row for Line {
    const HEAD: &'static [&'static str] = &["KIND", "SUBJECT", "GIVEN UP", "ERROR"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.kind.clone(),
            self.subject.clone(),
            self.failed_at.clone(),
            self.error.clone(),
        ]
    }
}

pub(super) async fn run(app: &App, output: Output) -> anyhow::Result<()> {
    let failed = app.failed_jobs(ROWS_MAX).await?;
    let lines: Vec<Line> = failed
        .into_iter()
        .map(|job| Line {
            kind: job.kind,
            subject: job.subject,
            failed_at: job.failed_at.to_rfc3339(),
            error: job.error,
        })
        .collect();
    output.list(&lines)
}
