//! The command line: one file a command.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command speaks to whoever typed it"
)]

mod audit;
mod banner;
mod check_config;
mod credentials;
pub mod demo;
mod doctor;
mod jobs;
mod maintenance;
mod notices;
mod orders;
mod output;
mod packages;
mod sandbox;
mod serve;
mod tariffs;
mod users;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use jifen_app::{App, SystemEnvironment};

use crate::config::Config;
use crate::{development, instance, telemetry};
use output::Output;

pub use serve::{follow_changes, http_config};

/// A mall that sells API access as prepaid points (积分商城).
#[derive(Parser)]
#[command(name = "jifen", version, about, max_term_width = 100)]
pub struct Arguments {
    /// A configuration file (TOML); config.default.toml documents every key.
    #[arg(long, global = true, value_name = "FILE", env = "JIFEN_CONFIG")]
    config: Option<PathBuf>,
    /// Answer in JSON, for programs.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Start the mall (also without any command).
    Serve,
    /// Play the whole story against a throw-away instance, showing every request and answer.
    Demo,
    /// Start the sandbox alone: WeChat and Alipay on this machine, for any integrator.
    Sandbox(sandbox::Arguments),
    /// Bring the database up to date.
    Migrate,
    /// Look at the configuration.
    Config {
        #[command(subcommand)]
        command: check_config::Command,
    },
    /// Recompute the whole ledger and name every difference. Exits 1 when there is one.
    Audit(audit::Arguments),
    /// Call every configured provider and say what is wrong. Exits 1 when something is.
    Doctor,
    /// Packages of points on sale.
    Packages {
        #[command(subcommand)]
        command: packages::Command,
    },
    /// What calls of your API cost.
    Tariffs {
        #[command(subcommand)]
        command: tariffs::Command,
    },
    /// Notices shown to everyone.
    Notices {
        #[command(subcommand)]
        command: notices::Command,
    },
    /// Close the mall for a while.
    Maintenance {
        #[command(subcommand)]
        command: maintenance::Command,
    },
    /// Service credentials of your gateways.
    Credentials {
        #[command(subcommand)]
        command: credentials::Command,
    },
    /// Orders.
    Orders {
        #[command(subcommand)]
        command: orders::Command,
    },
    /// Users and their points.
    Users {
        #[command(subcommand)]
        command: users::Command,
    },
    /// Follow-up work that was given up.
    Jobs,
}

/// Runs one command; 0 when it did what was asked.
pub fn run(arguments: Arguments) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the runtime cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(dispatch(arguments)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn dispatch(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let output = Output {
        json: arguments.json,
    };
    let command = arguments.command.unwrap_or(Command::Serve);
    // These two need no configuration of the mall.
    let command = match command {
        Command::Demo => return demo::run().await,
        Command::Sandbox(arguments) => {
            return sandbox::run(arguments).await.map(|()| ExitCode::SUCCESS);
        }
        other => other,
    };
    let config = Config::load(arguments.config.as_deref())?;
    if let Command::Config { command } = &command {
        return check_config::run(command, &config, output);
    }
    require_no_mistakes(&config)?;
    if let Command::Serve = command {
        return serve::run(config).await.map(|()| ExitCode::SUCCESS);
    }
    let config = development::complete(config);
    telemetry::init(&crate::config::Log {
        level: "warn".to_owned(),
        ..config.log.clone()
    })?;
    let app = instance::open(&config, Arc::new(SystemEnvironment)).await?;
    operate(command, &app, &config, output).await
}

async fn operate(
    command: Command,
    app: &App,
    config: &Config,
    output: Output,
) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve | Command::Demo | Command::Sandbox(_) | Command::Config { .. } => {}
        Command::Migrate => {
            let database = config.store_for_people();
            output.done(
                &format!("{database} is up to date"),
                &serde_json::json!({ "up_to_date": database }),
            )?;
        }
        Command::Audit(arguments) => return audit::run(arguments, app, output).await,
        Command::Doctor => return doctor::run(app, output).await,
        Command::Packages { command } => packages::run(command, app, output).await?,
        Command::Tariffs { command } => tariffs::run(command, app, output).await?,
        Command::Notices { command } => notices::run(command, app, output).await?,
        Command::Maintenance { command } => maintenance::run(command, app, output).await?,
        Command::Credentials { command } => credentials::run(command, app, output).await?,
        Command::Orders { command } => orders::run(command, app, output).await?,
        Command::Users { command } => users::run(command, app, output).await?,
        Command::Jobs => jobs::run(app, output).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn require_no_mistakes(config: &Config) -> anyhow::Result<()> {
    let mistakes = crate::check::mistakes(config);
    if mistakes.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    anyhow::bail!(
        "the configuration has {} mistakes:\n  - {}",
        list.len(),
        list.join("\n  - ")
    )
}
