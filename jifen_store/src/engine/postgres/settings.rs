//! From a URL to connection settings and TLS.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::Config;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::engine::error::{Error, Result};

const CONNECT_SECONDS_MAX: u64 = 5;
/// When a silent server counts as gone: sent data unacknowledged, or an idle connection's probes unanswered.
const SILENCE_SECONDS_MAX: u64 = 30;

/// How to reach the server.
pub(super) struct Settings {
    pub(super) config: Config,
    pub(super) tls: MakeRustlsConnect,
}

/// Reads a `postgresql://` URL. Beyond what the driver knows it takes libpq's `sslmode=verify-ca` and `verify-full` — the
/// same as `require` here, the certificate is always verified in full — and `sslrootcert`, a PEM file that replaces
/// Mozilla's roots.
///
/// No error quotes the URL: it has the password in it.
pub(super) fn parse(url: &str) -> Result<Settings> {
    let wrong = |why: &str| Error::Configuration(format!("the PostgreSQL URL {why}"));
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(wrong("must begin with postgresql://"));
    }
    let (address, query) = url.split_once('?').unwrap_or((url, ""));
    let mut roots_file = None;
    let mut parameters = Vec::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        match parameter.split_once('=') {
            Some(("sslrootcert", path)) => {
                let path = percent_decode_str(path)
                    .decode_utf8()
                    .map_err(|_| wrong("has an sslrootcert that is not UTF-8"))?;
                roots_file = Some(path.into_owned());
            }
            Some(("sslmode", "verify-ca" | "verify-full")) => parameters.push("sslmode=require"),
            _ => parameters.push(parameter),
        }
    }
    let mut config = Config::from_str(&format!("{address}?{}", parameters.join("&"))).map_err(
        |_| {
            wrong(
                "cannot be read; it looks like postgresql://user:password@host:port/database?sslmode=verify-full, \
                 with other characters than letters and digits in the password percent-encoded",
            )
        },
    )?;
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(wrong("names no host"));
    }
    let silence = Duration::from_secs(SILENCE_SECONDS_MAX);
    config
        .connect_timeout(Duration::from_secs(CONNECT_SECONDS_MAX))
        .tcp_user_timeout(silence)
        .keepalives_idle(silence)
        .keepalives_interval(silence / 3)
        .keepalives_retries(3);
    if config.get_application_name().is_none() {
        config.application_name("jifen");
    }
    Ok(Settings {
        config,
        tls: tls(roots_file.as_deref())?,
    })
}

fn tls(roots_file: Option<&str>) -> Result<MakeRustlsConnect> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = roots_file {
        let unusable = |why: String| Error::Configuration(format!("sslrootcert {path}: {why}"));
        let certificates =
            CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.to_string()))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
            roots
                .add(certificate)
                .map_err(|error| unusable(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(unusable("it holds no certificate".to_owned()));
        }
    } else {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    // Named, not taken from the process: the store works whatever the binary has installed.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Configuration(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

#[cfg(test)]
mod tests {
    use tokio_postgres::config::SslMode;

    use super::*;

    #[test]
    fn the_ssl_mode_of_the_url_is_honoured() {
        let mode = |query: &str| {
            parse(&format!(
                "postgresql://user:secret@db.example:5433/mall{query}"
            ))
            .map(|settings| settings.config.get_ssl_mode())
        };
        assert_eq!(mode(""), Ok(SslMode::Prefer));
        assert_eq!(mode("?sslmode=disable"), Ok(SslMode::Disable));
        assert_eq!(mode("?sslmode=require"), Ok(SslMode::Require));
        assert_eq!(
            mode("?connect_timeout=3&sslmode=verify-full"),
            Ok(SslMode::Require)
        );
        assert!(mode("?sslmode=perhaps").is_err());
    }

    #[test]
    fn a_url_that_cannot_be_used_is_refused_without_quoting_it() {
        for url in [
            "host=db password=hunter2",
            "postgresql://user:hunter2@db:port/mall",
            "postgresql://user:hunter2@db/mall?hunter2=hunter2",
            "postgresql:///mall?password=hunter2",
            "postgresql://user:hunter2@db/mall?sslrootcert=/nowhere/at/all.pem",
        ] {
            let error = parse(url).err().map(|error| error.to_string());
            let error = error.expect("the URL is wrong");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
