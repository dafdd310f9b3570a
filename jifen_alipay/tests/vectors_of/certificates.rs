//! `alipay_cert_sn.json`

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jifen_alipay::{AlipayKey, Certificate, root_bundle_sn};

use super::{File, text};

pub(crate) fn run(file: &mut File) {
    file.cases("cases", |case| {
        let pem = text(case, "pem");
        let sn = text(case, "sn");
        assert_eq!(sn.split('_').map(str::len).max(), Some(32));
        if case["is_root_bundle"].as_bool().unwrap() {
            assert_eq!(root_bundle_sn(pem).as_deref(), Some(sn));
            return;
        }
        let certificate = Certificate::from_pem(pem).unwrap();
        assert_eq!(certificate.sn(), sn);
        assert_eq!(certificate.issuer_rfc2253(), text(case, "issuer_rfc2253"));
        assert_eq!(certificate.serial_decimal(), text(case, "serial_decimal"));
        assert_eq!(
            STANDARD.encode(certificate.public_key_spki()),
            text(case, "public_key_spki_base64")
        );
        AlipayKey::from_certificate(&certificate).unwrap();
    });
}
