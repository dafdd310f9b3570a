//! One module per vector file.

pub(crate) mod certificates;
pub(crate) mod notifications;
pub(crate) mod request_signing;
pub(crate) mod responses;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use jifen_alipay::{Alipay, Config, Environment, KeyMode};
use secrecy::SecretString;
use serde_json::Value;

/// A vector file that counts what is taken out of it.
pub(crate) struct File {
    name: String,
    content: Value,
    ran: BTreeSet<String>,
}

impl File {
    pub(crate) fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        Self {
            name: path.display().to_string(),
            content: serde_json::from_slice(&bytes).unwrap(),
            ran: BTreeSet::new(),
        }
    }

    pub(crate) fn text(&self, name: &str) -> String {
        text(&self.content, name).to_owned()
    }

    pub(crate) fn object(&self, name: &str) -> Value {
        self.content[name].clone()
    }

    /// Runs `check` on every case of a top-level array.
    pub(crate) fn cases(&mut self, array: &str, mut check: impl FnMut(&Value)) {
        for case in self.content[array].as_array().unwrap() {
            let name = text(case, "name");
            println!("{array}/{name}");
            check(case);
            assert!(
                self.ran.insert(format!("{array}/{name}")),
                "{name} stands twice"
            );
        }
    }

    /// Runs `check` on a case that stands alone at the top level.
    pub(crate) fn single(&mut self, name: &str, check: impl FnOnce(&Value)) {
        println!("{name}");
        check(&self.content[name]);
        assert!(self.ran.insert(name.to_owned()), "{name} ran twice");
    }

    /// As if a case had not been run.
    pub(crate) fn forget(&mut self, case: &str) {
        assert!(self.ran.remove(case));
    }

    /// Everything at the top level that is a case or an array of cases was run, each case once.
    pub(crate) fn assert_all_ran(self) {
        // Text and objects about the file and its cases, no cases themselves.
        const NO_CASES: [&str; 12] = [
            "description",
            "warning",
            "source",
            "app_id",
            "gateway",
            "order_expectation",
            "app_private_key_pkcs8_pem",
            "app_private_key_pkcs8_bare_base64",
            "app_private_key_pkcs1_bare_base64",
            "app_public_key_bare_base64",
            "alipay_public_key_bare_base64",
            "alipay_private_key_for_fake_provider_pkcs8_pem",
        ];
        let mut expected = BTreeSet::new();
        for (name, value) in self.content.as_object().unwrap() {
            if let Some(cases) = value.as_array() {
                assert!(!cases.is_empty(), "{}: {name} is empty", self.name);
                for case in cases {
                    expected.insert(format!("{name}/{}", text(case, "name")));
                }
            } else if !NO_CASES.contains(&name.as_str()) {
                expected.insert(name.clone());
            }
        }
        assert_eq!(self.ran, expected, "{}", self.name);
    }
}

pub(crate) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name]
        .as_str()
        .unwrap_or_else(|| panic!("no text {name} in {value}"))
}

/// The clock of all requests in the vectors: 2024-01-15 12:00:00 in Beijing.
pub(crate) const NOW: i64 = 1_705_291_200;

pub(crate) struct FixedEnvironment;

impl Environment for FixedEnvironment {
    fn unix_seconds(&self) -> i64 {
        NOW
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}

/// A client with the app key of the request vectors and this Alipay key.
pub(crate) fn client(app_private_key: &str, alipay_public_key: &str, gateway: &str) -> Alipay {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let config = Config::new(
        gateway.parse().unwrap(),
        "9021000122671080",
        SecretString::from(app_private_key),
        KeyMode::PublicKey {
            alipay_public_key: alipay_public_key.to_owned(),
        },
    );
    Alipay::new(config, reqwest::Client::new(), Arc::new(FixedEnvironment)).unwrap()
}

/// The content of another vector file.
pub(crate) fn other_file(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vectors")
        .join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A client for verifying: its app key plays no part.
pub(crate) fn verifier(alipay_public_key: &str) -> Alipay {
    let requests = other_file("alipay_request_signing.json");
    client(
        text(&requests, "app_private_key_pkcs8_pem"),
        alipay_public_key,
        text(&requests, "gateway"),
    )
}
