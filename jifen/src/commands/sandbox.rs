//! `jifen sandbox`.

use std::net::SocketAddr;

use anyhow::Context as _;
use clap::Args;

use super::serve::stop_signal;
use crate::config::{Log, LogFormat};
use crate::{instance, telemetry};

/// The sandbox alone.
#[derive(Args)]
pub(super) struct Arguments {
    /// Where it listens. It is for one machine: it lets anyone be anyone.
    #[arg(long, default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// Where others reach it, if not at that address.
    #[arg(long)]
    public_base_url: Option<String>,
    /// Where the official account pushes messages to; can be set on its pages, too.
    #[arg(long)]
    push_url: Option<String>,
    /// The providers' retry schedules are divided by this.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    time_compression: u32,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let stop = stop_signal()?;
    telemetry::init(&Log {
        format: LogFormat::Text,
        level: "info".to_owned(),
    })?;
    let listener = tokio::net::TcpListener::bind(arguments.listen)
        .await
        .with_context(|| {
            format!(
                "{} is not free: choose another with --listen",
                arguments.listen
            )
        })?;
    let base = arguments
        .public_base_url
        .unwrap_or_else(|| format!("http://{}", arguments.listen));
    println!("WeChat and Alipay are played at {base}");
    println!("  pages      {base}/");
    println!("  merchant   curl {base}/sandbox/api/kit");
    println!("  interface  curl {base}/sandbox/api");
    let mut config = jifen_sandbox::Config::new(base, instance::outgoing_client()?);
    config.official_account_push_url = arguments.push_url;
    config.time_compression = arguments.time_compression;
    jifen_sandbox::Sandbox::new(config)
        .serve(listener, stop)
        .await;
    Ok(())
}
