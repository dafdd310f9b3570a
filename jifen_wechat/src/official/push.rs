//! What WeChat pushes to the account's server.

use std::fmt;

use serde::Deserialize;

use crate::crypto;
use crate::official::xml::{Elements, XmlRefusal};
use crate::private::Private;

/// The query of a pushed request (GET and POST).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PushQuery {
    /// Signature over token, timestamp and nonce.
    pub signature: String,
    /// As sent, not interpreted.
    pub timestamp: String,
    /// As sent.
    pub nonce: String,
    /// GET only: what to echo.
    pub echostr: Option<String>,
    /// The sender; not covered by the signature, so not used.
    pub openid: Option<Private>,
    /// `aes` in compatible and secure mode.
    pub encrypt_type: Option<String>,
    /// Signature over token, timestamp, nonce and `Encrypt`.
    pub msg_signature: Option<String>,
}

/// Why a pushed request was refused. All of them are answered with 403: they do not come from WeChat, or are not for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PushRefusal {
    /// The signature is wrong or missing.
    #[error("the signature is wrong or missing")]
    Signature,
    /// It was signed too long ago, or in the future.
    #[error("the message was signed too long ago, or in the future")]
    Age,
    /// The message is not encrypted although this account requires it.
    #[error("the message is not encrypted although encryption is required")]
    NotEncrypted,
    /// The message is encrypted, but no `EncodingAESKey` is configured.
    #[error("the message is encrypted, but no EncodingAESKey is configured")]
    NoKey,
    /// None of the configured keys decrypts it.
    #[error("no configured EncodingAESKey decrypts the message")]
    Decrypt,
    /// The message was made for another app.
    #[error("the message was made for another app")]
    OtherApp,
    /// The body is not acceptable XML.
    #[error(transparent)]
    Xml(#[from] XmlRefusal),
    /// The message lacks a mandatory element, or it is not what it has to be.
    #[error("the message has no usable {0}")]
    Element(&'static str),
}

/// A verified message or event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// The account it was sent to: its original id, `gh_…`.
    pub account: String,
    /// Who sent it: openid within this account.
    pub openid: Private,
    /// When, in seconds since 1970.
    pub created_at_unix_seconds: i64,
    /// What it is.
    pub content: PushContent,
    pub(crate) message_id: Option<u64>,
    /// The index of the key that opened it, and the nonce to answer with.
    pub(crate) sealed_with: Option<(usize, String)>,
}

/// What was pushed.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PushContent {
    /// A follower scanned a QR code.
    Scan {
        /// `scene_str` or `scene_id` of the code.
        scene: String,
        /// The ticket of the code.
        ticket: String,
    },
    /// Somebody began to follow, with `scene` and `ticket` if by scanning a QR code.
    Subscribe {
        /// `scene_str` or `scene_id` of the code, without the prefix `qrscene_`.
        scene: Option<String>,
        /// The ticket of the code.
        ticket: Option<String>,
    },
    /// Somebody stopped following; cannot be answered.
    Unsubscribe,
    /// A text message.
    Text {
        /// What was written.
        text: String,
    },
    /// The fate of a template message.
    TemplateSent {
        /// `msgid` that sending returned.
        message_id: u64,
        /// `success`, `failed:user block`, `failed: system failed`.
        status: String,
    },
    /// Anything else: acknowledge it.
    Other {
        /// `MsgType`.
        message_type: String,
        /// `Event`, if it is one.
        event: Option<String>,
    },
}

impl Push {
    /// The QR code by which its sender proves to be in front of a screen: its scene and ticket. Both a scan by a follower
    /// and a first follow through the code count.
    pub fn scanned_code(&self) -> Option<(&str, &str)> {
        match &self.content {
            PushContent::Scan { scene, ticket }
            | PushContent::Subscribe {
                scene: Some(scene),
                ticket: Some(ticket),
            } => Some((scene, ticket)),
            _ => None,
        }
    }

    /// The same for every delivery of the same message, 64 hex digits. Contains no openid.
    pub fn dedupe_key(&self) -> String {
        // Messages have an id; events are identified by sender and time, and what they are about.
        if let Some(message_id) = self.message_id {
            return crypto::sha256_hex(&[b"message\n", message_id.to_string().as_bytes()]);
        }
        let (kind, about) = match &self.content {
            PushContent::Scan { ticket, .. } => ("SCAN", ticket.clone()),
            PushContent::Subscribe { ticket, .. } => {
                ("subscribe", ticket.clone().unwrap_or_default())
            }
            PushContent::Unsubscribe => ("unsubscribe", String::new()),
            PushContent::Text { text } => ("text", text.clone()),
            PushContent::TemplateSent { message_id, .. } => ("template", message_id.to_string()),
            PushContent::Other {
                message_type,
                event,
            } => (
                "other",
                format!("{message_type}\n{}", event.as_deref().unwrap_or_default()),
            ),
        };
        crypto::sha256_hex(&[
            b"event\n",
            self.openid.as_str().as_bytes(),
            b"\n",
            self.created_at_unix_seconds.to_string().as_bytes(),
            b"\n",
            kind.as_bytes(),
            b"\n",
            about.as_bytes(),
        ])
    }

    pub(crate) fn from_elements(
        elements: &Elements,
        sealed_with: Option<(usize, String)>,
    ) -> Result<Self, PushRefusal> {
        let text = |name| elements.get(name).filter(|text| !text.is_empty());
        let required = |name| text(name).ok_or(PushRefusal::Element(name));
        let message_id = match text("MsgId") {
            None => None,
            Some(id) => Some(
                id.trim()
                    .parse()
                    .map_err(|_| PushRefusal::Element("MsgId"))?,
            ),
        };
        Ok(Self {
            account: required("ToUserName")?.to_owned(),
            openid: required("FromUserName")?.into(),
            created_at_unix_seconds: required("CreateTime")?
                .trim()
                .parse()
                .map_err(|_| PushRefusal::Element("CreateTime"))?,
            content: PushContent::from_elements(required("MsgType")?, elements)?,
            message_id,
            sealed_with,
        })
    }
}

impl PushContent {
    fn from_elements(message_type: &str, elements: &Elements) -> Result<Self, PushRefusal> {
        let owned = |name| {
            elements
                .get(name)
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        let event = owned("Event");
        Ok(match (message_type, event.as_deref()) {
            ("text", _) => Self::Text {
                text: owned("Content").unwrap_or_default(),
            },
            ("event", Some("SCAN")) => Self::Scan {
                scene: owned("EventKey").ok_or(PushRefusal::Element("EventKey"))?,
                ticket: owned("Ticket").ok_or(PushRefusal::Element("Ticket"))?,
            },
            ("event", Some("subscribe")) => Self::Subscribe {
                scene: owned("EventKey")
                    .and_then(|key| key.strip_prefix("qrscene_").map(str::to_owned)),
                ticket: owned("Ticket"),
            },
            ("event", Some("unsubscribe")) => Self::Unsubscribe,
            ("event", Some("TEMPLATESENDJOBFINISH")) => Self::TemplateSent {
                message_id: owned("MsgID")
                    .and_then(|id| id.trim().parse().ok())
                    .ok_or(PushRefusal::Element("MsgID"))?,
                status: owned("Status").ok_or(PushRefusal::Element("Status"))?,
            },
            _ => Self::Other {
                message_type: message_type.to_owned(),
                event,
            },
        })
    }
}

impl fmt::Debug for PushContent {
    /// Only the kind: a ticket logs somebody in, and texts are private.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Scan { .. } => "Scan(..)",
            Self::Subscribe {
                ticket: Some(_), ..
            } => "Subscribe(with ticket)",
            Self::Subscribe { ticket: None, .. } => "Subscribe(without ticket)",
            Self::Unsubscribe => "Unsubscribe",
            Self::Text { .. } => "Text(..)",
            Self::TemplateSent { .. } => "TemplateSent(..)",
            Self::Other { .. } => "Other(..)",
        })
    }
}
