//! Notifications of payments and refunds.

use std::fmt;

use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::pay::Pay;
use crate::pay::order::Transaction;
use crate::pay::refund::RefundNotice;
use crate::pay::resource::EncryptedResource;
use crate::pay::signature::{SignatureHeaders, SignatureRefusal};

/// An authentic notification. Authentic does not mean right: compare it with the order
/// ([`Transaction::check`]) and book each transaction once, however often it is notified.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notification {
    /// A payment succeeded.
    Transaction {
        /// Id of the notification: the same for every delivery.
        id: String,
        /// The order.
        transaction: Box<Transaction>,
    },
    /// A refund succeeded, failed or was closed.
    Refund {
        /// Id of the notification: the same for every delivery.
        id: String,
        /// The refund.
        refund: Box<RefundNotice>,
    },
    /// Something else: record and acknowledge it.
    Other {
        /// Id of the notification: the same for every delivery.
        id: String,
        /// `event_type`.
        event_type: String,
        /// The decrypted JSON.
        plaintext: Vec<u8>,
    },
}

/// Why a notification is not accepted. The body of the answer is `{"code":"FAIL","message":…}`; only the status counts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotificationRefusal {
    /// Not proven to be from WeChat Pay.
    #[error(transparent)]
    Signature(#[from] SignatureRefusal),
    /// Authentic, but it does not decrypt: the API v3 key was changed.
    #[error("the notification does not decrypt with the configured API v3 key")]
    Decrypt,
    /// Authentic, but without something it has to carry.
    #[error("the notification has no usable {0}")]
    Content(&'static str),
}

impl NotificationRefusal {
    /// 401 for what is not from WeChat Pay, 500 for what is our fault and should be delivered again.
    pub fn http_status(&self) -> u16 {
        match self {
            Self::Signature(_) => 401,
            Self::Decrypt | Self::Content(_) => 500,
        }
    }

    /// Whether this is WeChat Pay's own test with a wrong signature, not an attack.
    pub fn is_probe(&self) -> bool {
        *self == Self::Signature(SignatureRefusal::Probe)
    }
}

#[derive(Deserialize)]
struct Envelope {
    id: String,
    event_type: String,
    resource: Resource,
}

#[derive(Deserialize)]
struct Resource {
    original_type: Option<String>,
    #[serde(flatten)]
    encrypted: EncryptedResource,
}

impl Pay {
    /// Verifies and decrypts a notification; downloads certificates when it is signed with an unknown one.
    /// `body` is the exact bytes received. Answer within five seconds.
    pub async fn notification(
        &self,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Notification, NotificationRefusal> {
        self.verify_or_refresh(headers, body).await?;
        self.decrypt_notification(body)
    }

    /// The same with the keys known now and a given clock, without any call.
    pub fn verify_and_decrypt(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now_unix_seconds: i64,
    ) -> Result<Notification, NotificationRefusal> {
        let headers = SignatureHeaders::from_headers(headers)?;
        self.platform_keys
            .verify(&headers, body, now_unix_seconds)?;
        self.decrypt_notification(body)
    }

    fn decrypt_notification(&self, body: &[u8]) -> Result<Notification, NotificationRefusal> {
        let envelope: Envelope =
            serde_json::from_slice(body).map_err(|_| NotificationRefusal::Content("envelope"))?;
        let plaintext = self
            .api_v3_key
            .decrypt(&envelope.resource.encrypted)
            .ok_or(NotificationRefusal::Decrypt)?;
        let id = envelope.id;
        match envelope.resource.original_type.as_deref() {
            Some("transaction") => Ok(Notification::Transaction {
                id,
                transaction: Box::new(read(&plaintext, "transaction")?),
            }),
            Some("refund") => Ok(Notification::Refund {
                id,
                refund: Box::new(read(&plaintext, "refund")?),
            }),
            _ => Ok(Notification::Other {
                id,
                event_type: envelope.event_type,
                plaintext,
            }),
        }
    }
}

fn read<T: DeserializeOwned>(
    plaintext: &[u8],
    what: &'static str,
) -> Result<T, NotificationRefusal> {
    serde_json::from_slice(plaintext).map_err(|_| NotificationRefusal::Content(what))
}

impl fmt::Debug for Notification {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transaction { id, transaction } => formatter
                .debug_struct("Transaction")
                .field("id", id)
                .field("transaction", transaction)
                .finish(),
            Self::Refund { id, refund } => formatter
                .debug_struct("Refund")
                .field("id", id)
                .field("refund", refund)
                .finish(),
            // The content is unknown, so it may be private.
            Self::Other { id, event_type, .. } => formatter
                .debug_struct("Other")
                .field("id", id)
                .field("event_type", event_type)
                .finish_non_exhaustive(),
        }
    }
}
