//! A load that costs the client little: raw sockets, one request in flight on each.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::process::Mall;

/// What to send, and for how long.
pub(crate) struct Load {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    pub(crate) connections: usize,
    pub(crate) duration: Duration,
}

/// What came of it.
pub(crate) struct Measured {
    pub(crate) name: &'static str,
    latencies: Vec<Duration>,
    elapsed: Duration,
    cpu: Duration,
}

impl Load {
    /// Sends what `request` makes of the number of the request; every answer must be a 200.
    pub(crate) async fn run(self, mall: &Mall, request: impl Fn(usize) -> Vec<u8>) -> Measured {
        let counter = AtomicUsize::new(0);
        let (cpu_before, started) = (mall.cpu_time(), Instant::now());
        let until = started + self.duration;
        let workers =
            (0..self.connections).map(|_| worker(self.address, until, &counter, &request));
        let latencies: Vec<Duration> = futures_util::future::join_all(workers)
            .await
            .into_iter()
            .flatten()
            .collect();
        let elapsed = started.elapsed();
        eprintln!("{}: {} requests", self.name, latencies.len());
        let mut measured = Measured {
            name: self.name,
            latencies,
            elapsed,
            cpu: mall.cpu_time().saturating_sub(cpu_before),
        };
        measured.latencies.sort_unstable();
        measured
    }
}

impl Measured {
    pub(crate) fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// Of the server, per request.
    pub(crate) fn cpu_micros(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.latencies.len() as f64
    }

    pub(crate) fn percentile_millis(&self, percent: usize) -> f64 {
        let place = (self.latencies.len() * percent / 100).min(self.latencies.len() - 1);
        self.latencies[place].as_secs_f64() * 1e3
    }
}

async fn worker(
    address: SocketAddr,
    until: Instant,
    counter: &AtomicUsize,
    request: &impl Fn(usize) -> Vec<u8>,
) -> Vec<Duration> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut latencies = Vec::with_capacity(1 << 16);
    let mut buffer = Vec::with_capacity(1 << 14);
    while Instant::now() < until {
        let bytes = request(counter.fetch_add(1, Ordering::Relaxed));
        let sent = Instant::now();
        stream.write_all(&bytes).await.unwrap();
        read_answer(&mut stream, &mut buffer).await;
        latencies.push(sent.elapsed());
    }
    latencies
}

async fn read_answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) {
    buffer.clear();
    loop {
        assert!(
            stream.read_buf(buffer).await.unwrap() > 0,
            "the server closed the connection"
        );
        let Some(head) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
            continue;
        };
        let text = std::str::from_utf8(&buffer[..head]).unwrap();
        assert!(
            text.starts_with("HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(buffer)
        );
        let length = text
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .map_or(0, |(_, value)| value.parse().unwrap());
        while buffer.len() < head + 4 + length {
            assert!(
                stream.read_buf(buffer).await.unwrap() > 0,
                "the server closed the connection"
            );
        }
        return;
    }
}
