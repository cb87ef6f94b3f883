//! The command routes, from upload to outcome, with real programs behind them.

mod authority;
mod calls;
mod changes;
mod streams;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use futures::future::BoxFuture;
use http_body_util::BodyExt;
use placet_core::action::Principal;
use placet_core::digest::Sha256Digest;
use placet_core::entropy::Entropy;
use placet_core::id::{AgentId, ExecutionId, RequestId};
use placet_core::time::Timestamp;
use placet_gateway::blobs::{Blobs, Bounds};
use placet_gateway::commands::{Commands, Pace, Parts, Timer};
use placet_gateway::frames::{Decoder, End, Kind};
use placet_gateway::runner::config::{Config, RunAs};
use placet_gateway::runner::room::Room;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tower::ServiceExt;

use crate::bench::*;
use authority::Desk;

pub(crate) const AGENT: u8 = 1;

pub(crate) fn principal(number: u8) -> Principal {
    Principal::Agent(AgentId::from_bytes([number; 16]))
}

/// Not chance, and never the same twice.
struct Counting(std::sync::atomic::AtomicU8);
impl Entropy for Counting {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
    }
}

/// A lease that ends when the test says so.
#[derive(Default)]
pub(crate) struct ByHand(Notify);
impl ByHand {
    pub(crate) fn ring(&self) {
        self.0.notify_one();
    }
}
struct HandTimer(Arc<ByHand>);
impl Timer for HandTimer {
    fn until(&self, _: Timestamp) -> BoxFuture<'static, ()> {
        let hand = Arc::clone(&self.0);
        Box::pin(async move { hand.0.notified().await })
    }
}

pub(crate) struct Door {
    pub(crate) bench: Bench,
    pub(crate) desk: Arc<Desk>,
    pub(crate) commands: Commands,
    pub(crate) lease: Arc<ByHand>,
    router: Router,
}

pub(crate) const SAME_USER: &str = "[runner]\ndanger_same_user = true\n";

impl Door {
    pub(crate) fn new(runner_toml: &str) -> Self {
        Self::at_pace(runner_toml, Pace { report_again: Duration::ZERO, ..Pace::default() })
    }

    pub(crate) fn at_pace(runner_toml: &str, pace: Pace) -> Self {
        Self::with_room(runner_toml, pace, Room::of(1 << 30))
    }

    pub(crate) fn with_room(runner_toml: &str, pace: Pace, output: Room) -> Self {
        let bench = Bench::new(&RunAs::DangerSameUser);
        let desk = Arc::new(Desk::new(Config::parse(runner_toml).unwrap()));
        let clock = bench.engine.clock.clone();
        let lease = Arc::new(ByHand::default());
        let directory = |name: &str| {
            let path = bench.shared.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        let commands = Commands::new(Parts {
            authority: desk.clone(),
            target: "runner:local".to_owned(),
            engine: bench.engine.clone(),
            blobs: Blobs::open(&directory("blobs"), Bounds::default(), clock.clone()).unwrap(),
            spools: directory("spools"),
            output,
            seals: Arc::new(|_| Box::new(Open)),
            clock,
            entropy: Arc::new(Counting(0.into())),
            timer: Arc::new(HandTimer(lease.clone())),
            pace,
        });
        Door { router: commands.router(), bench, desk, commands, lease }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// A call by an agent; the answer's status and JSON.
    pub(crate) async fn call(
        &self,
        who: u8,
        method: &str,
        path: &str,
        body: impl Into<Body>,
    ) -> (StatusCode, Value) {
        let response = self.send(request(who, method, path, body)).await;
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    pub(crate) async fn submit(&self, body: &Value) -> (StatusCode, Value) {
        self.call(AGENT, "POST", "/v1/commands", body.to_string()).await
    }

    /// Submits a command that is granted at once, and gives the request's id.
    pub(crate) async fn granted(&self, body: &Value) -> RequestId {
        let (status, request) = self.submit(body).await;
        assert_eq!(status, StatusCode::CREATED, "{request}");
        RequestId::parse(request["id"].as_str().unwrap()).unwrap()
    }

    pub(crate) async fn run(&self, request: RequestId) -> (StatusCode, Value) {
        self.call(AGENT, "POST", &format!("/v1/commands/{request}/run"), Body::empty()).await
    }

    pub(crate) async fn output(&self, who: u8, request: RequestId, from: u64) -> Response<Body> {
        self.send(self::request(
            who,
            "GET",
            &format!("/v1/commands/{request}/output?from={from}"),
            Body::empty(),
        ))
        .await
    }

    /// Submits, runs and reads to the end.
    pub(crate) async fn whole(&self, body: &Value) -> (String, String, End) {
        let request = self.granted(body).await;
        self.run_to_the_end(request).await
    }

    pub(crate) async fn run_to_the_end(&self, request: RequestId) -> (String, String, End) {
        let (status, run) = self.run(request).await;
        assert_eq!(status, StatusCode::CREATED, "{run}");
        assert!(ExecutionId::parse(run["execution_id"].as_str().unwrap()).is_ok());
        let response = self.output(AGENT, request, 0).await;
        assert_eq!(response.status(), StatusCode::OK);
        read_frames(response).await
    }

    /// Uploads an input and gives its hash.
    pub(crate) async fn upload(&self, content: &str) -> String {
        let sha256 = Sha256Digest::of(content.as_bytes()).to_string();
        let path = format!("/v1/blobs/{sha256}");
        let (status, blob) = self.call(AGENT, "PUT", &path, content.to_owned()).await;
        assert!(status.is_success(), "{blob}");
        assert_eq!(blob, json!({"sha256": sha256, "bytes": content.len()}));
        sha256
    }

    pub(crate) fn stored_blob(&self, sha256: &str) -> PathBuf {
        self.bench.shared.path().join("blobs").join(principal(AGENT).to_string()).join(sha256)
    }
}

/// A call as the door hands it on: authenticated.
pub(crate) fn request(who: u8, method: &str, path: &str, body: impl Into<Body>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    request.extensions_mut().unwrap().insert(principal(who));
    request.body(body.into()).unwrap()
}

pub(crate) async fn read_frames(response: Response<Body>) -> (String, String, End) {
    let reading = async {
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        let (mut stdout, mut stderr, mut end) = (Vec::new(), Vec::new(), None);
        while let Some(frame) = decoder.next_frame().unwrap() {
            match frame.kind {
                Kind::Stdout => stdout.extend_from_slice(&frame.payload),
                Kind::Stderr => stderr.extend_from_slice(&frame.payload),
                Kind::KeepAlive => {}
                Kind::End => end = Some(End::from_payload(&frame.payload).unwrap()),
            }
        }
        decoder.finish().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(stdout), text(stderr), end.unwrap())
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("the output ends")
}

pub(crate) fn sh(script: &str) -> Value {
    json!({"argv": ["sh", "-c", script]})
}
