//! A connection that hears what other nodes announce.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::pin::pin;
use std::time::Duration;

use futures_util::{TryStreamExt, stream};
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::{AsyncMessage, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::failure::failure;
use super::{POOL_WAIT_SECONDS_MAX, silence};
use crate::engine::changes::CHANNEL;
use crate::engine::error::Error;

/// Begins the notifications that a node sends itself. No topic does.
const HEARTBEAT: &str = "heartbeat ";
/// From one of them to the next, and how long each may take: within five seconds it is known that nothing is heard.
const REST: Duration = Duration::from_secs(2);
const ANSWER_TIME_MAX: Duration = Duration::from_secs(3);

/// How to connect, apart from the pool: what is heard on a pooled connection would wait for its next statement.
pub(in crate::engine) struct Listener {
    config: Config,
    tls: MakeRustlsConnect,
}

impl Listener {
    pub(super) fn new(config: Config, tls: MakeRustlsConnect) -> Self {
        Self { config, tls }
    }

    /// Connects, and hands the payload of every notification to `heard`, beginning with an empty one when it hears them
    /// all from now on. Returns why it no longer does. It sends itself a notification now and then: nothing else would show
    /// that a server is gone, or that a pool of connections in between has given this one's away.
    pub(in crate::engine) async fn listen(&self, mut heard: impl FnMut(&str)) -> Error {
        let wait = Duration::from_secs(POOL_WAIT_SECONDS_MAX);
        let (client, mut connection) =
            match timeout(wait, self.config.connect(self.tls.clone())).await {
                Ok(Ok(connected)) => connected,
                Ok(Err(error)) => return failure(&error, "connecting"),
                Err(_) => return silence(),
            };
        let mut messages = pin!(stream::poll_fn(|context| connection.poll_message(context)));
        // Other nodes send theirs, too.
        let own = RandomState::new().build_hasher().finish().to_string();
        let beat = format!("SELECT pg_notify('{CHANNEL}', '{HEARTBEAT}{own}')");
        let listen = format!("LISTEN {CHANNEL}; {beat}");
        let ask = |sql| client.batch_execute(sql);
        let mut asking = pin!(ask(listen.as_str()));
        let mut waiting = pin!(sleep(ANSWER_TIME_MAX));
        let (mut is_asking, mut is_awaited, mut is_listening) = (true, true, false);
        loop {
            tokio::select! {
                asked = &mut asking, if is_asking => match asked {
                    Ok(()) => is_asking = false,
                    Err(error) => return failure(&error, &listen),
                },
                () = &mut waiting => {
                    if is_asking || is_awaited {
                        return silence();
                    }
                    asking.set(ask(beat.as_str()));
                    (is_asking, is_awaited) = (true, true);
                    waiting.as_mut().reset(Instant::now() + ANSWER_TIME_MAX);
                }
                // This also moves what `asking` sends and receives.
                message = messages.try_next() => match message {
                    Ok(Some(AsyncMessage::Notification(notification))) => {
                        match notification.payload().strip_prefix(HEARTBEAT) {
                            Some(whose) if whose == own => {
                                is_awaited = false;
                                waiting.as_mut().reset(Instant::now() + REST);
                                if !is_listening {
                                    is_listening = true;
                                    heard("");
                                }
                            }
                            Some(_) => {}
                            None => heard(notification.payload()),
                        }
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => return Error::Unavailable("the connection is closed".to_owned()),
                    Err(error) => return failure(&error, &listen),
                },
            }
        }
    }
}
