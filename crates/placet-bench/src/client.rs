//! Callers that keep their connections: a closed loop over plain HTTP, as cheap as it can be made, so that the load is
//! not what is measured.

use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::Result;
use crate::figure::{Round, quantile};
use crate::machine::{cpu_of, own_cpu};

/// Where to call, and as whom.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    /// `localhost:7071`.
    pub(crate) authority: String,
    /// Sent with each call, beside what the call itself needs.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
}

impl Door {
    /// The door at this URL, for nobody in particular.
    pub(crate) fn at(url: &str) -> Result<Door> {
        let authority = url.strip_prefix("http://").ok_or("not a plain URL")?.to_owned();
        Ok(Door { authority, headers: Vec::new() })
    }

    /// With one more header.
    pub(crate) fn with(mut self, name: HeaderName, value: &str) -> Result<Door> {
        self.headers.push((name, HeaderValue::from_str(value)?));
        Ok(self)
    }

    /// With this bearer token.
    pub(crate) fn bearer(self, token: &str) -> Result<Door> {
        self.with(header::AUTHORIZATION, &format!("Bearer {token}"))
    }
}

/// One connection.
pub(crate) struct Caller {
    sender: SendRequest<Full<Bytes>>,
    door: Door,
    host: HeaderValue,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The body of an answer that says yes.
    pub(crate) fn json(&self) -> Result<Value> {
        if !(200..300).contains(&self.status) {
            let text = String::from_utf8_lossy(&self.body);
            return Err(format!("the answer is {}: {text}", self.status).into());
        }
        Ok(serde_json::from_slice(&self.body)?)
    }
}

impl Caller {
    /// Connects.
    pub(crate) async fn connect(door: &Door) -> Result<Caller> {
        let port = door.authority.rsplit(':').next().ok_or("a door has a port")?;
        let stream = TcpStream::connect(format!("127.0.0.1:{port}")).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // It ends with the caller, or with the server, and the next call says so.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Caller { sender, door: door.clone(), host: HeaderValue::from_str(&door.authority)? })
    }

    /// Calls and reads the whole answer.
    pub(crate) async fn call(&mut self, method: Method, path: &str, body: Option<Bytes>) -> Result<Answer> {
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, &self.host);
        for (name, value) in &self.door.headers {
            request = request.header(name, value);
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(body.unwrap_or_default()))?;
        self.sender.ready().await?;
        let (head, body) = self.sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
    }

    /// GET.
    pub(crate) async fn get(&mut self, path: &str) -> Result<Answer> {
        self.call(Method::GET, path, None).await
    }

    /// POST of a JSON document.
    pub(crate) async fn post(&mut self, path: &str, body: String) -> Result<Answer> {
        self.call(Method::POST, path, Some(Bytes::from(body))).await
    }
}

/// What a round of load did.
#[derive(Debug)]
pub(crate) struct Load {
    /// How long each call took, in milliseconds, shortest first.
    pub(crate) took_ms: Vec<f64>,
    wall: Duration,
    cpu: (f64, f64),
}

impl Load {
    /// Calls a second.
    pub(crate) fn rate(&self) -> f64 {
        self.took_ms.len() as f64 / self.wall.as_secs_f64()
    }

    /// Processor time that the subject took for each call, in microseconds: what a busy machine changes least.
    pub(crate) fn subject_us(&self) -> f64 {
        self.cpu.1 * self.wall.as_secs_f64() * 1e6 / self.took_ms.len() as f64
    }

    /// A round with this number, and the processor time of this load.
    pub(crate) fn round(&self, value: f64, floor: Option<f64>) -> Round {
        Round { value, floor, cpu: Some(self.cpu) }
    }

    /// The time below which this share of the calls stayed, in milliseconds.
    pub(crate) fn ms(&self, share: f64) -> f64 {
        quantile(&self.took_ms, share)
    }
}

/// When a round ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// After this time.
    Elapsed(Duration),
    /// After so many calls, of all callers together.
    Calls(usize),
}

/// Lets every caller post one body after another to this path until the round is over. Every answer has to be 201.
pub(crate) async fn drive(
    callers: &mut Vec<Caller>,
    pid: u32,
    path: &'static str,
    until: Until,
    body: impl Fn() -> String + Clone + 'static,
) -> Result<Load> {
    drive_to(callers, pid, path, 201, until, body).await
}

/// The same, where every answer has to have this status.
pub(crate) async fn drive_to(
    callers: &mut Vec<Caller>,
    pid: u32,
    path: &'static str,
    expected: u16,
    until: Until,
    body: impl Fn() -> String + Clone + 'static,
) -> Result<Load> {
    let (began, cpu_began, own_began) = (Instant::now(), cpu_of(pid), own_cpu());
    let left = std::rc::Rc::new(std::cell::Cell::new(match until {
        Until::Elapsed(_) => usize::MAX,
        Until::Calls(calls) => calls,
    }));
    let deadline = match until {
        Until::Elapsed(time) => Some(began + time),
        Until::Calls(_) => None,
    };
    let tasks: Vec<_> = callers
        .drain(..)
        .map(|mut caller| {
            let (left, body) = (left.clone(), body.clone());
            tokio::task::spawn_local(async move {
                let mut took_ms = Vec::new();
                while left.get() > 0 && deadline.is_none_or(|deadline| Instant::now() < deadline) {
                    left.set(left.get() - 1);
                    let (body, began) = (body(), Instant::now());
                    let answer = caller.post(path, body).await?;
                    took_ms.push(began.elapsed().as_secs_f64() * 1e3);
                    if answer.status != expected {
                        return Err(format!("{}: {:?}", answer.status, answer.body).into());
                    }
                }
                Result::Ok((caller, took_ms))
            })
        })
        .collect();
    let mut took_ms = Vec::new();
    for task in tasks {
        let (caller, took) = task.await??;
        callers.push(caller);
        took_ms.extend(took);
    }
    let wall = began.elapsed();
    took_ms.sort_by(f64::total_cmp);
    let cores = |used: f64| used / wall.as_secs_f64();
    let cpu = (cores(own_cpu() - own_began), cores(cpu_of(pid) - cpu_began));
    Ok(Load { took_ms, wall, cpu })
}
