//! The client of the admin socket: HTTP to a placet on this machine, as the operating system user that we are.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use placet_api::JSON;
use placet_api::problem::{PROBLEM_JSON, Problem};
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::exit::{Exit, Failure};

/// The socket's name in the data directory.
pub(crate) const SOCKET: &str = "admin.sock";
/// An audit bundle is the largest answer.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Publishing a checkpoint and staging a bundle take seconds at most.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// The admin socket of one data directory.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    socket: PathBuf,
}

/// What a call carries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Body {
    /// Nothing.
    Empty,
    /// A JSON document.
    Json(String),
    /// Bytes, such as a secret's.
    Bytes(Vec<u8>),
}

impl Admin {
    /// The socket of the placet that serves this data directory.
    pub(crate) fn of(dir: &Path) -> Self {
        Admin { socket: dir.join(SOCKET) }
    }

    /// Asks for a document.
    pub(crate) async fn get<T: DeserializeOwned>(&self, segments: &[&str]) -> Result<T, Failure> {
        self.read(Method::GET, segments, Body::Empty).await
    }

    /// Asks a question.
    pub(crate) async fn query<T: DeserializeOwned>(
        &self,
        segments: &[&str],
        query: &[(&str, String)],
    ) -> Result<T, Failure> {
        self.read_path(Method::GET, path(segments) + &asked(query), Body::Empty).await
    }

    /// Sends something, for a document.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        segments: &[&str],
        body: Body,
    ) -> Result<T, Failure> {
        self.read(Method::POST, segments, body).await
    }

    /// Asks for something that is answered with a text.
    pub(crate) async fn post_for_text(&self, segments: &[&str]) -> Result<String, Failure> {
        let answer = self.call(Method::POST, segments, Body::Empty).await?;
        String::from_utf8(answer.to_vec())
            .map_err(|_| self.broken("it answered with something else than text"))
    }

    /// Asks for something that is answered with bytes.
    pub(crate) async fn post_for_bytes(&self, segments: &[&str]) -> Result<Bytes, Failure> {
        self.call(Method::POST, segments, Body::Empty).await
    }

    /// Sets something, for a document.
    pub(crate) async fn put<T: DeserializeOwned>(&self, segments: &[&str], body: Body) -> Result<T, Failure> {
        self.read(Method::PUT, segments, body).await
    }

    /// Sends something that is answered without a document.
    pub(crate) async fn send(&self, method: Method, segments: &[&str]) -> Result<(), Failure> {
        self.call(method, segments, Body::Empty).await.map(drop)
    }

    async fn read<T: DeserializeOwned>(
        &self,
        method: Method,
        segments: &[&str],
        body: Body,
    ) -> Result<T, Failure> {
        self.read_path(method, path(segments), body).await
    }

    async fn read_path<T: DeserializeOwned>(
        &self,
        method: Method,
        path: String,
        body: Body,
    ) -> Result<T, Failure> {
        let answer = self.call_path(method, path, body).await?;
        serde_json::from_slice(&answer).map_err(|error| {
            Failure::new(Exit::Bug, format!("read the answer of {}: {error}", self.socket.display()))
                .hint("Is the running placet of another version? Restart it with this one.")
        })
    }

    async fn call(&self, method: Method, segments: &[&str], body: Body) -> Result<Bytes, Failure> {
        self.call_path(method, path(segments), body).await
    }

    async fn call_path(&self, method: Method, path: String, body: Body) -> Result<Bytes, Failure> {
        let call = self.exchange(method, path, body);
        let answered = tokio::time::timeout(ANSWER_TIMEOUT, call).await;
        let (status, media_type, answer) =
            answered.map_err(|_| self.broken("it did not answer within a minute"))??;
        if status.is_success() {
            return Ok(answer);
        }
        match serde_json::from_slice::<Problem>(&answer) {
            Ok(problem) if media_type == PROBLEM_JSON => Err(Failure::of_problem(&problem)),
            _ => Err(self.broken(&format!("it answered with status {status} and no reason"))),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: String,
        body: Body,
    ) -> Result<(StatusCode, String, Bytes), Failure> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.unreachable(&error))?;
        self.check_peer(stream.peer_cred().map_err(|error| self.unreachable(&error))?.uid())?;
        let broken = |error: hyper::Error| self.broken(&error.to_string());
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header(HOST, "localhost");
        let bytes = match body {
            Body::Empty => Bytes::new(),
            Body::Json(json) => {
                request = request.header(CONTENT_TYPE, JSON);
                Bytes::from(json)
            }
            Body::Bytes(bytes) => {
                request = request.header(CONTENT_TYPE, "application/octet-stream");
                Bytes::from(bytes)
            }
        };
        let request = request.body(Full::new(bytes)).map_err(|error| self.broken(&error.to_string()))?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let media_type =
            response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
        let answer = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let answer = answer.map_err(|error| self.broken(&error.to_string()))?;
        Ok((status, media_type, answer.to_bytes()))
    }

    /// Whoever serves the socket hears secrets and hands out links. The data directory is looked for where we stand, and
    /// that may be a directory that an agent filled: only a placet of our own user is believed.
    fn check_peer(&self, uid: u32) -> Result<(), Failure> {
        let own = nix::unistd::geteuid().as_raw();
        if uid == own {
            return Ok(());
        }
        let socket = self.socket.display();
        let message = format!("trust {socket}: user {uid} serves it, and you are user {own}");
        Err(Failure::new(Exit::Refused, message)
            .hint("Operators work as the user that placet runs as. If that is not yours, somebody put this socket here."))
    }

    fn unreachable(&self, error: &io::Error) -> Failure {
        let socket = self.socket.display();
        match error.kind() {
            io::ErrorKind::PermissionDenied => {
                Failure::new(Exit::Refused, format!("open {socket}: it belongs to another user"))
                    .hint("Operators work as the user that placet runs as.")
            }
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                Failure::new(Exit::NoBroker, format!("reach placet: nobody serves {socket}"))
                    .hint("Start it with `placet up`, or name its data directory with --dir or PLACET_DIR.")
            }
            _ => Failure::new(Exit::NoBroker, format!("reach placet at {socket}: {error}")),
        }
    }

    fn broken(&self, why: &str) -> Failure {
        Failure::new(Exit::NoBroker, format!("talk to placet at {}: {why}", self.socket.display()))
            .hint("What was asked may have happened: look before you ask again.")
    }
}

/// The path below the socket's own prefix. Names travel as one segment each, whatever is in them.
fn path(segments: &[&str]) -> String {
    let mut path = "/admin/v1".to_owned();
    for segment in segments {
        path.push('/');
        escape(segment, &mut path);
    }
    path
}

/// The question mark and what follows it; nothing if nothing is asked.
fn asked(query: &[(&str, String)]) -> String {
    let mut text = String::new();
    for (name, value) in query {
        text.push(if text.is_empty() { '?' } else { '&' });
        text.push_str(name);
        text.push('=');
        escape(value, &mut text);
    }
    text
}

fn escape(text: &str, into: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            into.push(char::from(byte));
        } else {
            into.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_of_another_user_is_not_told_anything() {
        let own = nix::unistd::geteuid().as_raw();
        let admin = Admin::of(Path::new("placet-data"));
        assert!(admin.check_peer(own).is_ok());
        let failure = admin.check_peer(own + 1).unwrap_err();
        assert_eq!(failure.exit, Exit::Refused);
        assert!(failure.message.contains("placet-data/admin.sock"), "{failure}");
    }

    #[test]
    fn a_name_stays_one_segment() {
        assert_eq!(
            path(&["people", "Ada Löve/lace", "invitation"]),
            "/admin/v1/people/Ada%20L%C3%B6ve%2Flace/invitation"
        );
        assert_eq!(path(&["secrets", ".."]), "/admin/v1/secrets/..");
        assert_eq!(asked(&[("by", "a&b=%".to_owned()), ("x", "ü".to_owned())]), "?by=a%26b%3D%25&x=%C3%BC");
        assert_eq!(asked(&[]), "");
    }
}
