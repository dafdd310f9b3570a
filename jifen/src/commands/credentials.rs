//! `jifen credentials`.

use clap::Subcommand;
use jifen_app::{App, ServiceCredential};
use jifen_domain::Time;
use serde::Serialize;
use serde_json::json;

use super::output::{Output, Row};

/// What your gateways authenticate with.
#[derive(Subcommand)]
pub(super) enum Command {
    /// All credentials, oldest first.
    List,
    /// Make one. Its secret is shown once.
    Create {
        /// Which gateway it is for.
        name: String,
    },
    /// Refuse one from now on.
    Revoke {
        /// Its id.
        id: String,
    },
}

#[derive(Serialize)]
struct Line {
    id: String,
    name: String,
    created_at: String,
    revoked_at: Option<String>,
}

impl Row for Line {
    const HEAD: &'static [&'static str] = &["ID", "NAME", "CREATED", "REVOKED"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.name.clone(),
            self.created_at.clone(),
            self.revoked_at.clone().unwrap_or_default(),
        ]
    }
}

impl From<ServiceCredential> for Line {
    fn from(credential: ServiceCredential) -> Self {
        Self {
            id: credential.id,
            name: credential.name,
            created_at: credential.created_at.to_rfc3339(),
            revoked_at: credential.revoked_at.map(Time::to_rfc3339),
        }
    }
}

pub(super) async fn run(command: Command, app: &App, output: Output) -> anyhow::Result<()> {
    match command {
        Command::List => {
            let lines: Vec<Line> = app
                .service_credentials()
                .await?
                .into_iter()
                .map(Line::from)
                .collect();
            output.list(&lines)
        }
        Command::Create { name } => {
            let (credential, secret) = app.create_service_credential(&name).await?;
            let sentence = format!(
                "{secret}  (id {}; the secret is not shown again)",
                credential.id
            );
            output.done(
                &sentence,
                &json!({ "id": credential.id, "name": credential.name, "secret": secret }),
            )
        }
        Command::Revoke { id } => {
            app.revoke_service_credential(&id).await?;
            output.done("revoked", &json!({ "revoked": id }))
        }
    }
}
