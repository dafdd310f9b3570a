//! The mall as `jifen serve` runs it, with the *echo* beside it: a request that is read, parsed and answered like a charge,
//! behind the same middleware, and touches no data.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::post;
use jifen::config::Config;
use jifen::{commands, development, instance, telemetry};
use jifen_app::SystemEnvironment;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use crate::requests::ECHO_URL;

/// Runs until SIGTERM. Where to listen and which database to use stands in the environment.
pub(crate) fn run() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(serve());
}

async fn serve() {
    let mut stop_http = signal(SignalKind::terminate()).unwrap();
    let mut stop_work = signal(SignalKind::terminate()).unwrap();
    let config = development::complete(Config::load(None).unwrap());
    telemetry::init(&config.log).unwrap();
    let listener = TcpListener::bind(config.server.listen).await.unwrap();
    let app = instance::open(&config, Arc::new(SystemEnvironment))
        .await
        .unwrap();
    let http_config = commands::http_config(&config).unwrap();
    let echo_route = Router::new().route(ECHO_URL, post(echo));
    let router = jifen_http::router_with(app.clone(), &http_config, echo_route);
    let following = commands::follow_changes(&app);
    let worker = tokio::spawn(async move { app.work(next(&mut stop_work)).await });
    jifen_http::serve(listener, router, &http_config, next(&mut stop_http)).await;
    worker.await.unwrap();
    following.iter().for_each(JoinHandle::abort);
}

async fn next(signal: &mut Signal) {
    signal.recv().await;
}

/// What a charge takes from the request, and an answer of the same form.
async fn echo(headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    let charge: Value = serde_json::from_slice(&body).unwrap();
    let credential = headers["authorization"].to_str().unwrap();
    let answer = json!({
        "id": headers["idempotency-key"].to_str().unwrap(),
        "points": charge["points"].as_i64().unwrap(),
        "balance": charge["apiKey"].as_str().unwrap().len() + credential.len() + 1_000_000_000,
        "chargedAt": "2026-01-15T04:00:00.000000Z",
    });
    ([(CONTENT_TYPE, "application/json")], answer.to_string())
}
