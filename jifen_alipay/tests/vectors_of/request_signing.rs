//! `alipay_request_signing.json`

use std::collections::BTreeMap;

use jifen_alipay::{AlipayKey, AppKey, PagePay, parse_yuan, sign_content};
use serde_json::Value;
use url::Url;

use super::{File, NOW, client, other_file, text};

pub(crate) fn run(file: &mut File) {
    // All spellings of the private key are the same key.
    let keys = [
        "app_private_key_pkcs8_pem",
        "app_private_key_pkcs8_bare_base64",
        "app_private_key_pkcs1_bare_base64",
    ]
    .map(|name| AppKey::parse(&file.text(name)).unwrap());
    let public_key = AlipayKey::parse(&file.text("app_public_key_bare_base64")).unwrap();
    file.cases("cases", |case| {
        let content = check_signature(case, "params", &keys);
        let raw = keys[0].sign_raw(content.as_bytes()).unwrap();
        assert!(public_key.verify(content.as_bytes(), &raw));
    });

    let responses = other_file("alipay_responses.json");
    let alipay = client(
        &file.text("app_private_key_pkcs8_bare_base64"),
        text(&responses, "alipay_public_key_bare_base64"),
        &file.text("gateway"),
    );
    file.cases("page_pay_forms", |case| {
        check_signature(case, "all_params", &keys);
        let parameters = &case["all_params"];
        let content: Value = serde_json::from_str(text(parameters, "biz_content")).unwrap();
        let order = PagePay {
            out_trade_no: text(&content, "out_trade_no"),
            total_fen: parse_yuan(text(&content, "total_amount")).unwrap(),
            subject: text(&content, "subject"),
            time_expire: None,
            timestamp: NOW,
            notify_url: Some(text(parameters, "notify_url")),
            return_url: Some(text(parameters, "return_url")),
        };
        let form = alipay.page_pay_form(&order).unwrap();
        let url = alipay.page_pay_url(&order).unwrap();
        assert_eq!(form, text(case, "post_form_html"));
        assert_eq!(url, text(case, "get_url"));
        check_names(case, &form, &url);
    });

    let key = &keys[0];
    file.single("node_sdk_page_pay_get_url", |url| {
        let parameters = query_of(url.as_str().unwrap());
        let signed: Vec<_> = pairs(&parameters);
        assert_eq!(
            key.sign(sign_content(&signed).as_bytes()).unwrap(),
            parameters["sign"]
        );
    });
}

/// The names the vector lists are those a browser sends: the action's query, the hidden fields, and both in the URL.
fn check_names(case: &Value, form: &str, url: &str) {
    let names = |list: &str| -> Vec<String> { serde_json::from_value(case[list].clone()).unwrap() };
    let (_, action) = form.split_once("action=\"").unwrap();
    let (action, inputs) = action.split_once('"').unwrap();
    let in_action: Vec<_> = query_of(action).into_keys().collect();
    assert_eq!(in_action, names("params_in_action_url"));
    for hidden in names("hidden_fields") {
        assert!(inputs.contains(&format!("<input type=\"hidden\" name=\"{hidden}\" ")));
    }
    let parameters = query_of(url);
    let all: BTreeMap<String, String> = serde_json::from_value(case["all_params"].clone()).unwrap();
    for (name, value) in &all {
        assert_eq!(parameters.get(name), Some(value));
    }
    assert_eq!(parameters.len(), all.len() + 1);
}

fn check_signature(case: &Value, parameters: &str, keys: &[AppKey]) -> String {
    let parameters: BTreeMap<String, String> =
        serde_json::from_value(case[parameters].clone()).unwrap();
    let content = sign_content(&pairs(&parameters));
    assert_eq!(content, text(case, "sign_content"));
    for key in keys {
        assert_eq!(key.sign(content.as_bytes()).unwrap(), text(case, "sign"));
    }
    content
}

fn query_of(url: &str) -> BTreeMap<String, String> {
    Url::parse(url)
        .unwrap()
        .query_pairs()
        .into_owned()
        .collect()
}

fn pairs(parameters: &BTreeMap<String, String>) -> Vec<(&str, &str)> {
    parameters
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}
