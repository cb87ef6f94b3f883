//! Reading bodies: the media type is checked, the size is bounded, and what is inside is read strictly.

use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use placet_api::BODY_BYTES_MAX;
use placet_api::read::InputError;

use crate::failure::{Failure, Outcome};

/// No form of ours has more: a reason of 4096 bytes, percent-encoded, and a few hidden fields.
const FORM_BYTES_MAX: usize = 32 * 1024;

/// Reads a JSON body with its own strict reader.
pub(crate) async fn read_json<T>(request: Request, read: fn(&[u8]) -> Result<T, InputError>) -> Outcome<T> {
    read_large_json(request, BODY_BYTES_MAX, read).await
}

/// Reads a JSON body that may be larger than others are.
pub(crate) async fn read_large_json<T>(
    request: Request,
    bytes_max: usize,
    read: fn(&[u8]) -> Result<T, InputError>,
) -> Outcome<T> {
    require_media_type(request.headers(), "application/json")?;
    Ok(read(&bounded(request, bytes_max).await?)?)
}

/// Reads nothing: a call without a body may still send an empty one, or `{}`.
pub(crate) async fn read_nothing(request: Request) -> Outcome<()> {
    let body = bounded(request, BODY_BYTES_MAX).await?;
    match body.trim_ascii() {
        b"" | b"{}" => Ok(()),
        _ => Err(Failure::bad_request("unexpected_body", "This call takes no body.")),
    }
}

/// Reads the bytes as they are.
pub(crate) async fn read_bytes(request: Request, bytes_max: usize) -> Outcome<Vec<u8>> {
    bounded(request, bytes_max).await
}

/// The fields of a form: each at most once.
pub(crate) struct Form(Vec<(String, String)>);

/// Reads a form.
pub(crate) async fn read_form(request: Request) -> Outcome<Form> {
    require_media_type(request.headers(), "application/x-www-form-urlencoded")?;
    let body = bounded(request, FORM_BYTES_MAX).await?;
    let refused = || Failure::bad_request("bad_form", "The form cannot be read. Open the page again.");
    let text = std::str::from_utf8(&body).map_err(|_| refused())?;
    let fields = crate::query::pairs(text).ok_or_else(refused)?;
    for (position, (name, _)) in fields.iter().enumerate() {
        if fields.iter().skip(position + 1).any(|(other, _)| other == name) {
            return Err(refused());
        }
    }
    Ok(Form(fields))
}

impl Form {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// A field that every form of ours has.
    pub(crate) fn require(&self, name: &str) -> Outcome<&str> {
        let refused = || Failure::bad_request("bad_form", "The form is not complete. Open the page again.");
        self.get(name).ok_or_else(refused)
    }
}

async fn bounded(request: Request, bytes_max: usize) -> Outcome<Vec<u8>> {
    refuse_declared(request.headers(), bytes_max as u64)?;
    match to_bytes(request.into_body(), bytes_max).await {
        Ok(bytes) => Ok(bytes.into()),
        Err(error) => {
            // The one error that the limit itself makes; everything else is a broken connection.
            let too_large = std::error::Error::source(&error)
                .is_some_and(|source| source.to_string().contains("length limit exceeded"));
            Err(if too_large {
                too_large_for(bytes_max as u64)
            } else {
                Failure::bad_request("body_broken", "The body could not be read to its end.")
            })
        }
    }
}

/// Refuses a body that says it is longer than it may be: nobody waits for what would be refused at its end.
pub(crate) fn refuse_declared(headers: &HeaderMap, bytes_max: u64) -> Outcome<()> {
    // What is no number was refused when the head was read.
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let fits = declared.is_none_or(|declared: u64| declared <= bytes_max);
    if fits { Ok(()) } else { Err(too_large_for(bytes_max)) }
}

fn too_large_for(bytes_max: u64) -> Failure {
    let detail = format!("The body has more than {bytes_max} bytes.");
    Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
}

fn require_media_type(headers: &HeaderMap, expected: &'static str) -> Outcome<()> {
    let written = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut parts = written.split(';').map(str::trim);
    let named = parts.next().unwrap_or_default().eq_ignore_ascii_case(expected);
    let utf8 = parts.all(|parameter| parameter.eq_ignore_ascii_case("charset=utf-8"));
    if named && utf8 {
        return Ok(());
    }
    let detail = format!("Send the body as {expected}, in UTF-8.");
    Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn posted(media_type: &str, body: impl Into<Body>) -> Request {
        Request::builder().method("POST").header("content-type", media_type).body(body.into()).unwrap()
    }

    async fn form(media_type: &str, body: &str) -> Outcome<Form> {
        read_form(posted(media_type, body.to_owned())).await
    }

    #[tokio::test]
    async fn a_form_has_each_field_once() {
        let urlencoded = "application/x-www-form-urlencoded";
        let read = form(urlencoded, "a=1+2&b=%C3%A9&c=").await.unwrap();
        assert_eq!((read.get("a"), read.get("b"), read.get("c")), (Some("1 2"), Some("é"), Some("")));
        assert!(read.require("d").is_err());
        for (media_type, body, status) in [
            (urlencoded, "a=1&a=2".to_owned(), 400),
            (urlencoded, "a=%ff".to_owned(), 400),
            (urlencoded, format!("a={}", "x".repeat(FORM_BYTES_MAX)), 413),
            ("text/plain", "a=1".to_owned(), 415),
            ("multipart/form-data; boundary=x", "a=1".to_owned(), 415),
            ("", "a=1".to_owned(), 415),
        ] {
            let failure = form(media_type, &body).await.err().unwrap();
            assert_eq!(failure.status().as_u16(), status, "{media_type} {}", body.len());
        }
    }

    #[tokio::test]
    async fn json_says_that_it_is_json() {
        fn anything(body: &[u8]) -> Result<usize, InputError> {
            Ok(body.len())
        }
        for (media_type, good) in [
            ("application/json", true),
            ("Application/JSON; charset=UTF-8", true),
            ("application/json; charset=latin1", false),
            ("text/json", false),
            ("application/jsonx", false),
            ("application/x-www-form-urlencoded", false),
        ] {
            let read = read_json(posted(media_type, "{}"), anything).await;
            assert_eq!(read.is_ok(), good, "{media_type}");
        }
        let large = vec![b' '; BODY_BYTES_MAX + 1];
        let failure = read_json(posted("application/json", large), anything).await.err().unwrap();
        assert_eq!(failure.problem().code, "body_too_large");
    }

    #[tokio::test]
    async fn a_call_without_a_body_takes_none() {
        assert!(read_nothing(posted("", "")).await.is_ok());
        assert!(read_nothing(posted("", " {} ")).await.is_ok());
        assert!(read_nothing(posted("", "{\"a\":1}")).await.is_err());
    }
}
