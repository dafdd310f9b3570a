//! Every case of every file in `tests/vectors/`: signatures, ciphertexts and messages made by WeChat's own SDKs and documentation
//! and by other people's implementations.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "these are tests, also outside the functions marked as such"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

#[path = "support/environment.rs"]
mod environment;
#[path = "vectors/miniprogram.rs"]
mod miniprogram;
#[path = "vectors/official.rs"]
mod official;
#[path = "vectors/pay.rs"]
mod pay;

/// A file and what is in it.
struct Suite {
    file: &'static str,
    groups: &'static [Group],
    /// Everything at the top level that is not a group.
    metadata: &'static [&'static str],
}

/// An array of cases, or a single one.
struct Group {
    pointer: &'static str,
    cases: usize,
    /// Gets the file and the case; panics where the case does not hold.
    run: fn(&Value, &Value),
}

const SUITES: [Suite; 7] = [
    Suite {
        file: "wechat_miniprogram_open_data.json",
        groups: &[
            Group {
                pointer: "/raw_data_signature_cases",
                cases: 3,
                run: miniprogram::raw_data,
            },
            Group {
                pointer: "/encrypted_data_cases",
                cases: 11,
                run: miniprogram::encrypted_data,
            },
        ],
        metadata: &["description", "source"],
    },
    Suite {
        file: "wechat_oa_callbacks.json",
        groups: &[
            Group {
                pointer: "/server_verification_cases",
                cases: 4,
                run: official::server_verification,
            },
            Group {
                pointer: "/secure_mode_inbound_cases",
                cases: 9,
                run: official::inbound,
            },
            Group {
                pointer: "/secure_mode_reply_case",
                cases: 1,
                run: official::reply,
            },
            Group {
                pointer: "/plaintext_mode_hostile_case",
                cases: 1,
                run: official::hostile,
            },
            Group {
                pointer: "/official_documentation_samples/inbound",
                cases: 1,
                run: official::documented_inbound,
            },
            Group {
                pointer: "/official_documentation_samples/reply",
                cases: 1,
                run: official::documented_reply,
            },
            Group {
                pointer: "/wxjava_samples/cases",
                cases: 2,
                run: official::wxjava,
            },
        ],
        metadata: &[
            "description",
            "source",
            "token",
            "encoding_aes_key",
            "appid",
            "original_id",
        ],
    },
    Suite {
        file: "wechatpay_notifications.json",
        groups: &[Group {
            pointer: "/cases",
            cases: 20,
            run: pay::notification,
        }],
        metadata: &[
            "description",
            "warning",
            "source",
            "apiv3_key",
            "platform_keys",
            "platform_private_keys_for_fake_provider",
            "order_expectation",
        ],
    },
    Suite {
        file: "wechatpay_official_sdk_fixtures.json",
        groups: &[Group {
            pointer: "/cases",
            cases: 3,
            run: pay::official_fixture,
        }],
        metadata: &["description"],
    },
    Suite {
        file: "wechatpay_paysign.json",
        groups: &[Group {
            pointer: "/cases",
            cases: 2,
            run: pay::pay_sign,
        }],
        metadata: &[
            "description",
            "warning",
            "source",
            "merchant_private_key_pkcs8_pem",
        ],
    },
    Suite {
        file: "wechatpay_request_signing.json",
        groups: &[Group {
            pointer: "/cases",
            cases: 10,
            run: pay::request_signing,
        }],
        metadata: &[
            "description",
            "warning",
            "source",
            "merchant_private_key_pkcs8_pem",
            "merchant_public_key_pem",
            "merchant_certificate_pem",
            "merchant_serial_no",
            "mchid",
        ],
    },
    Suite {
        file: "wechatpay_responses.json",
        groups: &[Group {
            pointer: "/cases",
            cases: 10,
            run: pay::response,
        }],
        metadata: &[
            "description",
            "warning",
            "source",
            "apiv3_key",
            "platform_keys",
        ],
    },
];

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

fn load(file: &str) -> Value {
    serde_json::from_slice(&fs::read(directory().join(file)).unwrap()).unwrap()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name]
        .as_str()
        .unwrap_or_else(|| panic!("no text {name}"))
}

fn run(file: &str) {
    let suite = SUITES.iter().find(|suite| suite.file == file).unwrap();
    let content = load(file);
    let top_level: BTreeSet<&str> = content
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let known: BTreeSet<&str> = suite
        .groups
        .iter()
        .map(|group| group.pointer.split('/').nth(1).unwrap())
        .chain(suite.metadata.iter().copied())
        .collect();
    assert_eq!(
        top_level, known,
        "{file} has other parts than this test knows"
    );

    let mut cases_run = 0;
    for group in suite.groups {
        let node = content.pointer(group.pointer).unwrap();
        let cases = node
            .as_array()
            .map_or_else(|| vec![node], |cases| cases.iter().collect());
        assert_eq!(cases.len(), group.cases, "{file}{}", group.pointer);
        for case in cases {
            eprintln!("{file}{} {}", group.pointer, case["name"]);
            (group.run)(&content, case);
            cases_run += 1;
        }
    }
    assert_eq!(
        cases_run,
        count_cases(&content, "", suite),
        "{file}: a case was left out"
    );
}

/// Counts without looking at the groups: the objects in lists and the objects that say what to expect or hold a ciphertext.
fn count_cases(value: &Value, name: &str, suite: &Suite) -> usize {
    match value {
        _ if suite.metadata.contains(&name) => 0,
        Value::Array(items) => items.iter().filter(|item| item.is_object()).count(),
        Value::Object(object)
            if object.contains_key("expect") || object.contains_key("encrypt") =>
        {
            1
        }
        Value::Object(object) => object
            .iter()
            .map(|(name, value)| count_cases(value, name, suite))
            .sum(),
        _ => 0,
    }
}

#[test]
fn no_file_is_left_out() {
    let files: BTreeSet<String> = fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension() != Some("rs".as_ref()))
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    let known: BTreeSet<String> = SUITES.iter().map(|suite| suite.file.to_owned()).collect();
    assert_eq!(files, known);
}

#[test]
fn open_data_of_the_mini_program() {
    run("wechat_miniprogram_open_data.json");
}

#[test]
fn pushes_to_the_official_account() {
    run("wechat_oa_callbacks.json");
}

#[test]
fn notifications_of_wechat_pay() {
    run("wechatpay_notifications.json");
}

#[test]
fn fixtures_of_the_official_sdks() {
    run("wechatpay_official_sdk_fixtures.json");
}

#[test]
fn signatures_for_request_payment() {
    run("wechatpay_paysign.json");
}

#[test]
fn signatures_of_requests() {
    run("wechatpay_request_signing.json");
}

#[test]
fn signatures_of_answers() {
    run("wechatpay_responses.json");
}
