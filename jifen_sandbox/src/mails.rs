//! The mail box: mails an integrator would have sent over SMTP, kept for a person to read.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::locked::Locked;

/// A mail to be kept.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct NewMail {
    pub(crate) to: String,
    #[serde(default)]
    pub(crate) from: String,
    #[serde(default)]
    pub(crate) subject: String,
    /// Plain text.
    #[serde(default)]
    pub(crate) text: String,
}

/// A mail received.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Mail {
    pub(crate) id: u64,
    pub(crate) at: Timestamp,
    pub(crate) to: String,
    pub(crate) from: String,
    pub(crate) subject: String,
    pub(crate) text: String,
}

/// The most recent mails, oldest dropped first.
pub(crate) struct MailBox {
    mails_max: usize,
    mails: Locked<(u64, VecDeque<Mail>)>,
}

impl MailBox {
    pub(crate) fn new(mails_max: usize) -> Self {
        Self {
            mails_max,
            mails: Locked::default(),
        }
    }

    pub(crate) fn store(&self, new: NewMail, at: Timestamp) -> Mail {
        let mut mails = self.mails.lock();
        mails.0 += 1;
        let NewMail {
            to,
            from,
            subject,
            text,
        } = new;
        let mail = Mail {
            id: mails.0,
            at,
            to,
            from,
            subject,
            text,
        };
        while mails.1.len() >= self.mails_max.max(1) {
            mails.1.pop_front();
        }
        mails.1.push_back(mail.clone());
        mail
    }

    /// Newest first; with `to`, only mails to that address (letter case ignored).
    pub(crate) fn newest(&self, to: Option<&str>) -> Vec<Mail> {
        let mails = self.mails.lock();
        let wanted = |mail: &&Mail| to.is_none_or(|to| mail.to.eq_ignore_ascii_case(to));
        mails.1.iter().rev().filter(wanted).cloned().collect()
    }

    pub(crate) fn clear(&self) {
        self.mails.lock().1.clear();
    }
}
