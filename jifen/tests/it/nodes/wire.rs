//! The wire between a node and PostgreSQL, which can be cut.

use std::net::SocketAddr;
use std::path::PathBuf;

use jifen_store::StoreConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use url::Url;

use crate::world::database_url;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Everything passes.
    Whole,
    /// Connections are closed, new ones refused.
    Cut,
    /// Connections stay and are accepted, and nothing passes. Those of this time are lost for ever, as those are that a
    /// firewall has forgotten.
    Silent,
}

pub(super) struct Wire {
    /// The same database, by way of the wire.
    pub(super) database_url: String,
    state: watch::Sender<State>,
}

impl Wire {
    pub(super) async fn to(config: &StoreConfig) -> Self {
        let url = Url::parse(&database_url(config)).unwrap();
        let parameter = |name: &str| {
            let found = url.query_pairs().find(|(key, _)| key == name);
            found.map(|(_, value)| value.into_owned())
        };
        let server = match parameter("host") {
            Some(folder) => {
                let port = parameter("port").or(url.port().map(|port| port.to_string()));
                let port = port.as_deref().unwrap_or("5432").to_owned();
                Server::Socket(PathBuf::from(folder).join(format!(".s.PGSQL.{port}")))
            }
            None => Server::Address(format!(
                "{}:{}",
                url.host_str().unwrap(),
                url.port().unwrap_or(5432)
            )),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (state, watched) = watch::channel(State::Whole);
        tokio::spawn(carry(listener, address, server, watched));
        let user = parameter("user").unwrap_or_else(|| url.username().to_owned());
        let password = url.password().map(|password| format!(":{password}"));
        Self {
            database_url: format!(
                "postgresql://{user}{}@{address}{}?sslmode=disable",
                password.unwrap_or_default(),
                url.path()
            ),
            state,
        }
    }

    pub(super) fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    pub(super) fn silence(&self) {
        self.state.send_replace(State::Silent);
    }

    pub(super) fn mend(&self) {
        self.state.send_replace(State::Whole);
    }
}

#[derive(Clone)]
enum Server {
    Socket(PathBuf),
    Address(String),
}

/// Listens as long as the wire is not cut.
async fn carry(
    listener: TcpListener,
    address: SocketAddr,
    server: Server,
    mut state: watch::Receiver<State>,
) {
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    loop {
        if *state.borrow_and_update() == State::Cut {
            listener = None;
        } else if listener.is_none() {
            // Somebody else may have the port for a moment.
            listener = TcpListener::bind(address).await.ok();
        }
        tokio::select! {
            changed = state.changed() => if changed.is_err() {
                return;
            },
            Some(Ok((near, _))) = accept(listener.as_ref()) => {
                connections.spawn(connect(near, server.clone(), state.clone()));
            }
        }
    }
}

async fn accept(
    listener: Option<&TcpListener>,
) -> Option<std::io::Result<(TcpStream, SocketAddr)>> {
    Some(listener?.accept().await)
}

async fn connect(near: TcpStream, server: Server, state: watch::Receiver<State>) {
    near.set_nodelay(true).unwrap();
    match server {
        Server::Socket(path) => join(near, UnixStream::connect(path).await.unwrap(), state).await,
        Server::Address(address) => {
            join(near, TcpStream::connect(address).await.unwrap(), state).await;
        }
    }
}

/// Carries bytes both ways until one side closes or the wire is cut.
async fn join<S>(near: TcpStream, far: S, mut state: watch::Receiver<State>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut from_near, mut to_near) = near.into_split();
    let (mut from_far, mut to_far) = tokio::io::split(far);
    let (mut asked, mut answered) = (vec![0; 16_384], vec![0; 16_384]);
    let mut is_lost = false;
    loop {
        match *state.borrow_and_update() {
            State::Whole => {}
            State::Cut => return,
            State::Silent => is_lost = true,
        }
        tokio::select! {
            changed = state.changed() => if changed.is_err() {
                return;
            },
            read = from_near.read(&mut asked) => match read {
                Ok(count) if count > 0 => if !is_lost && to_far.write_all(&asked[..count]).await.is_err() {
                    return;
                },
                _ => return,
            },
            // The server does not learn of it either.
            read = from_far.read(&mut answered), if !is_lost => match read {
                Ok(count) if count > 0 => if to_near.write_all(&answered[..count]).await.is_err() {
                    return;
                },
                _ => return,
            },
        }
    }
}
