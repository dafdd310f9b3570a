//! A load that costs the client little: one thread, raw sockets, requests that lie ready, one in flight on each connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::histogram::Histogram;
use crate::requests::Requests;

/// What to send, and for how long.
#[derive(Clone)]
pub(crate) struct Load {
    pub(crate) requests: Arc<dyn Requests>,
    /// Spread over all the addresses it is sent to.
    pub(crate) connections: usize,
    /// Not measured.
    pub(crate) warm_up: Duration,
    pub(crate) duration: Duration,
    /// Requests a second; as many as are answered when there is none.
    pub(crate) pace: Option<f64>,
}

/// What came of it.
pub(crate) struct Outcome {
    /// Answers within the measured time.
    pub(crate) answered: u64,
    /// All answers, those of the warm-up too: what must be found in the ledger.
    pub(crate) acknowledged: u64,
    pub(crate) duration: Duration,
    /// From when a request was due.
    pub(crate) latencies: Histogram,
}

impl Outcome {
    pub(crate) fn per_second(&self) -> f64 {
        self.answered as f64 / self.duration.as_secs_f64()
    }
}

impl Load {
    /// Sends it; every answer must be a 200.
    pub(crate) async fn send(&self, addresses: &[SocketAddr]) -> Outcome {
        let begin = Instant::now() + self.warm_up;
        let period = Period {
            begin,
            end: begin + self.duration,
        };
        let interval = self
            .pace
            .map(|pace| Duration::from_secs_f64(self.connections as f64 / pace));
        let mut workers = Vec::with_capacity(self.connections);
        for (number, address) in (0..self.connections).zip(addresses.iter().cycle()) {
            let stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let schedule = interval.map(|interval| Schedule {
                next: Instant::now() + interval.mul_f64(number as f64 / self.connections as f64),
                interval,
            });
            let connection = Connection::new(stream);
            let requests = Arc::clone(&self.requests);
            workers.push(tokio::spawn(connection.work(requests, period, schedule)));
        }
        let mut outcome = Outcome {
            answered: 0,
            acknowledged: 0,
            duration: self.duration,
            latencies: Histogram::new(),
        };
        for worker in workers {
            let part = worker.await.expect("a connection met another answer");
            outcome.answered += part.answered;
            outcome.acknowledged += part.acknowledged;
            outcome.latencies.merge(&part.latencies);
        }
        outcome
    }
}

#[derive(Clone, Copy)]
struct Period {
    begin: Instant,
    end: Instant,
}

/// When a connection's requests are due.
struct Schedule {
    next: Instant,
    interval: Duration,
}

impl Schedule {
    /// Waits for the next request's time and says since when it is due. Coming late from the request before counts; that
    /// the timer goes by milliseconds does not.
    async fn due(&mut self) -> Instant {
        let due = self.next;
        self.next += self.interval;
        if due <= Instant::now() {
            return due;
        }
        tokio::time::sleep_until(due.into()).await;
        Instant::now()
    }
}

/// One worker's share of the outcome.
struct Part {
    answered: u64,
    acknowledged: u64,
    latencies: Histogram,
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            buffer: Vec::with_capacity(1 << 16),
        }
    }

    async fn work(
        mut self,
        requests: Arc<dyn Requests>,
        period: Period,
        mut schedule: Option<Schedule>,
    ) -> Part {
        let mut part = Part {
            answered: 0,
            acknowledged: 0,
            latencies: Histogram::new(),
        };
        let mut request = Vec::with_capacity(1 << 15);
        loop {
            let due = match &mut schedule {
                Some(schedule) => schedule.due().await,
                None => Instant::now(),
            };
            if due >= period.end {
                return part;
            }
            request.clear();
            requests.write(&mut request);
            self.stream.write_all(&request).await.unwrap();
            self.read_answer().await;
            part.acknowledged += 1;
            let now = Instant::now();
            if (period.begin..period.end).contains(&now) {
                part.answered += 1;
                part.latencies
                    .add(now.duration_since(due).as_micros() as u64);
            }
        }
    }

    async fn read_answer(&mut self) {
        self.buffer.clear();
        self.read_more().await;
        let body = loop {
            if let Some(head) = find(&self.buffer, b"\r\n\r\n") {
                break head + 4;
            }
            self.read_more().await;
        };
        assert!(
            self.buffer.starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(&self.buffer)
        );
        let end = body + content_length(&self.buffer[..body]);
        while self.buffer.len() < end {
            self.read_more().await;
        }
    }

    async fn read_more(&mut self) {
        let read = self.stream.read_buf(&mut self.buffer).await.unwrap();
        assert!(read > 0, "the server closed the connection");
    }
}

fn content_length(head: &[u8]) -> usize {
    const NAME: &[u8] = b"\r\ncontent-length: ";
    let at = find(head, NAME).expect("an answer has a length") + NAME.len();
    head[at..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0, |length, digit| length * 10 + usize::from(digit - b'0'))
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len())
        .position(|window| window == wanted)
}
