//! A server of tools and the authorization server that issues its tokens, at one address of this machine. It is strict, and
//! does wrong what it is told to.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// What is seen of it and what it is told.
#[derive(Default)]
pub(crate) struct State {
    /// What it does wrong, or otherwise than usual: see where they are read.
    pub(crate) told: BTreeMap<&'static str, String>,
    /// The text of each call that was carried out.
    pub(crate) calls: Vec<String>,
    /// What authorization requests asked for.
    pub(crate) asked: Vec<HashMap<String, String>>,
    /// Each call of the token endpoint, by its grant.
    pub(crate) grants: Vec<String>,
    /// Each client that registered.
    pub(crate) registered: Vec<Value>,
    /// Every secret that was ever issued.
    pub(crate) issued: Vec<String>,
    /// Each token that was carried to the server, also refused ones.
    pub(crate) carried: Vec<String>,
    codes: HashMap<String, HashMap<String, String>>,
    access: BTreeSet<String>,
    refresh: BTreeSet<String>,
}

impl State {
    fn secret(&mut self, kind: &str) -> String {
        let secret = format!("{kind}-{}-of-the-issuer", self.issued.len());
        self.issued.push(secret.clone());
        secret
    }

    fn is(&self, what: &str) -> bool {
        self.told.contains_key(what)
    }

    fn told(&self, what: &str, usual: impl Into<String>) -> String {
        self.told.get(what).cloned().unwrap_or_else(|| usual.into())
    }

    /// No token is good any more; those that renew are.
    pub(crate) fn end_tokens(&mut self) {
        self.access.clear();
    }
}

/// It, as long as this lives.
#[derive(Clone)]
pub(crate) struct Issuer {
    /// Where it is.
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
    _runtime: Arc<tokio::runtime::Runtime>,
}

type Me = Shared<(String, Arc<Mutex<State>>)>;

impl Issuer {
    pub(crate) fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let router = Router::new()
            .route("/mcp", post(serve))
            .route("/.well-known/oauth-protected-resource/mcp", get(resource))
            .route("/.well-known/{what}", get(metadata))
            .route("/register", post(register))
            .route("/authorize", get(authorize))
            .route("/token", post(token))
            .with_state((url.clone(), state.clone()));
        runtime.spawn(async { axum::serve(listener, router).await });
        Issuer { url, state, _runtime: Arc::new(runtime) }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn tell(&self, what: &'static str, how: &str) {
        self.state().told.insert(what, how.to_owned());
    }

    pub(crate) fn usual(&self, what: &'static str) {
        self.state().told.remove(what);
    }

    /// What an operator's browser does with an address: it consents, and is sent back. This is where to.
    pub(crate) fn consent(&self, address: &str) -> String {
        self._runtime.block_on(async {
            let browser =
                reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
            let answer = browser.get(address).send().await.unwrap();
            assert_eq!(answer.status(), 303, "{}", answer.text().await.unwrap());
            answer.headers()["location"].to_str().unwrap().to_owned()
        })
    }
}

/// The server of tools, of the older revisions.
async fn serve(Shared((url, state)): Me, headers: HeaderMap, body: Bytes) -> Response {
    let mut state = state.lock().unwrap();
    let carried = headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
    let token = carried.as_deref().and_then(|carried| carried.strip_prefix("Bearer ")).map(str::to_owned);
    state.carried.extend(token.clone());
    if let Some(to) = state.told.get("redirect") {
        return Redirect::temporary(to).into_response();
    }
    if state.is("refuses all") || !token.as_ref().is_some_and(|token| state.access.contains(token)) {
        let metadata = state.told("metadata at", format!("{url}/.well-known/oauth-protected-resource/mcp"));
        let challenge = format!("Bearer resource_metadata=\"{metadata}\", scope=\"read\"");
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)]).into_response();
    }
    let call: Value = serde_json::from_slice(&body).unwrap();
    let result = match call["method"].as_str().unwrap() {
        "initialize" => json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
            "serverInfo": {"name": "fixture", "version": "1"}}),
        "tools/list" => json!({"tools": [{"name": "echo", "inputSchema": {"type": "object",
            "properties": {"text": {"type": "string"}}}}]}),
        "tools/call" => {
            if state.is("lacks") {
                let lacks = state.told("lacks", "");
                let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{lacks}\"");
                return (StatusCode::FORBIDDEN, [(header::WWW_AUTHENTICATE, challenge)]).into_response();
            }
            let text = call["params"]["arguments"]["text"].as_str().unwrap_or_default().to_owned();
            state.calls.push(text.clone());
            let said = if state.is("leak") { token.unwrap_or_default() } else { text };
            json!({"content": [{"type": "text", "text": said}]})
        }
        method if method.starts_with("notifications/") => return StatusCode::ACCEPTED.into_response(),
        _ => {
            let error = json!({"jsonrpc": "2.0", "id": call["id"], "error": {"code": -32601, "message": "no such method"}});
            return axum::Json(error).into_response();
        }
    };
    axum::Json(json!({"jsonrpc": "2.0", "id": call["id"], "result": result})).into_response()
}

async fn resource(Shared((url, state)): Me) -> Response {
    let state = state.lock().unwrap();
    axum::Json(json!({"resource": state.told("resource", format!("{url}/mcp")),
        "authorization_servers": [state.told("issuer", url.clone())]}))
    .into_response()
}

async fn metadata(Shared((url, state)): Me, Path(what): Path<String>) -> Response {
    let state = state.lock().unwrap();
    if what != "oauth-authorization-server" {
        return StatusCode::NOT_FOUND.into_response();
    }
    let mut metadata = json!({
        "issuer": state.told("issuer says", url.clone()),
        "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": state.told("token endpoint", format!("{url}/token")),
        "code_challenge_methods_supported": [state.told("challenges", "S256")],
        "token_endpoint_auth_methods_supported": ["client_secret_basic"],
        "authorization_response_iss_parameter_supported": true,
    });
    if !state.is("registers nobody") {
        metadata["registration_endpoint"] = json!(format!("{url}/register"));
    }
    axum::Json(metadata).into_response()
}

async fn register(Shared((_, state)): Me, body: Bytes) -> Response {
    let mut state = state.lock().unwrap();
    state.registered.push(serde_json::from_slice(&body).unwrap());
    let secret = state.secret("client");
    let client = json!({"client_id": "placet-here", "client_secret": secret, "token_endpoint_auth_method": "client_secret_basic"});
    (StatusCode::CREATED, axum::Json(client)).into_response()
}

async fn authorize(Shared((url, state)): Me, Query(asked): Query<HashMap<String, String>>) -> Response {
    let mut state = state.lock().unwrap();
    state.asked.push(asked.clone());
    let code = state.secret("code");
    let mut back = reqwest::Url::parse(&asked["redirect_uri"]).unwrap();
    back.query_pairs_mut()
        .append_pair("code", &code)
        .append_pair("state", &asked["state"])
        .append_pair("iss", &url);
    state.codes.insert(code, asked);
    Redirect::to(back.as_str()).into_response()
}

async fn token(Shared((url, state)): Me, headers: HeaderMap, body: Bytes) -> Response {
    let mut state = state.lock().unwrap();
    let form: HashMap<String, String> =
        reqwest::Url::parse(&format!("http://x/?{}", String::from_utf8_lossy(&body)))
            .unwrap()
            .query_pairs()
            .into_owned()
            .collect();
    let grant = form["grant_type"].clone();
    state.grants.push(grant.clone());
    if let Some(to) = state.told.get("token endpoint redirects") {
        return Redirect::temporary(to).into_response();
    }
    let refused = |why: &str| {
        (StatusCode::BAD_REQUEST, axum::Json(json!({"error": why, "error_description": "of no use"})))
            .into_response()
    };
    let basic =
        headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Basic "));
    let basic = String::from_utf8(STANDARD.decode(basic.unwrap_or_default()).unwrap()).unwrap();
    let known = basic == format!("the-client:{CLIENT_SECRET}")
        || basic
            .strip_prefix("placet-here:")
            .is_some_and(|secret| state.issued.iter().any(|issued| issued == secret));
    if !known || form.get("resource") != Some(&format!("{url}/mcp")) {
        return refused("invalid_client");
    }
    match grant.as_str() {
        "authorization_code" => {
            let Some(asked) = state.codes.remove(&form["code"]) else { return refused("invalid_grant") };
            let proven =
                URL_SAFE_NO_PAD.encode(Sha256::digest(&form["code_verifier"])) == asked["code_challenge"];
            if !proven
                || asked["redirect_uri"] != form["redirect_uri"]
                || asked["code_challenge_method"] != "S256"
            {
                return refused("invalid_grant");
            }
        }
        "refresh_token" => {
            if let Some(why) = state.told.get("refreshes") {
                return refused(why);
            }
            // One that was used, or never was, ends everything: it may have been stolen.
            if !state.refresh.remove(&form["refresh_token"]) {
                state.refresh.clear();
                return refused("invalid_grant");
            }
        }
        "client_credentials" => {}
        _ => return refused("unsupported_grant_type"),
    }
    let access = state.secret("access");
    state.access.insert(access.clone());
    let kind = state.told("kind", "Bearer");
    let mut issued = json!({"access_token": access, "token_type": kind});
    issued["expires_in"] = json!(state.told("lives", "3600").parse::<u32>().unwrap());
    if grant != "client_credentials" && !state.is("no refresh") {
        let refresh = state.secret("refresh");
        state.refresh.insert(refresh.clone());
        issued["refresh_token"] = json!(refresh);
    }
    axum::Json(issued).into_response()
}

/// How the client proves itself that somebody registered.
pub(crate) const CLIENT_SECRET: &str = "client-secret-of-the-operator";
