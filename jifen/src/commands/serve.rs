//! `jifen serve`: the mall, and in development the sandbox beside it.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jifen_app::{App, SystemEnvironment};
use jifen_http::{Cors, HttpConfig, Origin};
use jifen_sandbox::Sandbox;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::banner;
use crate::config::{Config, SandboxMode};
use crate::{development, instance, telemetry};

pub(super) async fn run(config: Config) -> anyhow::Result<()> {
    telemetry::init(&config.log)?;
    // From the beginning: a signal that nobody watches for would end the process in the middle of a request.
    let mut stop = pin!(stop_signal()?);
    let mall = tokio::select! {
        mall = Mall::start(config) => mall?,
        () = &mut stop => return Ok(()),
    };
    banner::print(&mall.config);
    stop.await;
    tracing::info!("stopping: requests in flight are finished");
    mall.stop().await
}

/// The mall while it runs.
pub(crate) struct Mall {
    pub(crate) config: Config,
    pub(crate) app: App,
    stop: watch::Sender<bool>,
    http: JoinHandle<()>,
    worker: JoinHandle<()>,
    sandbox: Option<JoinHandle<()>>,
    /// Hears what other nodes change; ended with the mall.
    following: Vec<JoinHandle<()>>,
}

impl Mall {
    /// Listens before anything else, so that a port in use is told at once and nothing was touched. Port 0 is any free one.
    pub(crate) async fn start(mut config: Config) -> anyhow::Result<Self> {
        let listener = listen("server.listen", &mut config.server.listen).await?;
        let sandbox_listener = match config.sandbox.mode {
            SandboxMode::Inside => {
                Some(listen("sandbox.listen", &mut config.sandbox.listen).await?)
            }
            SandboxMode::Outside | SandboxMode::Off => None,
        };
        let config = development::complete(config);
        let app = instance::open(&config, Arc::new(SystemEnvironment)).await?;
        if config.is_development() {
            development::seed(&app).await?;
        }
        let (stop, stopped) = watch::channel(false);
        let sandbox = match sandbox_listener {
            Some(listener) => Some(start_sandbox(&config, listener, stopped.clone())?),
            None => None,
        };
        let following = follow_changes(&app);
        let worker = app.clone();
        let has_fresh_sandbox = sandbox.is_some();
        Ok(Self {
            http: start_http(&config, &app, listener, stopped.clone())?,
            worker: tokio::spawn(async move {
                if has_fresh_sandbox
                    && let Err(error) = development::close_forgotten_orders(&worker).await
                {
                    tracing::warn!(%error, "orders of an earlier run could not be looked at");
                }
                worker.work(wait_for(stopped)).await;
            }),
            config,
            app,
            sandbox,
            following,
            stop,
        })
    }

    /// Finishes what is in flight. The sandbox goes last, so that the mall can still talk to it.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.stop.send_replace(true);
        self.http.await.context("the HTTP server failed")?;
        self.worker.await.context("the worker failed")?;
        for following in self.following {
            following.abort();
        }
        if let Some(sandbox) = self.sandbox {
            sandbox.await.context("the sandbox failed")?;
        }
        Ok(())
    }
}

/// Takes note of what other nodes change, so that what is remembered of it is forgotten.
pub fn follow_changes(app: &App) -> Vec<JoinHandle<()>> {
    vec![
        tokio::spawn(app.follow_key_changes()),
        tokio::spawn(app.follow_tariff_changes()),
        app.store().listen(),
    ]
}

/// Watches from now on for the wish that the process end, Ctrl-C or SIGTERM; the future resolves when it comes.
pub(super) fn stop_signal() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be watched")?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be watched")?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

async fn wait_for(mut stopped: watch::Receiver<bool>) {
    // The sender is gone only when the mall is.
    stopped
        .wait_for(|stopped| *stopped)
        .await
        .map(|_| ())
        .unwrap_or_default();
}

async fn listen(key: &'static str, address: &mut SocketAddr) -> anyhow::Result<TcpListener> {
    let taken = || format!("{key}: {address} cannot be listened on: is another Jifen running?");
    let listener = TcpListener::bind(*address).await.with_context(taken)?;
    *address = listener.local_addr()?;
    Ok(listener)
}

fn start_http(
    config: &Config,
    app: &App,
    listener: TcpListener,
    stopped: watch::Receiver<bool>,
) -> anyhow::Result<JoinHandle<()>> {
    let http = http_config(config)?;
    let router = jifen_http::router(app.clone(), &http);
    Ok(tokio::spawn(async move {
        jifen_http::serve(listener, router, &http, wait_for(stopped)).await;
    }))
}

/// What the configuration says about HTTP.
pub fn http_config(config: &Config) -> anyhow::Result<HttpConfig> {
    let server = &config.server;
    let cors = if server.cors_origins.iter().any(|origin| origin == "*") {
        Cors::Any
    } else {
        let origins = server
            .cors_origins
            .iter()
            .map(|origin| Origin::parse(origin));
        Cors::List(
            origins
                .collect::<Result<_, _>>()
                .context("server.cors_origins")?,
        )
    };
    let has_sandbox = config.is_development() && config.sandbox.mode != SandboxMode::Off;
    Ok(HttpConfig {
        cors,
        secure_cookies: config.public_base_url().starts_with("https://"),
        body_bytes_max: server.body_bytes_max,
        request_timeout: Duration::from_secs(server.request_timeout_seconds),
        header_read_timeout: Duration::from_secs(server.header_read_timeout_seconds),
        concurrency_max: server.concurrency_max,
        connections_max: server.connections_max,
        drain_delay: Duration::from_secs(server.drain_delay_seconds),
        shutdown_timeout: Duration::from_secs(server.shutdown_timeout_seconds),
        sandbox_url: has_sandbox.then(|| config.sandbox_base_url()),
        ..HttpConfig::default()
    })
}

fn start_sandbox(
    config: &Config,
    listener: TcpListener,
    stopped: watch::Receiver<bool>,
) -> anyhow::Result<JoinHandle<()>> {
    let mut sandbox =
        jifen_sandbox::Config::new(config.sandbox_base_url(), instance::outgoing_client()?);
    sandbox.official_account_push_url = Some(format!(
        "{}/api/v1/weixin/portal/receive",
        config.public_base_url()
    ));
    sandbox.time_compression = config.sandbox.time_compression;
    let sandbox = Sandbox::new(sandbox);
    Ok(tokio::spawn(async move {
        sandbox.serve(listener, wait_for(stopped)).await;
    }))
}
