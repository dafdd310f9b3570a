//! A connection that hears what other nodes announce.

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

/// How long a server may say nothing before it is asked whether it is there, and how long it may take to answer: within five
/// seconds it is known that it is gone.
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
    /// all from now on. Returns why it no longer does. A server that has nothing to tell is asked now and then whether it is
    /// still there: nothing else would show that it is not.
    pub(in crate::engine) async fn listen(&self, mut heard: impl FnMut(&str)) -> Error {
        let wait = Duration::from_secs(POOL_WAIT_SECONDS_MAX);
        let (client, mut connection) =
            match timeout(wait, self.config.connect(self.tls.clone())).await {
                Ok(Ok(connected)) => connected,
                Ok(Err(error)) => return failure(&error, "connecting"),
                Err(_) => return silence(),
            };
        let mut messages = pin!(stream::poll_fn(|context| connection.poll_message(context)));
        let listen = format!("LISTEN {CHANNEL}");
        let ask = |sql| timeout(ANSWER_TIME_MAX, client.batch_execute(sql));
        let mut asking = pin!(ask(listen.as_str()));
        let mut resting = pin!(sleep(REST));
        let (mut is_asking, mut is_listening) = (true, false);
        loop {
            tokio::select! {
                asked = &mut asking, if is_asking => match asked {
                    Ok(Ok(())) => {
                        is_asking = false;
                        resting.as_mut().reset(Instant::now() + REST);
                        if !is_listening {
                            is_listening = true;
                            heard("");
                        }
                    }
                    Ok(Err(error)) => return failure(&error, &listen),
                    Err(_) => return silence(),
                },
                () = &mut resting, if !is_asking => {
                    asking.set(ask(""));
                    is_asking = true;
                }
                // This also moves what `asking` sends and receives.
                message = messages.try_next() => match message {
                    Ok(Some(AsyncMessage::Notification(notification))) => {
                        heard(notification.payload());
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => return Error::Unavailable("the connection is closed".to_owned()),
                    Err(error) => return failure(&error, &listen),
                },
            }
        }
    }
}
