//! What a person does with the account: follow, unfollow, scan, write.

use serde::Serialize;

use super::{
    Author, ChatMessage, OfficialAccount,
    push::{Event, push},
};
use crate::{payments::ActionError, people::Person, sandbox::Sandbox};

const TEXT_CHARACTERS_MAX: usize = 600;

/// What came of it.
#[derive(Debug, Serialize)]
pub(crate) struct Pushed {
    /// The event, as its `Event` or `MsgType` element says it.
    pub(crate) event: &'static str,
    /// The notification; `None`: no push URL is set.
    pub(crate) notification_id: Option<u64>,
}

impl OfficialAccount {
    /// Scans a code, named by ticket, slug or URL. A follower causes `SCAN`, anybody else follows and causes `subscribe`.
    pub(crate) fn scan(
        &self,
        sandbox: &Sandbox,
        person_id: &str,
        code: &str,
    ) -> Result<Pushed, ActionError> {
        let code = self
            .find_qr_code(code)
            .ok_or(ActionError::NotFound("ticket"))?;
        let now = sandbox.environment().now();
        if code.is_over(now) {
            return Err(ActionError::Conflict(
                "二维码已过期 (the QR code has expired)".into(),
            ));
        }
        let person = find(sandbox, person_id)?;
        if person.follows() {
            let notification_id = push(
                sandbox,
                &person,
                &Event::Scan {
                    scene: code.scene,
                    ticket: code.ticket,
                },
            );
            return Ok(Pushed {
                event: "SCAN",
                notification_id,
            });
        }
        self.start_following(sandbox, person_id, Some((code.scene, code.ticket)))
    }

    pub(crate) fn follow(&self, sandbox: &Sandbox, person_id: &str) -> Result<Pushed, ActionError> {
        if find(sandbox, person_id)?.follows() {
            return Err(ActionError::Conflict("already a follower".into()));
        }
        self.start_following(sandbox, person_id, None)
    }

    fn start_following(
        &self,
        sandbox: &Sandbox,
        person_id: &str,
        qr_code: Option<(String, String)>,
    ) -> Result<Pushed, ActionError> {
        let now = sandbox.environment().now();
        let person = sandbox
            .people()
            .change(person_id, |person| person.follows_since = Some(now))?;
        self.note(sandbox, person_id, "已关注公众号");
        let notification_id = push(sandbox, &person, &Event::Subscribe { qr_code });
        Ok(Pushed {
            event: "subscribe",
            notification_id,
        })
    }

    pub(crate) fn unfollow(
        &self,
        sandbox: &Sandbox,
        person_id: &str,
    ) -> Result<Pushed, ActionError> {
        if !find(sandbox, person_id)?.follows() {
            return Err(ActionError::Conflict("not a follower".into()));
        }
        let person = sandbox
            .people()
            .change(person_id, |person| person.follows_since = None)?;
        self.note(sandbox, person_id, "已取消关注");
        let notification_id = push(sandbox, &person, &Event::Unsubscribe);
        Ok(Pushed {
            event: "unsubscribe",
            notification_id,
        })
    }

    /// Writes to the account.
    pub(crate) fn say(
        &self,
        sandbox: &Sandbox,
        person_id: &str,
        text: &str,
    ) -> Result<Pushed, ActionError> {
        let text = text.trim();
        if text.is_empty() || text.chars().count() > TEXT_CHARACTERS_MAX {
            return Err(ActionError::Invalid(format!(
                "text must have 1..={TEXT_CHARACTERS_MAX} characters"
            )));
        }
        let person = find(sandbox, person_id)?;
        if !person.follows() {
            return Err(ActionError::Conflict(
                "only followers can write to the account".into(),
            ));
        }
        let at = sandbox.environment().now();
        self.write(
            person_id,
            ChatMessage {
                at,
                from: Author::Person,
                text: text.to_owned(),
                url: None,
            },
        );
        // 64-bit like WeChat's, which many a client reads into 32 bits.
        let msg_id = 24_000_000_000_000_000 + self.next_msg_id();
        let notification_id = push(
            sandbox,
            &person,
            &Event::Text {
                content: text.to_owned(),
                msg_id,
            },
        );
        Ok(Pushed {
            event: "text",
            notification_id,
        })
    }

    fn note(&self, sandbox: &Sandbox, person_id: &str, text: &str) {
        let at = sandbox.environment().now();
        self.write(
            person_id,
            ChatMessage {
                at,
                from: Author::Wechat,
                text: text.to_owned(),
                url: None,
            },
        );
    }
}

fn find(sandbox: &Sandbox, person_id: &str) -> Result<Person, ActionError> {
    sandbox
        .people()
        .find(person_id)
        .ok_or(ActionError::NotFound("person"))
}
