//! `placet mcp login`: sends the operator's browser to an authorization server, and hands what it brings back to placet.
//! What passes through here is a code that only placet can turn into a token.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use placet_api::mcp::{FinishedLoginRequest, LoginDocument, NewLoginDocument, NewLoginRequest};
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::admin::{Admin, Body};
use crate::cli::tools::Login;
use crate::exit::{Exit, Failure};
use crate::output::{Output, plain};

/// As long as placet waits for it.
const LOGIN_MAX: Duration = Duration::from_secs(10 * 60);
/// How long a browser may take to say what it wants.
const ASKED_MAX: Duration = Duration::from_secs(5);
const HEAD_BYTES_MAX: u64 = 16 * 1024;
/// How many are answered at one time: browsers open connections ahead, and say nothing on them.
const VISITORS_MAX: usize = 32;
/// What follows is the server's name: no authorization server but its own sends a browser there (RFC 9700, 4.4).
const PATH: &str = "/callback/";

/// Does it.
pub(super) async fn run(login: Login, admin: &Admin, output: Output) -> Result<Exit, Failure> {
    let back = TcpListener::bind(("127.0.0.1", login.port.unwrap_or(0))).await;
    let back = back.map_err(|error| {
        Failure::new(Exit::Usage, format!("wait for the browser on this machine: {error}"))
            .hint("Is --port in use? Name another one, or leave it out.")
    })?;
    let port = back.local_addr().map_err(|error| Failure::of(Exit::Bug, &error))?.port();
    let base = format!("http://127.0.0.1:{port}");
    let path = format!("{PATH}{}", login.server);
    let segments = ["mcp", &login.server, "login"];
    let asked = NewLoginRequest { redirect: format!("{base}{path}") };
    let begun: NewLoginDocument = admin.post(&segments, json(&asked)?).await?;
    output.say(&told(&login.server, &begun));
    let returned = if login.paste {
        drop(back);
        output.say("The browser ends up at an address on this machine that does not answer there. Paste that address here:");
        pasted().await?
    } else {
        open(&begun.address);
        output.say("Waiting for the browser; if it is on another machine, use --paste. Ctrl-C stops.");
        tokio::time::timeout(LOGIN_MAX, returned(&back, &base, &path, &begun.state)).await.map_err(|_| {
            Failure::new(Exit::Waited, "log in: the browser did not come back within ten minutes")
        })?
    };
    let finished: LoginDocument = admin.put(&segments, json(&FinishedLoginRequest { returned })?).await?;
    output.result(&finished, || done(&finished))?;
    Ok(Exit::Done)
}

fn told(server: &str, begun: &NewLoginDocument) -> String {
    let scopes = begun.scopes.iter().map(|scope| plain(scope)).collect::<Vec<_>>().join(" ");
    let what = if scopes.is_empty() { String::new() } else { format!(", for {scopes},") };
    format!(
        "The tokens of {}{what} are issued by {}. If that is who you expect, go to\n\n{}\n",
        plain(server),
        plain(&begun.issuer),
        plain(&begun.address)
    )
}

fn done(login: &LoginDocument) -> String {
    let renewed = match (login.renewable, &login.until) {
        (true, _) => "placet renews it by itself.".to_owned(),
        (false, Some(until)) => {
            format!("Its token ends at {}, and then somebody has to log in again.", plain(until))
        }
        (false, None) => "Nobody said when its token ends.".to_owned(),
    };
    format!("placet is logged in at {}. {renewed}", plain(&login.server))
}

fn json(document: &impl Serialize) -> Result<Body, Failure> {
    serde_json::to_string(document).map(Body::Json).map_err(|error| Failure::of(Exit::Bug, &error))
}

/// Opens the browser where somebody sits. If that does not work they have the address.
fn open(address: &str) {
    if !io::stderr().is_terminal() {
        return;
    }
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let mut command = Command::new(program);
    command.arg(address).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _ = command.spawn();
}

async fn pasted() -> Result<String, Failure> {
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().lock().take(HEAD_BYTES_MAX).read_line(&mut line).map(|_| line)
    });
    let line = read.await.map_err(|error| Failure::of(Exit::Bug, &error))?;
    let line = line.map_err(|error| Failure::of(Exit::Usage, &error))?;
    match line.trim() {
        "" => Err(Failure::new(Exit::Usage, "log in: no address was pasted")),
        address => Ok(address.to_owned()),
    }
}

/// The address that the browser came back to. Whatever else comes to this port is sent away, and holds nobody up.
async fn returned(back: &TcpListener, base: &str, path: &str, state: &str) -> String {
    let mut visitors = JoinSet::new();
    loop {
        tokio::select! {
            visitor = back.accept(), if visitors.len() < VISITORS_MAX => match visitor {
                Ok((stream, _)) => {
                    visitors.spawn(answered(stream, base.to_owned(), path.to_owned(), state.to_owned()));
                }
                Err(_) => tokio::time::sleep(ASKED_MAX).await,
            },
            Some(answered) = visitors.join_next() => {
                if let Ok(Some(address)) = answered {
                    return address;
                }
            }
        }
    }
}

/// Answers one visitor. Gives the address that it came to if that is the one which is waited for.
async fn answered(mut stream: TcpStream, base: String, path: String, state: String) -> Option<String> {
    let target = tokio::time::timeout(ASKED_MAX, target(&mut stream)).await.ok().flatten();
    let address = target.map(|target| format!("{base}{target}"));
    let ours = address.filter(|address| is_ours(address, &path, &state));
    let (status, text) = match &ours {
        Some(_) => {
            ("200 OK", "Back to the terminal: placet says there how it went. This page can be closed.")
        }
        None => ("404 Not Found", "There is nothing here."),
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nreferrer-policy: no-referrer\r\ncache-control: no-store\r\nconnection: close\r\n\r\n{text}",
        text.len()
    );
    let _ = tokio::time::timeout(ASKED_MAX, stream.write_all(answer.as_bytes())).await;
    ours
}

fn is_ours(address: &str, path: &str, state: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(address) else { return false };
    let brings = |name: &str, value: Option<&str>| {
        url.query_pairs().any(|(key, found)| key == name && value.is_none_or(|value| value == found))
    };
    url.path() == path && brings("state", Some(state)) && (brings("code", None) || brings("error", None))
}

/// What a browser asks for.
async fn target(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut stream = stream.take(HEAD_BYTES_MAX);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut some = [0; 2048];
        let read = stream.read(&mut some).await.ok().filter(|read| *read > 0)?;
        head.extend_from_slice(some.get(..read)?);
    }
    let head = String::from_utf8(head).ok()?;
    let mut words = head.lines().next()?.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    (method == "GET" && target.starts_with('/')).then(|| target.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_who_brings_the_state_ends_the_wait() {
        let back = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", back.local_addr().unwrap());
        let waiting = tokio::spawn({
            let base = base.clone();
            async move { returned(&back, &base, "/callback/files", "s1").await }
        });
        let get = async |path: &str| reqwest::get(format!("{base}{path}")).await.unwrap().status().as_u16();
        for other in [
            "/",
            "/callback/files",
            "/callback/files?state=s2&code=c",
            "/callback/files?state=s1",
            "/callback/x?state=s1&code=c",
        ] {
            assert_eq!(get(other).await, 404, "{other}");
        }
        // Those who say nothing, as many as would take a minute one after the other, keep nobody out.
        let mut silent = Vec::new();
        for _ in 0..12 {
            silent.push(TcpStream::connect(base.strip_prefix("http://").unwrap()).await.unwrap());
        }
        let got = tokio::time::timeout(Duration::from_secs(30), get("/callback/files?code=c&state=s1&iss=i"));
        assert_eq!(got.await, Ok(200));
        assert_eq!(waiting.await.unwrap(), format!("{base}/callback/files?code=c&state=s1&iss=i"));
    }
}
