//! The people a visitor of the sandbox can be: WeChat users and Alipay buyers in one.

use aws_lc_rs::hmac;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{kit::Kit, locked::Locked, official_account::hex, payments::ActionError};

/// A person. Identifiers follow from the person's id alone, so they survive a restart.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Person {
    /// `[a-z0-9]`, 1..=32.
    pub(crate) id: String,
    pub(crate) nickname: String,
    /// Digits, without the country code 86.
    pub(crate) phone: String,
    /// Whether WeChat tells the unionid (the apps being bound to one open-platform account).
    pub(crate) unionid_shared: bool,
    /// Whether WeChat holds the person for high-risk and refuses the login (40226).
    pub(crate) login_blocked: bool,
    /// Since when the person follows the official account.
    pub(crate) follows_since: Option<Timestamp>,
}

impl Person {
    /// The person's id within `appid`: `o` and 27 characters.
    pub(crate) fn openid(&self, appid: &str) -> String {
        format!("o{}", derived("openid", &[appid, &self.id], 27))
    }

    /// The person's id across all apps, where it is shared.
    pub(crate) fn unionid(&self) -> Option<String> {
        self.unionid_shared
            .then(|| format!("o{}", derived("unionid", &[&self.id], 27)))
    }

    /// `buyer_id` at Alipay: `2088` and 12 digits.
    pub(crate) fn alipay_user_id(&self) -> String {
        let digest = digest("alipay", &[&self.id]);
        let digits = digest
            .as_ref()
            .iter()
            .take(12)
            .map(|byte| char::from(b'0' + byte % 10));
        format!("2088{}", digits.collect::<String>())
    }

    /// `buyer_logon_id` at Alipay: the masked phone number.
    pub(crate) fn alipay_logon_id(&self) -> String {
        let start: String = self.phone.chars().take(3).collect();
        let end: String = self.phone.chars().skip(9).collect();
        format!("{start}******{end}")
    }

    pub(crate) fn follows(&self) -> bool {
        self.follows_since.is_some()
    }
}

/// A person to be created.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct NewPerson {
    /// 1..=32 characters.
    pub(crate) nickname: String,
    /// Default: follows from the nickname.
    #[serde(default)]
    pub(crate) id: Option<String>,
    /// Default: follows from the id.
    #[serde(default)]
    pub(crate) phone: Option<String>,
    #[serde(default)]
    pub(crate) unionid_shared: bool,
    #[serde(default)]
    pub(crate) follows: bool,
}

/// Everyone.
pub(crate) struct People {
    people_max: usize,
    list: Locked<Vec<Person>>,
}

impl People {
    /// The demo people: one who follows the account and shares a unionid, one who does not follow yet, one without unionid.
    pub(crate) fn new(people_max: usize, now: Timestamp) -> Self {
        let demo = [
            ("xiaoming", "小明", "13800138000", true, true),
            ("xiaohong", "小红", "13900139000", true, false),
            ("laowang", "老王", "13700137000", false, false),
        ];
        let people = demo.map(|(id, nickname, phone, unionid_shared, follows)| Person {
            id: id.to_owned(),
            nickname: nickname.to_owned(),
            phone: phone.to_owned(),
            unionid_shared,
            login_blocked: false,
            follows_since: follows.then_some(now),
        });
        Self {
            people_max,
            list: Locked::new(people.into()),
        }
    }

    pub(crate) fn all(&self) -> Vec<Person> {
        self.list.lock().clone()
    }

    pub(crate) fn find(&self, id: &str) -> Option<Person> {
        self.list
            .lock()
            .iter()
            .find(|person| person.id == id)
            .cloned()
    }

    /// Whose openid within `appid` this is.
    pub(crate) fn find_by_openid(&self, appid: &str, openid: &str) -> Option<Person> {
        self.list
            .lock()
            .iter()
            .find(|person| person.openid(appid) == openid)
            .cloned()
    }

    pub(crate) fn create(&self, new: NewPerson, now: Timestamp) -> Result<Person, ActionError> {
        let nickname = new.nickname.trim().to_owned();
        if nickname.is_empty() || nickname.chars().count() > 32 {
            return Err(ActionError::Invalid(
                "nickname must have 1..=32 characters".into(),
            ));
        }
        let id = new
            .id
            .filter(|id| !id.is_empty())
            .unwrap_or_else(|| id_from(&nickname));
        if id.is_empty()
            || id.len() > 32
            || !id
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        {
            return Err(ActionError::Invalid(
                "id must be 1..=32 of a-z and 0-9".into(),
            ));
        }
        let phone = new
            .phone
            .filter(|phone| !phone.is_empty())
            .unwrap_or_else(|| phone_from(&id));
        if phone.len() != 11 || !phone.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ActionError::Invalid("phone must be 11 digits".into()));
        }
        let person = Person {
            id,
            nickname,
            phone,
            unionid_shared: new.unionid_shared,
            login_blocked: false,
            follows_since: new.follows.then_some(now),
        };
        let mut list = self.list.lock();
        if list.iter().any(|other| other.id == person.id) {
            return Err(ActionError::Conflict(format!(
                "there is already a person with the id {}",
                person.id
            )));
        }
        if list.len() >= self.people_max {
            return Err(ActionError::Full(format!(
                "there are already {} people",
                self.people_max
            )));
        }
        list.push(person.clone());
        Ok(person)
    }

    /// Changes a person, who is returned as changed.
    pub(crate) fn change(
        &self,
        id: &str,
        change: impl FnOnce(&mut Person),
    ) -> Result<Person, ActionError> {
        let mut list = self.list.lock();
        let person = list
            .iter_mut()
            .find(|person| person.id == id)
            .ok_or(ActionError::NotFound("person"))?;
        change(person);
        Ok(person.clone())
    }
}

fn id_from(nickname: &str) -> String {
    let plain = nickname.to_ascii_lowercase();
    if plain
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    {
        return plain;
    }
    let digest = digest("person", &[nickname]);
    let hex = hex(digest.as_ref().get(..4).unwrap_or_default());
    format!("p{hex}")
}

fn phone_from(id: &str) -> String {
    let digits = digest("phone", &[id]);
    format!(
        "139{}",
        digits
            .as_ref()
            .iter()
            .take(8)
            .map(|byte| char::from(b'0' + byte % 10))
            .collect::<String>()
    )
}

/// `length` URL-safe characters that follow from `parts`.
fn derived(purpose: &str, parts: &[&str], length: usize) -> String {
    let mut text = BASE64_URL_SAFE_NO_PAD.encode(digest(purpose, parts));
    text.truncate(length);
    text
}

/// The key is public like the whole kit: the point is that identities are stable, not that they are secret.
fn digest(purpose: &str, parts: &[&str]) -> hmac::Tag {
    let key = hmac::Key::new(hmac::HMAC_SHA256, Kit::builtin().api_v3_key.as_bytes());
    let mut context = hmac::Context::with_key(&key);
    context.update(purpose.as_bytes());
    for part in parts {
        context.update(b"\0");
        context.update(part.as_bytes());
    }
    context.sign()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_follow_from_the_person_and_the_app_alone() {
        let now = Timestamp::UNIX_EPOCH;
        let (first, second) = (People::new(10, now), People::new(10, now));
        let openid = |people: &People, appid: &str| people.find("xiaoming").unwrap().openid(appid);
        assert_eq!(openid(&first, "wx1"), openid(&second, "wx1"));
        assert_ne!(openid(&first, "wx1"), openid(&first, "wx2"));
        assert_eq!(openid(&first, "wx1").len(), 28);
        assert_eq!(first.find("laowang").unwrap().unionid(), None);
        assert_eq!(first.find("xiaoming").unwrap().alipay_user_id().len(), 16);
        assert_eq!(
            first.find("xiaoming").unwrap().alipay_logon_id(),
            "138******00"
        );
    }

    #[test]
    fn a_person_created_again_under_the_same_nickname_after_a_restart_is_the_same_person() {
        let new = || NewPerson {
            nickname: "阿强".into(),
            ..NewPerson::default()
        };
        let now = Timestamp::UNIX_EPOCH;
        let one = People::new(10, now).create(new(), now).unwrap();
        let two = People::new(10, now).create(new(), now).unwrap();
        assert_eq!((one.id, one.phone), (two.id, two.phone));
    }

    #[test]
    fn people_are_bounded_and_their_ids_unique() {
        let now = Timestamp::UNIX_EPOCH;
        let people = People::new(4, now);
        let new = |nickname: &str| NewPerson {
            nickname: nickname.into(),
            ..NewPerson::default()
        };
        people.create(new("anna"), now).unwrap();
        assert!(matches!(
            people.create(new("anna"), now),
            Err(ActionError::Conflict(_))
        ));
        assert!(matches!(
            people.create(new("bert"), now),
            Err(ActionError::Full(_))
        ));
    }
}
