//! Messages pushed to the integrator's server, in the three modes.

use std::sync::Arc;

use bytes::Bytes;
use form_urlencoded::Serializer;

use super::{Author, ChatMessage, PushMode, reply, secure, xml::cdata};
use crate::{
    exchanges::Refusal,
    outbox::{Answer, Attempt, Delivery, Outgoing, Schedule},
    people::Person,
    provider::Provider,
    sandbox::Sandbox,
};

/// Three deliveries in all, each when the five seconds of the one before are over.
const SCHEDULE: Schedule = Schedule {
    retry_seconds: &[5, 5],
    answer_seconds_max: 5,
};
/// What a user sees when the account's server does not answer, or not properly.
const OUT_OF_SERVICE: &str = "该公众号提供的服务出现故障，请稍后再试";

/// What is told.
#[derive(Debug, Clone)]
pub(super) enum Event {
    Scan {
        scene: String,
        ticket: String,
    },
    /// With the scene and the ticket where a QR code led to it.
    Subscribe {
        qr_code: Option<(String, String)>,
    },
    Unsubscribe,
    Text {
        content: String,
        msg_id: u64,
    },
    TemplateFinished {
        msg_id: u64,
    },
}

/// Puts a message for the integrator's server in line; its id, or `None` if no push URL is set.
pub(super) fn push(sandbox: &Sandbox, person: &Person, event: &Event) -> Option<u64> {
    let url = sandbox.official_account().settings().push_url?;
    let kit = sandbox.kit();
    let now = sandbox.environment().now();
    let openid = person.openid(kit.official_account_appid);
    let fields = [
        cdata("ToUserName", kit.official_account_original_id),
        cdata("FromUserName", &openid),
        format!("<CreateTime>{}</CreateTime>\n", now.as_second()),
        event.fields(),
    ];
    let label = event.label();
    let push = Push {
        url,
        person_id: person.id.clone(),
        openid,
        label,
        fields: fields.concat(),
    };
    Some(sandbox.outbox().enqueue(Arc::new(push), now))
}

impl Event {
    fn label(&self) -> String {
        match self {
            Self::Scan { scene, .. } => format!("SCAN {scene}"),
            Self::Subscribe {
                qr_code: Some((scene, _)),
            } => format!("subscribe qrscene_{scene}"),
            Self::Subscribe { qr_code: None } => "subscribe".into(),
            Self::Unsubscribe => "unsubscribe".into(),
            Self::Text { msg_id, .. } => format!("text {msg_id}"),
            Self::TemplateFinished { msg_id } => format!("TEMPLATESENDJOBFINISH {msg_id}"),
        }
    }

    fn fields(&self) -> String {
        let event = |name: &str| cdata("MsgType", "event") + &cdata("Event", name);
        match self {
            Self::Scan { scene, ticket } => {
                event("SCAN") + &cdata("EventKey", scene) + &cdata("Ticket", ticket)
            }
            Self::Subscribe {
                qr_code: Some((scene, ticket)),
            } => {
                event("subscribe")
                    + &cdata("EventKey", &format!("qrscene_{scene}"))
                    + &cdata("Ticket", ticket)
            }
            Self::Subscribe { qr_code: None } => event("subscribe") + &cdata("EventKey", ""),
            Self::Unsubscribe => event("unsubscribe") + &cdata("EventKey", ""),
            Self::Text { content, msg_id } => {
                cdata("MsgType", "text")
                    + &cdata("Content", content)
                    + &format!("<MsgId>{msg_id}</MsgId>\n")
            }
            Self::TemplateFinished { msg_id } => {
                event("TEMPLATESENDJOBFINISH")
                    + &format!("<MsgID>{msg_id}</MsgID>\n")
                    + &cdata("Status", "success")
            }
        }
    }
}

struct Push {
    url: String,
    person_id: String,
    openid: String,
    label: String,
    /// The elements in clear. A repeated delivery carries the same ones, signed and encrypted anew.
    fields: String,
}

impl Delivery for Push {
    fn provider(&self) -> Provider {
        Provider::OfficialAccount
    }

    fn label(&self) -> String {
        self.label.clone()
    }

    fn url(&self) -> String {
        self.url.clone()
    }

    fn schedule(&self) -> Schedule {
        SCHEDULE
    }

    fn outgoing(&self, sandbox: &Sandbox, attempt: Attempt) -> Result<Outgoing, String> {
        let kit = sandbox.kit();
        let environment = sandbox.environment();
        let mode = sandbox.official_account().settings().mode;
        let timestamp = environment.unix_seconds().to_string();
        let nonce = environment.digits(10);
        let sign = |more: &[&str]| {
            let token = if attempt.badly_signed {
                "not the token"
            } else {
                kit.official_account_token
            };
            secure::signature(&[&[token, &timestamp, &nonce], more].concat())
        };
        let mut query = Serializer::new(String::new());
        query
            .append_pair("signature", &sign(&[]))
            .append_pair("timestamp", &timestamp)
            .append_pair("nonce", &nonce);
        query.append_pair("openid", &self.openid);
        let mut body = self.fields.clone();
        if mode != PushMode::Plain {
            let key = secure::MessageKey::new(kit.official_account_encoding_aes_key)
                .ok_or("the kit's key is unusable")?;
            let mut random16 = [0; 16];
            environment.fill(&mut random16);
            let encrypted = key
                .encrypt(
                    &format!("<xml>{}</xml>", self.fields),
                    kit.official_account_appid,
                    random16,
                )
                .ok_or("the message cannot be encrypted")?;
            query
                .append_pair("encrypt_type", "aes")
                .append_pair("msg_signature", &sign(&[&encrypted]));
            if mode == PushMode::Secure {
                body = cdata("ToUserName", kit.official_account_original_id);
            }
            body += &cdata("Encrypt", &encrypted);
        }
        Ok(Outgoing {
            url: format!("{}?{}", self.url, query.finish()),
            method: http::Method::POST,
            headers: vec![
                ("content-type", "text/xml".into()),
                ("user-agent", "Mozilla/4.0".into()),
            ],
            body: Bytes::from(format!("<xml>{body}</xml>")),
        })
    }

    fn judge(&self, sandbox: &Sandbox, answer: &Answer) -> Result<(), Refusal> {
        if !answered(answer) {
            return Err(Refusal::new(
                answer.status.to_string(),
                "the server did not answer with status 200",
            ));
        }
        let read = reply::read(sandbox, &self.openid, &answer.body);
        let (from, text) = match &read {
            Ok(None) => return Ok(()),
            Ok(Some(text)) => (Author::Account, text.clone()),
            Err(_) => (Author::Wechat, OUT_OF_SERVICE.to_owned()),
        };
        let at = sandbox.environment().now();
        sandbox.official_account().write(
            &self.person_id,
            ChatMessage {
                at,
                from,
                text,
                url: None,
            },
        );
        read.map(|_| ())
    }

    /// A malformed reply is not asked for again: the user is told at once.
    fn is_final(&self, answer: &Answer) -> bool {
        answered(answer)
    }

    fn given_up(&self, sandbox: &Sandbox) {
        let at = sandbox.environment().now();
        let message = ChatMessage {
            at,
            from: Author::Wechat,
            text: OUT_OF_SERVICE.to_owned(),
            url: None,
        };
        sandbox.official_account().write(&self.person_id, message);
    }
}

fn answered(answer: &Answer) -> bool {
    answer.status == 200
}
