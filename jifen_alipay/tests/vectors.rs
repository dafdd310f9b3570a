//! Every case of every file in `tests/vectors` holds, and none is left out.

#[cfg(test)]
#[path = "vectors_of/mod.rs"]
mod vectors_of;

use std::collections::BTreeSet;
use std::path::Path;

use vectors_of::{File, certificates, notifications, request_signing, responses};

#[test]
fn every_case_of_every_vector_file_holds() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let mut seen = BTreeSet::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let mut file = File::read(&path);
        match name.as_str() {
            "alipay_request_signing.json" => request_signing::run(&mut file),
            "alipay_notifications.json" => notifications::run(&mut file),
            "alipay_responses.json" => responses::run(&mut file),
            "alipay_cert_sn.json" => certificates::run(&mut file),
            other => panic!("no test runs {other}"),
        }
        file.assert_all_ran();
        seen.insert(name);
    }
    assert_eq!(
        seen.into_iter().collect::<Vec<_>>(),
        [
            "alipay_cert_sn.json",
            "alipay_notifications.json",
            "alipay_request_signing.json",
            "alipay_responses.json",
        ]
    );
}

#[test]
#[should_panic(expected = "cases/long_serial")]
fn a_case_that_is_left_out_is_noticed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/alipay_cert_sn.json");
    let mut file = File::read(&path);
    file.cases("cases", |_| {});
    file.forget("cases/long_serial");
    file.assert_all_ran();
}
