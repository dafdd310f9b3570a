//! The pay document: `/api/v1/alipay` and `/api/v1/login`.

pub(crate) mod alipay;
pub(crate) mod login;
