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
mod service_credential;
mod session;
mod system;
mod tariff;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod user;

pub use api_key::{KeyOfSecret, KeySpending};
pub use audit::{AuditObserver, AuditProgress, AuditScope, Audited, Finding};
pub use engine::{Change, Engine, Error, Result, Store, StoreConfig, Tx};
pub use job::{FailedJob, Job};
pub use ledger::{
    Consumption, Expiring, Holdings, LockedAccount, Recorded, StoredCharge, UsageLine,
};
pub use official_account::{QrLogin, StoredToken};
pub use order::PaymentIncident;
pub use service_credential::ServiceCredential;
pub use system::{Maintenance, Notice};
pub use user::{EmailConfirmation, UserSummary};
