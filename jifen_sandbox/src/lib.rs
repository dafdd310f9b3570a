//! A stand-in for WeChat and Alipay: the providers' paths, signatures, certificates, notifications and retry schedules over
//! HTTP, with pages on which a person scans and pays, and with faults on demand.
//!
//! It verifies requests as strictly as the real providers do and answers with their error codes, for one fixed throw-away
//! merchant, the [`Kit`]. Any program in any language that can be pointed at another base URL can use it; it knows nothing of
//! the mall and shares no code with the mall's clients, so that a misunderstanding of a protocol cannot hide in both.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8090").await?;
//! let config = jifen_sandbox::Config::new("http://127.0.0.1:8090", jifen_sandbox::outgoing_client()?);
//! jifen_sandbox::Sandbox::new(config).serve(listener, std::future::pending()).await;
//! # Ok(()) }
//! ```

mod access_token;
mod alipay;
mod beijing;
mod certificate;
mod control;
mod environment;
mod exchanges;
mod faults;
mod forgery;
mod kit;
mod locked;
mod mails;
mod mini_program;
mod observe;
mod official_account;
mod outbox;
mod pages;
mod payments;
mod people;
mod provider;
mod rsa;
mod same_origin;
mod sandbox;
mod serve;
mod wechat_errcode;
mod wechat_pay;

pub use environment::{Environment, SystemEnvironment};
pub use kit::Kit;
pub use sandbox::{Config, Limits, Sandbox, outgoing_client};
