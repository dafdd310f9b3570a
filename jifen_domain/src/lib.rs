//! The rules of the mall, pure: no I/O, no clock, no randomness. Everything takes `now` and returns a decision;
//! what is decided is written by `jifen_store` and asked for by `jifen_app`.

pub mod catalogue;
pub mod id;
pub mod key;
pub mod ledger;
pub mod money;
pub mod order;
pub mod session;
pub mod tariff;
pub mod text;
pub mod time;
pub mod user;

pub use id::{AccountId, UserId};
pub use money::{Fen, Points};
pub use time::Time;
