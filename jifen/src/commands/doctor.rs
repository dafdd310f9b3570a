//! `jifen doctor`.

use std::process::ExitCode;

use jifen_app::{App, Diagnosis, Health, Language};
use serde::Serialize;

use super::output::{Output, Row};

#[derive(Serialize)]
struct Line {
    part: &'static str,
    health: &'static str,
    finding: String,
}

impl Row for Line {
    const HEAD: &'static [&'static str] = &["PART", "HEALTH", "FINDING"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.part.to_owned(),
            self.health.to_owned(),
            self.finding.clone(),
        ]
    }
}

pub(super) async fn run(app: &App, output: Output) -> anyhow::Result<ExitCode> {
    let diagnoses = app.doctor().await;
    let lines: Vec<Line> = diagnoses.iter().map(line).collect();
    output.list(&lines)?;
    let is_well = diagnoses
        .iter()
        .all(|diagnosis| diagnosis.health != Health::Bad);
    Ok(if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn line(diagnosis: &Diagnosis) -> Line {
    let health = match diagnosis.health {
        Health::Good => "good",
        Health::Absent => "absent",
        Health::Bad => "BAD",
    };
    Line {
        part: diagnosis.part,
        health,
        finding: diagnosis.text.in_language(Language::English).to_owned(),
    }
}
