//! Reading bodies, never more of them than the configuration allows.

use axum::body::HttpBody as _;
use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use jifen_app::{Error, Text};

use super::fields::{Fields, FromFields};
use crate::envelope::Failure;
use crate::web::Web;

/// The fields of a JSON body.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: FromFields> FromRequest<Web> for JsonBody<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, web: &Web) -> Result<Self, Failure> {
        let is_json = is_json(request.headers());
        let body = read(request, web.config.body_bytes_max).await?;
        // Without a body there is nothing to have a type; what is missing is named then.
        if !is_json && !body.is_empty() {
            const TEXT: Text = Text::new("须为 application/json", "must be application/json");
            return Err(Error::invalid("Content-Type", TEXT).into());
        }
        Ok(Self(T::from_fields(&Fields::parse(&body)?)?))
    }
}

/// The exact bytes of a body, over which a provider has signed.
pub(crate) struct ExactBody(pub(crate) Bytes);

impl FromRequest<Web> for ExactBody {
    type Rejection = Failure;

    async fn from_request(request: Request, web: &Web) -> Result<Self, Failure> {
        read(request, web.config.body_bytes_max).await.map(Self)
    }
}

async fn read(request: Request, bytes_max: usize) -> Result<Bytes, Failure> {
    let body = request.into_body();
    if body.size_hint().lower() > u64::try_from(bytes_max).unwrap_or(u64::MAX) {
        return Err(Failure::BodyTooLarge { bytes_max });
    }
    match Limited::new(body, bytes_max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Failure::BodyTooLarge { bytes_max }),
        Err(_) => {
            Err(Error::invalid("body", Text::new("未完整收到", "did not arrive in full")).into())
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers
        .get(CONTENT_TYPE)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    let essence = content_type
        .split(|byte| *byte == b';')
        .next()
        .unwrap_or_default();
    essence
        .trim_ascii()
        .eq_ignore_ascii_case(b"application/json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_told_by_the_type_whatever_its_case_and_parameters() {
        let of = |text: &'static str| {
            is_json(&HeaderMap::from_iter([(
                CONTENT_TYPE,
                HeaderValue::from_static(text),
            )]))
        };
        assert!(
            of("application/json")
                && of("Application/JSON; charset=utf-8")
                && of(" application/json ;x")
        );
        assert!(
            !of("text/plain") && !of("application/jsonx") && !of("") && !is_json(&HeaderMap::new())
        );
    }
}
