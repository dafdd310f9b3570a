//! People, and the identities they come with.

use crate::{Time, UserId};

/// The nickname WeChat gives to everyone since it stopped telling real ones (8 November 2022).
pub const DEFAULT_NICKNAME: &str = "微信用户";
/// Characters of a nickname that are kept.
pub const NICKNAME_CHARS_MAX: usize = 64;
/// Bytes of an avatar's address; a longer one is not stored.
pub const AVATAR_URL_BYTES_MAX: usize = 1_024;
/// Bytes of an e-mail address (RFC 5321's limit of a path, without its brackets).
pub const EMAIL_BYTES_MAX: usize = 254;

/// A person, however they log in.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// Public as text.
    pub id: UserId,
    /// Shown to the person; [`DEFAULT_NICKNAME`] until a better one is known.
    pub nickname: String,
    /// Empty until known.
    pub avatar_url: String,
    /// WeChat's id of the person across the operator's apps, once it was learnt.
    pub unionid: Option<String>,
    /// Bound by WeChat's phone button.
    pub phone: Option<String>,
    /// Confirmed by a code sent to it.
    pub email: Option<String>,
    /// First login.
    pub created_at: Time,
}

impl std::fmt::Debug for User {
    /// Without what is private about the person.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User")
            .field("id", &self.id)
            .field("nickname", &self.nickname)
            .field("created_at", &self.created_at)
            .finish_non_exhaustive()
    }
}

impl User {
    /// Takes over what a login tells of the person. WeChat's placeholders never overwrite what was chosen before.
    pub fn update_profile(&mut self, nickname: &str, avatar_url: &str) {
        let nickname: String = nickname
            .trim()
            .chars()
            .filter(|c| !c.is_control())
            .take(NICKNAME_CHARS_MAX)
            .collect();
        if nickname.is_empty() || nickname == DEFAULT_NICKNAME {
            return;
        }
        self.nickname = nickname;
        if avatar_url.starts_with("https://") && avatar_url.len() <= AVATAR_URL_BYTES_MAX {
            avatar_url.clone_into(&mut self.avatar_url);
        }
    }

    /// Of two records of one person the younger is merged into the older.
    pub fn is_older_than(&self, other: &User) -> bool {
        (self.created_at, self.id) < (other.created_at, other.id)
    }

    /// Takes over from the younger record what this one lacks.
    pub fn absorb(&mut self, younger: &User) {
        if self.nickname == DEFAULT_NICKNAME {
            self.nickname.clone_from(&younger.nickname);
        }
        if self.avatar_url.is_empty() {
            self.avatar_url.clone_from(&younger.avatar_url);
        }
        self.unionid = self.unionid.take().or_else(|| younger.unionid.clone());
        self.phone = self.phone.take().or_else(|| younger.phone.clone());
        self.email = self.email.take().or_else(|| younger.email.clone());
    }
}

/// An e-mail address good enough to send a code to; the code proves the rest. Lower-cased domain, trimmed.
pub fn email(text: &str) -> Option<String> {
    let text = text.trim();
    let (local, domain) = text.rsplit_once('@')?;
    let labels_fit = domain.split('.').all(|label| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    });
    let local_fits = (1..=64).contains(&local.len())
        && !local.starts_with('.')
        && !local.ends_with('.')
        && !local.contains("..")
        && local
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&b));
    (labels_fit && local_fits && domain.contains('.') && text.len() <= EMAIL_BYTES_MAX)
        .then(|| format!("{local}@{}", domain.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: i64, created: i64) -> User {
        User {
            id: UserId(id),
            nickname: DEFAULT_NICKNAME.into(),
            avatar_url: String::new(),
            unionid: None,
            phone: None,
            email: None,
            created_at: Time::from_micros(created),
        }
    }

    #[test]
    fn placeholders_of_wechat_never_overwrite_a_profile() {
        let mut person = user(1, 0);
        person.update_profile("小明", "https://a/1.png");
        person.update_profile(DEFAULT_NICKNAME, "https://thirdwx.qlogo.cn/grey");
        assert_eq!(
            (person.nickname.as_str(), person.avatar_url.as_str()),
            ("小明", "https://a/1.png")
        );
        person.update_profile("小\u{0}红", "javascript:alert(1)");
        assert_eq!(
            (person.nickname.as_str(), person.avatar_url.as_str()),
            ("小红", "https://a/1.png")
        );
    }

    #[test]
    fn the_older_record_takes_over_what_it_lacks() {
        let mut older = user(2, 4);
        let younger = User {
            phone: Some("2".into()),
            nickname: "n".into(),
            ..user(1, 5)
        };
        assert!(older.is_older_than(&younger) && !younger.is_older_than(&older));
        older.absorb(&younger);
        assert_eq!(
            (older.phone.as_deref(), older.nickname.as_str()),
            (Some("2"), "n")
        );
    }

    #[test]
    fn addresses_that_cannot_be_mailed_are_refused() {
        assert_eq!(
            email(" Li.Lei+x@Example.COM ").as_deref(),
            Some("Li.Lei+x@example.com")
        );
        for bad in [
            "",
            "a",
            "@b.c",
            "a@",
            "a@b",
            "a b@c.d",
            "a@b..c",
            "a@-b.c",
            "a\r\nBcc: x@y.z@b.c",
            "<a@b.c>",
            ".a@b.c",
            "a..b@c.d",
            "好@b.c",
        ] {
            assert_eq!(email(bad), None, "{bad:?}");
        }
    }
}
