//! What looks after the server, and what holds for every URL.

mod docs;
mod health;
mod limits;
mod logs;
mod metrics;
mod openapi;
mod process;
mod restart;
mod shutdown;
