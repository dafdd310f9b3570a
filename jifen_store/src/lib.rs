//! All SQL of the mall, on SQLite and PostgreSQL. One file per domain module holds its statements, its row mapping and its
//! verbs on a transaction ([`Tx`]); only `engine/` knows that there are two engines.

mod api_key;
mod audit;
mod catalogue;
mod engine;
mod job;
mod ledger;
mod official_account;
mod order;
mod session;
mod system;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod user;

pub use api_key::ServiceCredential;
pub use audit::{Audited, Finding};
pub use engine::{Engine, Error, Result, Store, StoreConfig, Tx};
pub use job::{FailedJob, Job};
pub use ledger::{ChargeRecord, Consumption, Holdings};
pub use official_account::{QrLogin, StoredToken};
pub use order::PaymentIncident;
pub use system::{Maintenance, Notice};
pub use user::{EmailConfirmation, UserSummary};
