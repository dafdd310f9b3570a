//! Every URL of the mall.
//!
//! [`router`] puts them together (its file lists them all), [`serve`] answers them on a socket. The URL is the path to its
//! code: `POST /api/v1/points/create-order` is `mall/points.rs`. A handler extracts, calls one use case of `jifen_app`,
//! replies; who may call it is an argument. What went wrong becomes an answer in one place, `envelope`.

mod api_keys;
mod callbacks;
mod config;
mod envelope;
mod exchange;
mod holder;
mod mall;
mod metering;
mod openapi;
mod pay;
mod request;
mod router;
mod server;
mod service;
mod web;

pub use config::{Cors, HttpConfig, InvalidOrigin, Origin, ShuttingDown};
pub use router::{openapi, router, router_with};
pub use server::serve;
