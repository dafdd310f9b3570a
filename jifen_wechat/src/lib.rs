#![doc = include_str!("../README.md")]

pub mod miniprogram;
pub mod official;
pub mod pay;
pub mod token;

mod api;
mod crypto;
mod environment;
mod keys;
mod private;
mod transport;

pub use api::{ApiError, Refusal, RefusalKind};
pub use environment::{Environment, SystemEnvironment};
pub use keys::{MerchantKey, PlatformKey, SettingError, certificate_serial};
pub use private::Private;
pub use transport::{CallLimits, TransportError};
