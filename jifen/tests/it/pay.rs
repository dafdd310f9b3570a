//! The pay document's own URLs.

mod alipay;
mod login;
