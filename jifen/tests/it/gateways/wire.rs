//! A small HTTP server for the ends of the proxies' wires: every request is answered by a function, or not at all.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};

use axum::body::{Body, to_bytes};
use axum::http::{Request, Response};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// Bytes of a request's body that the server reads.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// An address of this machine that nobody else uses: each process has an IP of its own in 127.0.0.0/8, and each call a port.
/// A port of 127.0.0.1 that was free a moment ago may be another's by the time a proxy binds it.
pub(super) fn free_address() -> SocketAddr {
    static PORTS: AtomicU16 = AtomicU16::new(20_000);
    // A process number has at most 22 bits.
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let port = PORTS.fetch_add(1, Ordering::Relaxed);
    SocketAddr::from(([127, 1 + high, middle, low], port))
}

/// Serves until the runtime ends. Where the function answers `None`, the connection is closed without an answer.
pub(super) async fn serve<F, A>(address: SocketAddr, answer: F)
where
    F: Fn(Request<String>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Option<Response<String>>> + Send + 'static,
{
    let listener = TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            let service = service_fn(move |request| {
                let answer = answer.clone();
                async move {
                    let answered = answer(read(request).await).await;
                    answered.ok_or_else(|| std::io::Error::other("hung up"))
                }
            });
            // What the other side does to the connection is not this server's business.
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
}

async fn read(request: Request<hyper::body::Incoming>) -> Request<String> {
    let (parts, body) = request.into_parts();
    let bytes = to_bytes(Body::new(body), BODY_BYTES_MAX).await.unwrap();
    Request::from_parts(parts, String::from_utf8(bytes.into()).unwrap())
}

/// The values of a header, joined as a proxy may join them.
pub(super) fn header<B>(request: &Request<B>, name: &str) -> String {
    let values = request.headers().get_all(name).iter();
    let texts: Vec<&str> = values.map(|value| value.to_str().unwrap()).collect();
    texts.join(", ")
}
