//! The accept loop: an own one over hyper, because it bounds how long a connection may take to say what it wants.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::config::HttpConfig;

/// Wait before accepting is tried again when it failed: most often there are too many open files.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// hyper refuses smaller ones.
const HEAD_BYTES_MIN: usize = 8_192;

/// Serves until `shutdown` resolves, then finishes what is in hand within [`HttpConfig::shutdown_timeout`]. Give
/// [`crate::router`] a clone of the same configuration.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    config: &HttpConfig,
    shutdown: impl Future<Output = ()>,
) {
    let mut server = Server::new(router, config);
    server.accept_until(&listener, shutdown).await;
    config.shutting_down.begin();
    server
        .accept_until(&listener, tokio::time::sleep(config.drain_delay))
        .await;
    drop(listener);
    if tokio::time::timeout(config.shutdown_timeout, server.connections.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("requests were still in hand after the shutdown time-out; they are cut off");
        server.conversations.shutdown().await;
    }
}

struct Server {
    router: Router,
    protocol: http1::Builder,
    connections: GracefulShutdown,
    conversations: JoinSet<()>,
    places: Arc<Semaphore>,
}

impl Server {
    fn new(router: Router, config: &HttpConfig) -> Self {
        let mut protocol = http1::Builder::new();
        protocol
            .timer(TokioTimer::new())
            // A request that was read is carried out whether or not its caller still listens. Else hyper asks the socket
            // about that once more for each request that is not answered at once.
            .half_close(true)
            .header_read_timeout(config.header_read_timeout)
            .max_buf_size(config.head_bytes_max.max(HEAD_BYTES_MIN));
        let places = Arc::new(Semaphore::new(
            config.connections_max.min(Semaphore::MAX_PERMITS),
        ));
        Self {
            router,
            protocol,
            connections: GracefulShutdown::new(),
            conversations: JoinSet::new(),
            places,
        }
    }

    async fn accept_until(&mut self, listener: &TcpListener, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        loop {
            let (place, stream) = tokio::select! {
                accepted = self.accept(listener) => accepted,
                () = &mut stop => return,
            };
            self.converse(place, stream);
            // What is over is forgotten, so that the set does not grow.
            while self.conversations.try_join_next().is_some() {}
        }
    }

    /// Waits for a place before it accepts: connections beyond the limit stay in the operating system's queue.
    async fn accept(&self, listener: &TcpListener) -> (OwnedSemaphorePermit, TcpStream) {
        let place = Arc::clone(&self.places)
            .acquire_owned()
            .await
            .expect("the places are never closed");
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return (place, stream),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    fn converse(&mut self, place: OwnedSemaphorePermit, stream: TcpStream) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection was gone before it began");
        }
        let service = TowerToHyperService::new(self.router.clone());
        let connection = self.connections.watch(
            self.protocol
                .serve_connection(TokioIo::new(stream), service),
        );
        self.conversations.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended in the middle");
            }
            drop(place);
        });
    }
}
