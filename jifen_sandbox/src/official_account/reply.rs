//! Passive replies: what the integrator's server answers to a pushed message.

use super::{PushMode, secure, xml};
use crate::{exchanges::Refusal, sandbox::Sandbox};

/// The text for the user; `None` for "no reply" (an empty body or `success`).
pub(super) fn read(
    sandbox: &Sandbox,
    openid: &str,
    body: &[u8],
) -> Result<Option<String>, Refusal> {
    let malformed = |reason: String| Refusal::new("MALFORMED_REPLY", reason);
    let text = std::str::from_utf8(body).map_err(|_| malformed("the reply is not UTF-8".into()))?;
    if text.is_empty() || text == "success" {
        return Ok(None);
    }
    let outer = xml::parse(text).map_err(|reason| {
        let refusal = malformed("the reply is neither empty, nor success, nor a message".into());
        refusal.compare(
            "reply",
            "XML",
            format!("{reason}: {}", text.chars().take(200).collect::<String>()),
        )
    })?;
    let message = if outer.get("Encrypt").is_empty() {
        if sandbox.official_account().settings().mode == PushMode::Secure {
            return Err(malformed("in secure mode a reply must be encrypted".into()));
        }
        outer
    } else {
        open(sandbox, &outer)?
    };
    check(sandbox, openid, &message)?;
    Ok(Some(match message.get("MsgType") {
        "text" => message.get("Content").to_owned(),
        other => format!("[{other}]"),
    }))
}

/// Verifies and decrypts an encrypted reply.
fn open(sandbox: &Sandbox, outer: &xml::Message) -> Result<xml::Message, Refusal> {
    let kit = sandbox.kit();
    let encrypted = outer.get("Encrypt");
    let (timestamp, nonce) = (outer.get("TimeStamp"), outer.get("Nonce"));
    let right = secure::signature(&[kit.official_account_token, timestamp, nonce, encrypted]);
    if right != outer.get("MsgSignature") {
        let reason =
            "MsgSignature is not the SHA-1 of the sorted token, TimeStamp, Nonce and Encrypt";
        let signed = format!("sorted and joined: the token, {timestamp}, {nonce}, {encrypted}");
        return Err(Refusal::new("BAD_SIGNATURE", reason)
            .compare("MsgSignature", right, outer.get("MsgSignature"))
            .compare("string_to_sign", signed, ""));
    }
    let undecipherable = |reason: String| Refusal::new("UNDECIPHERABLE_REPLY", reason);
    let key = secure::MessageKey::new(kit.official_account_encoding_aes_key)
        .ok_or_else(|| undecipherable("the kit's key is unusable".into()))?;
    let (message, appid) = key
        .decrypt(encrypted)
        .map_err(|error| undecipherable(error.to_string()))?;
    if appid != kit.official_account_appid {
        let refusal =
            undecipherable("the appid inside the encrypted reply is another one's".into());
        return Err(refusal.compare("appid", kit.official_account_appid, appid));
    }
    xml::parse(&message).map_err(|reason| undecipherable(format!("the decrypted reply: {reason}")))
}

fn check(sandbox: &Sandbox, openid: &str, message: &xml::Message) -> Result<(), Refusal> {
    let wanted = [
        ("ToUserName", openid),
        ("FromUserName", sandbox.kit().official_account_original_id),
    ];
    for (name, right) in wanted {
        if message.get(name) != right {
            let reason = "a reply swaps the names of the message it answers";
            return Err(Refusal::new("MALFORMED_REPLY", reason).compare(
                name,
                right,
                message.get(name),
            ));
        }
    }
    if message.get("CreateTime").parse::<i64>().is_err() {
        let refusal = Refusal::new("MALFORMED_REPLY", "CreateTime must be a number of seconds");
        return Err(refusal.compare("CreateTime", "a number", message.get("CreateTime")));
    }
    let known = [
        "text",
        "image",
        "voice",
        "video",
        "music",
        "news",
        "transfer_customer_service",
    ];
    if !known.contains(&message.get("MsgType")) {
        let refusal = Refusal::new("MALFORMED_REPLY", "unknown MsgType");
        return Err(refusal.compare("MsgType", known.join(", "), message.get("MsgType")));
    }
    if message.get("MsgType") == "text" && message.get("Content").is_empty() {
        return Err(Refusal::new(
            "MALFORMED_REPLY",
            "a text reply needs Content",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Config,
        official_account::{Settings, xml::cdata},
        outgoing_client,
    };

    /// A sandbox in secure mode.
    fn sandbox() -> Sandbox {
        // The first test of the process installs it; for the others it is there already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let sandbox = Sandbox::new(Config::new(
            "http://sandbox.example",
            outgoing_client().unwrap(),
        ));
        let settings = Settings {
            push_url: None,
            mode: PushMode::Secure,
        };
        sandbox.official_account().set(settings).unwrap();
        sandbox
    }

    /// A reply to `openid`, encrypted for `appid` and signed with `token`.
    fn encrypted(openid: &str, appid: &str, token: &str) -> Vec<u8> {
        let kit = crate::Kit::builtin();
        let names =
            cdata("ToUserName", openid) + &cdata("FromUserName", kit.official_account_original_id);
        let text = cdata("MsgType", "text") + &cdata("Content", "登录成功");
        let message = format!("<xml>{names}<CreateTime>1705291201</CreateTime>{text}</xml>");
        let key = secure::MessageKey::new(kit.official_account_encoding_aes_key).unwrap();
        let encrypted = key.encrypt(&message, appid, [9; 16]).unwrap();
        let signature = secure::signature(&[token, "1705291201", "77", &encrypted]);
        let signed = cdata("Encrypt", &encrypted) + &cdata("MsgSignature", &signature);
        format!(
            "<xml>{signed}<TimeStamp>1705291201</TimeStamp>{}</xml>",
            cdata("Nonce", "77")
        )
        .into_bytes()
    }

    #[test]
    fn an_encrypted_reply_is_verified_and_read() {
        let kit = crate::Kit::builtin();
        let body = encrypted(
            "oSomebody",
            kit.official_account_appid,
            kit.official_account_token,
        );
        assert_eq!(
            read(&sandbox(), "oSomebody", &body),
            Ok(Some("登录成功".to_owned()))
        );
    }

    #[test]
    fn an_encrypted_reply_for_another_person_or_app_or_with_another_token_is_refused() {
        let kit = crate::Kit::builtin();
        let (appid, token) = (kit.official_account_appid, kit.official_account_token);
        let refused = |body: &[u8]| read(&sandbox(), "oSomebody", body).unwrap_err();
        assert_eq!(
            refused(&encrypted("oOther", appid, token)).code,
            "MALFORMED_REPLY"
        );
        let foreign = refused(&encrypted("oSomebody", "wx1", token));
        assert_eq!(
            (foreign.code.as_str(), foreign.compared[0].received.as_str()),
            ("UNDECIPHERABLE_REPLY", "wx1")
        );
        assert_eq!(
            refused(&encrypted("oSomebody", appid, "x")).code,
            "BAD_SIGNATURE"
        );
    }

    #[test]
    fn nothing_and_success_are_no_reply() {
        assert_eq!(read(&sandbox(), "oSomebody", b""), Ok(None));
        assert_eq!(read(&sandbox(), "oSomebody", b"success"), Ok(None));
        assert!(read(&sandbox(), "oSomebody", b"success\n").is_err());
    }
}
