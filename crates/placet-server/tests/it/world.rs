//! Both doors on free ports, an agent, and people who review.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use placet_server::{App, Limits, Listener, Parts, PublicUrl, agents_door, reviewers_door, serve};
use placet_testkit::world::World;
use reqwest::header::{COOKIE, LOCATION, ORIGIN, SET_COOKIE};
use reqwest::redirect::Policy;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Two doors, served.
pub(crate) struct Doors {
    pub(crate) world: World,
    pub(crate) app: App,
    pub(crate) agents: String,
    pub(crate) reviewers: String,
    pub(crate) reviewers_address: SocketAddr,
    /// The token of the agent `bot`, which `ann` sponsors.
    pub(crate) bot: String,
    pub(crate) http: reqwest::Client,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) running: Vec<JoinHandle<placet_server::Drained>>,
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {} {}", self.status, self.text))
    }

    /// Status and code of a problem, which has to be one.
    pub(crate) fn problem(&self) -> (u16, String) {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{}", self.text);
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        assert_eq!(problem["request_id"].as_str().unwrap(), self.headers["x-request-id"].to_str().unwrap());
        (self.status, problem["code"].as_str().unwrap().to_owned())
    }

    /// The value of a form's hidden field.
    pub(crate) fn field(&self, name: &str) -> String {
        let start = format!("name=\"{name}\" value=\"");
        let from = self.text.find(&start).unwrap_or_else(|| panic!("no field {name} in\n{}", self.text));
        let rest = &self.text[from + start.len()..];
        rest[..rest.find('"').unwrap()].to_owned()
    }
}

/// A person's browser: a cookie, and nothing else.
pub(crate) struct Browser<'a> {
    doors: &'a Doors,
    pub(crate) cookie: String,
}

impl Doors {
    /// Doors under a starter bundle, with the reviewer `rob`.
    pub(crate) async fn open(starter: &str) -> Doors {
        let policy: PathBuf =
            [env!("CARGO_MANIFEST_DIR"), "..", "placet", "starters", starter].iter().collect();
        let world = World::new(&policy, &["reviewers", "owners"]).await;
        world.person("rob", &["reviewers"]).await;
        let bot = world.agent("bot").await;
        let (stop, stopping) = watch::channel(false);
        let bind = || Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let (agents, reviewers) = (bind(), bind());
        let reviewers_address = reviewers.address();
        let urls = [agents.address(), reviewers_address]
            .map(|address| format!("http://localhost:{}", address.port()));
        let app = App::new(Parts {
            broker: world.broker.clone(),
            views: world.store.clone(),
            entropy: world.entropy.clone(),
            reviewers_url: PublicUrl::localhost(reviewers_address.port()),
            ledger_public: false,
            stop: stopping.clone(),
        });
        let mut running = Vec::new();
        for (listener, name, door) in [
            (agents, "agents", agents_door(&app, axum::Router::new())),
            (reviewers, "reviewers", reviewers_door(&app)),
        ] {
            let (app, stopping) = (app.clone(), stopping.clone());
            running.push(tokio::spawn(
                async move { serve(listener, name, door, &app, limits(), stopping).await },
            ));
        }
        let (broker, hub) = (world.broker.clone(), stopping);
        tokio::spawn(async move { broker.run(hub).await });
        let http = reqwest::Client::builder().redirect(Policy::none()).no_proxy().build().unwrap();
        let [agents, reviewers] = urls;
        Doors { world, app, agents, reviewers, reviewers_address, bot, http, stop, running }
    }

    /// Another agents' door, with something mounted behind it, until it is told to stop.
    pub(crate) async fn mounting(&self, mounted: axum::Router) -> (SocketAddr, watch::Sender<bool>) {
        let listener = Listener::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let (address, (stop, stopping)) = (listener.address(), watch::channel(false));
        let (app, door) = (self.app.clone(), agents_door(&self.app, mounted));
        tokio::spawn(async move { serve(listener, "agents", door, &app, limits(), stopping).await });
        (address, stop)
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, text: response.text().await.unwrap() }
    }

    /// A call of the agent `bot`.
    pub(crate) async fn bot_get(&self, path: &str) -> Answer {
        self.send(self.http.get(format!("{}{path}", self.agents)).bearer_auth(&self.bot)).await
    }

    /// A call of the agent `bot` with these exact bytes.
    pub(crate) async fn bot_post(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        let request = self.http.post(format!("{}{path}", self.agents)).bearer_auth(&self.bot);
        self.send(request.header("content-type", "application/json").body(body)).await
    }

    /// The agent asks to deploy, and gets the request.
    pub(crate) async fn deploy(&self, environment: &str) -> Value {
        let answer = self.bot_post("/v1/requests", deploy(environment).to_string()).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.json()
    }

    /// A person's session, begun with a link in a browser.
    pub(crate) async fn signed_in(&self, name: &str) -> Browser<'_> {
        let path = placet_server::sign_in_path(&self.world.link(name).await);
        let answer = self.send(self.http.post(self.at(&path)).header(ORIGIN, &self.reviewers)).await;
        assert_eq!(
            (answer.status, answer.headers[LOCATION].to_str().unwrap()),
            (303, "/"),
            "{}",
            answer.text
        );
        let cookie = answer.headers[SET_COOKIE].to_str().unwrap();
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
        Browser { doors: self, cookie: cookie.split(';').next().unwrap().to_owned() }
    }

    /// An address of the reviewers' door.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.reviewers)
    }
}

impl Browser<'_> {
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.doors.send(self.doors.http.get(self.doors.at(path)).header(COOKIE, &self.cookie)).await
    }

    /// Sends a form of our own page.
    pub(crate) async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.post_from(Some(&self.doors.reviewers), path, fields).await
    }

    /// Sends a form from a page of this origin.
    pub(crate) async fn post_from(
        &self,
        origin: Option<&str>,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Answer {
        let mut request = self.doors.http.post(self.doors.at(path)).header(COOKIE, &self.cookie);
        if let Some(origin) = origin {
            request = request.header(ORIGIN, origin);
        }
        let body: Vec<String> =
            fields.iter().map(|(name, value)| format!("{name}={}", percent(value))).collect();
        let form = request.header("content-type", "application/x-www-form-urlencoded").body(body.join("&"));
        self.doors.send(form).await
    }

    /// Reads a review and decides it.
    pub(crate) async fn decide(&self, code: &str, verdict: &str, reason: &str) -> Answer {
        let review = self.get(&format!("/r/{code}")).await;
        assert_eq!(review.status, 200, "{}", review.text);
        self.post(
            &format!("/r/{code}/vote"),
            &ballot(&review, verdict, reason).each_ref().map(|(n, v)| (*n, v.as_str())),
        )
        .await
    }
}

/// The fields of a review's form, filled in.
pub(crate) fn ballot(review: &Answer, verdict: &str, reason: &str) -> [(&'static str, String); 6] {
    [
        ("token", review.field("token")),
        ("digest", review.field("digest")),
        ("version", review.field("version")),
        ("card", review.field("card")),
        ("verdict", verdict.to_owned()),
        ("reason", reason.to_owned()),
    ]
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// A call that deploys to an environment.
pub(crate) fn deploy(environment: &str) -> Value {
    json!({
        "action": "example.deploy",
        "resource": {"type": "Example", "id": environment},
        "arguments": {"version": "1.4.2"},
        "justification": "the fix is in 1.4.2",
    })
}

/// Short enough to be waited for.
fn limits() -> Limits {
    let silence_max = Duration::from_millis(300);
    // A body comes right behind its head, but the machine may be busy with other tests.
    Limits { head_timeout: silence_max, body_timeout: 5 * silence_max, ..Limits::default() }
}
