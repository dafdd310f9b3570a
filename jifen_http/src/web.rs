//! What handlers and extractors share.

use std::sync::Arc;

use axum::extract::FromRef;
use http::HeaderValue;
use jifen_app::App;

use crate::config::{Cors, HttpConfig};
use crate::exchange::metrics::Metrics;

/// The state of the router. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Web(Arc<Parts>);

pub(crate) struct Parts {
    pub(crate) app: App,
    pub(crate) config: HttpConfig,
    pub(crate) metrics: Metrics,
    /// Origins whose pages may use the session cookie: our own, and those of the configuration.
    pub(crate) trusted_origins: Vec<HeaderValue>,
    pub(crate) secure_cookies: bool,
}

impl std::ops::Deref for Web {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl FromRef<Web> for App {
    fn from_ref(web: &Web) -> Self {
        web.app.clone()
    }
}

impl Web {
    pub(crate) fn new(app: App, config: &HttpConfig) -> Self {
        let base_url = app.settings().public_base_url.to_ascii_lowercase();
        let own = origin_of(&base_url).and_then(|origin| HeaderValue::from_str(origin).ok());
        let listed = match &config.cors {
            Cors::Any => &[],
            Cors::List(origins) => origins.as_slice(),
        };
        let trusted_origins = own
            .into_iter()
            .chain(listed.iter().map(|origin| origin.header().clone()))
            .collect();
        Self(Arc::new(Parts {
            secure_cookies: config.secure_cookies || base_url.starts_with("https://"),
            config: config.clone(),
            metrics: Metrics::new(app.clone()),
            trusted_origins,
            app,
        }))
    }
}

/// The scheme and host of a URL.
fn origin_of(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next()?;
    url.get(..scheme.len() + "://".len() + host.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origin_of_a_url_is_all_before_its_path() {
        assert_eq!(
            origin_of("https://a.example:8443/mall/"),
            Some("https://a.example:8443")
        );
        assert_eq!(
            origin_of("http://127.0.0.1:8080"),
            Some("http://127.0.0.1:8080")
        );
        assert_eq!(origin_of("a.example"), None);
    }
}
