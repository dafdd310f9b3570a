//! `jifen notices`.

use clap::Subcommand;
use jifen_app::{App, Notice};
use serde::Serialize;
use serde_json::json;

use super::maintenance::moment;
use super::output::{Output, Row};

/// Notices shown to everyone.
#[derive(Subcommand)]
pub(super) enum Command {
    /// All notices, the latest first.
    List,
    /// Add one; of those running, the one that started last is shown.
    Add {
        /// The text, one line.
        content: String,
        /// When it is first shown; now when left out.
        #[arg(long)]
        from: Option<String>,
        /// When it is no longer shown, such as 2026-01-31T06:00:00+08:00.
        #[arg(long)]
        until: String,
    },
    /// Remove one.
    Remove {
        /// Its id.
        id: String,
    },
}

#[derive(Serialize)]
struct Line {
    id: String,
    from: String,
    until: String,
    content: String,
}

impl Row for Line {
    const HEAD: &'static [&'static str] = &["ID", "FROM", "UNTIL", "CONTENT"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.from.clone(),
            self.until.clone(),
            self.content.clone(),
        ]
    }
}

impl From<Notice> for Line {
    fn from(notice: Notice) -> Self {
        let (from, until) = (notice.start_at.to_rfc3339(), notice.end_at.to_rfc3339());
        Self {
            id: notice.id,
            from,
            until,
            content: notice.content,
        }
    }
}

pub(super) async fn run(command: Command, app: &App, output: Output) -> anyhow::Result<()> {
    match command {
        Command::List => {
            let lines: Vec<Line> = app.notices().await?.into_iter().map(Line::from).collect();
            output.list(&lines)
        }
        Command::Add {
            content,
            from,
            until,
        } => {
            let from = from
                .as_deref()
                .map(moment)
                .transpose()?
                .unwrap_or_else(|| app.now());
            let notice = app.add_notice(&content, from, moment(&until)?).await?;
            output.one(&Line::from(notice))
        }
        Command::Remove { id } => {
            app.remove_notice(&id).await?;
            output.done("removed", &json!({ "removed": id }))
        }
    }
}
