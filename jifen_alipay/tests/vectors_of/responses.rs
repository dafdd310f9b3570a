//! `alipay_responses.json`

use jifen_alipay::{AlipayKey, AnswerError, root_of, verify_answer};
use serde_json::Value;

use super::{File, text};

pub(crate) fn run(file: &mut File) {
    let key = AlipayKey::parse(&file.text("alipay_public_key_bare_base64")).unwrap();
    file.single("official_fixture", |case| {
        let key = AlipayKey::parse(text(case, "alipay_public_key_bare_base64")).unwrap();
        check(case, &key);
    });
    file.cases("cases", |case| check(case, &key));
}

fn check(case: &Value, key: &AlipayKey) {
    let body = text(case, "body").as_bytes();
    // `error_response` answers a call of any method.
    let root = match text(case, "root") {
        "error_response" => root_of("alipay.trade.query"),
        root => root.to_owned(),
    };
    let result = verify_answer(body, &root, key, None);
    match text(case, "expect") {
        "accept" => {
            let answer = result.unwrap();
            assert!(answer.is_signed());
            assert_eq!(answer.text(), text(case, "signed_substring"));
        }
        "reject" => {
            let expected = match text(case, "name") {
                "duplicate_root_node" => AnswerError::Repeated,
                _ => AnswerError::Signature,
            };
            assert_eq!(result.unwrap_err(), expected);
        }
        "error_without_signature_never_trust_as_success" => {
            let answer = result.unwrap();
            assert!(!answer.is_signed());
            assert!(answer.failure().is_some());
            // The same without a signature, but claiming success.
            let success = text(case, "body").replace("40002", "10000");
            assert_eq!(
                verify_answer(success.as_bytes(), &root, key, None),
                Err(AnswerError::Unsigned)
            );
        }
        other => panic!("unknown expectation {other}"),
    }
}
