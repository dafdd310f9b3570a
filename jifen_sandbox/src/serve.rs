//! The server: an accept loop of its own, because a fault must be able to close a connection without an answer and because a
//! client that sends its headers slowly must not hold a connection for ever.

use std::{convert::Infallible, future::Future, io, sync::Arc, time::Duration};

use axum::{Router, extract::Request, response::Response};
use hyper::{body::Incoming, server::conn::http1, service::Service};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};

use crate::{faults::CloseConnection, outbox, sandbox::Sandbox};

const CONNECTIONS_MAX: usize = 512;
const HEADER_READ_SECONDS_MAX: u64 = 10;
/// How long connections may finish their answers after the shutdown began.
const SHUTDOWN_GRACE_SECONDS: u64 = 2;
/// After a failed `accept` (no file descriptors left, typically) the next one waits this long.
const ACCEPT_RETRY_MS: u64 = 100;

pub(crate) async fn serve(
    sandbox: Sandbox,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) {
    let service = TowerToHyperService::new(sandbox.router());
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut tasks = JoinSet::new();
    let courier = sandbox
        .config()
        .automatic_delivery
        .then(|| tokio::spawn(outbox::run(sandbox.clone())));
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else {
            break;
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut shutdown => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = connection(stream, service.clone());
                tasks.spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(ACCEPT_RETRY_MS)).await;
            }
        }
        while tasks.try_join_next().is_some() {}
    }
    if let Some(courier) = courier {
        courier.abort();
    }
    let all_done = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(Duration::from_secs(SHUTDOWN_GRACE_SECONDS), all_done)
        .await
        .is_err()
    {
        tracing::debug!("connections still open at shutdown are closed");
    }
}

async fn connection(stream: tokio::net::TcpStream, service: TowerToHyperService<Router>) {
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let answer = service.call(request);
        async move { answer_or_close(answer.await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(HEADER_READ_SECONDS_MAX))
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "connection ended early");
    }
}

/// An error makes hyper close the connection without writing anything.
fn answer_or_close(answer: Result<Response, Infallible>) -> Result<Response, ClosedOnPurpose> {
    let Ok(response) = answer;
    if response.extensions().get::<CloseConnection>().is_some() {
        Err(ClosedOnPurpose)
    } else {
        Ok(response)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("closed by a fault of the sandbox")]
struct ClosedOnPurpose;

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}
