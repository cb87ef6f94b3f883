//! The admin socket: who the kernel says calls, and every call once.

use axum::Extension;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use placet_server::admin::{Peer, admin_router};
use placet_server::{AdminListener, Limits, serve_admin};
use placet_testkit::world::OPERATOR_UID;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tower::ServiceExt;

use crate::world::Doors;

async fn call(doors: &Doors, method: &str, path: &str, body: &str) -> (StatusCode, Value) {
    let router = admin_router(&doors.app, axum::Router::new()).layer(Extension(Peer { uid: OPERATOR_UID }));
    let request = Request::builder()
        .method(method)
        .uri(format!("/admin/v1{path}"))
        .header("content-type", "application/json")
        .body(Body::from(body.to_owned()))
        .unwrap();
    let response = router.oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 24).await.unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_run_the_directory() {
    let doors = Doors::open("team").await;
    let (_, status) = call(&doors, "GET", "/status", "").await;
    assert_eq!(status["ready"], true);
    assert_eq!(status["operator"], json!({"uid": OPERATOR_UID, "person": "ann"}));
    assert_eq!(
        (&status["log"]["epoch"], &status["log"]["origin"]),
        (&json!(1), &json!("placet.test/ledger"))
    );
    let (code, added) = call(&doors, "POST", "/people", r#"{"name":"Ada L","groups":["reviewers"]}"#).await;
    assert_eq!((code, &added["active"]), (StatusCode::CREATED, &json!(true)), "{added}");
    let (code, again) = call(&doors, "POST", "/people", r#"{"name":"Ada L"}"#).await;
    assert_eq!((code, &again["code"]), (StatusCode::CONFLICT, &json!("name_taken")));

    let (code, invited) = call(&doors, "POST", "/people/Ada%20L/invite", "").await;
    assert_eq!(code, StatusCode::CREATED);
    let url = invited["url"].as_str().unwrap();
    assert!(doors.send(doors.http.get(url)).await.text.contains("Sign in as Ada L"));
    let (_, own) = call(&doors, "POST", "/login", "{}").await;
    assert_eq!(own["person"]["name"], "ann");

    let (_, token) = call(&doors, "POST", "/people/Ada%20L/tokens", "").await;
    let secret = token["token"].as_str().unwrap().to_owned();
    assert_eq!(doors.send(doors.http.get(doors.at("/v1/reviews")).bearer_auth(&secret)).await.status, 200);
    let (_, listed) = call(&doors, "GET", "/people/Ada%20L/tokens", "").await;
    assert!(listed[0].get("token").is_none());
    let path = format!("/tokens/{}", token["id"].as_str().unwrap());
    assert_eq!(call(&doors, "DELETE", &path, "").await.0, StatusCode::NO_CONTENT);
    assert_eq!(doors.send(doors.http.get(doors.at("/v1/reviews")).bearer_auth(&secret)).await.status, 401);

    let (code, agent) =
        call(&doors, "POST", "/agents", r#"{"name":"etl","kind":"pipeline","sponsor":"Ada L"}"#).await;
    assert_eq!((code, &agent["agent"]["sponsor"]), (StatusCode::CREATED, &json!("Ada L")), "{agent}");
    let (_, rotated) = call(&doors, "POST", "/agents/etl/rotate", "").await;
    assert_ne!(rotated["token"], agent["token"]);
    let (_, revoked) = call(&doors, "POST", "/agents/etl/revoke", "").await;
    assert_eq!(revoked["active"], false);

    assert_eq!(call(&doors, "PUT", "/groups/auditors", "").await.0, StatusCode::CREATED);
    assert_eq!(call(&doors, "PUT", "/groups/auditors/members/Ada%20L", "").await.0, StatusCode::NO_CONTENT);
    assert_eq!(call(&doors, "DELETE", "/groups/auditors", "").await.1["code"], "group_in_use");
    assert_eq!(
        call(&doors, "DELETE", "/groups/auditors/members/Ada%20L", "").await.0,
        StatusCode::NO_CONTENT
    );
    assert_eq!(call(&doors, "DELETE", "/groups/auditors", "").await.0, StatusCode::NO_CONTENT);
    assert_eq!(call(&doors, "POST", "/people/Ada%20L/disable", "").await.1["active"], false);
    assert_eq!(call(&doors, "POST", "/people/nobody/disable", "").await.0, StatusCode::NOT_FOUND);
    assert_eq!(call(&doors, "POST", "/people/rob/disable", "{\"x\":1}").await.1["code"], "unexpected_body");
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_keep_secrets_policy_and_evidence() {
    let doors = Doors::open("team").await;
    let (_, set) = call(&doors, "PUT", "/secrets/db", "hunter2-and-more").await;
    assert_eq!(set, json!({"name": "db", "version": 1}));
    let (_, listed) = call(&doors, "GET", "/secrets", "").await;
    assert!(!listed.to_string().contains("hunter2") && listed[0]["version"] == 1);
    assert_eq!(call(&doors, "PUT", "/secrets/db", "x").await.1["code"], "bad_secret");
    assert_eq!(call(&doors, "DELETE", "/secrets/db", "").await.0, StatusCode::NO_CONTENT);

    let (_, policy) = call(&doors, "GET", "/policy", "").await;
    let mut files = policy["files"].clone();
    let (code, refused) =
        call(&doors, "POST", "/policy/stage", &json!({"files": {"ask.cedar": "nonsense"}}).to_string()).await;
    assert_eq!((code, &refused["code"]), (StatusCode::BAD_REQUEST, &json!("bundle_invalid")), "{refused}");
    let ask = format!("{}\n// one more line\n", files["ask.cedar"].as_str().unwrap());
    files["ask.cedar"] = json!(ask);
    let (code, staged) = call(&doors, "POST", "/policy/stage", &json!({ "files": files }).to_string()).await;
    assert_eq!((code, &staged["active"]), (StatusCode::OK, &json!(false)), "{staged}");
    assert_eq!(staged["changes"][0]["path"], "ask.cedar");
    let body = json!({"digest": staged["digest"]}).to_string();
    let (_, active) = call(&doors, "POST", "/policy/activate", &body).await;
    assert_eq!((&active["digest"], &active["epoch"]), (&staged["digest"], &json!(2)));
    let unknown = json!({"digest": "0".repeat(64)}).to_string();
    assert_eq!(call(&doors, "POST", "/policy/activate", &unknown).await.0, StatusCode::NOT_FOUND);

    let request = doors.deploy("production").await;
    let (_, all) = call(&doors, "GET", "/requests?status=pending", "").await;
    assert_eq!(all["requests"][0]["id"], request["id"]);
    let (code, bundle) =
        call(&doors, "POST", &format!("/audit/bundles/{}", request["id"].as_str().unwrap()), "").await;
    assert_eq!(code, StatusCode::OK, "{bundle}");
    assert!(bundle["files"]["checkpoint"].is_string() && bundle["files"]["request.json"].is_string());
    let (_, note) = call(&doors, "POST", "/audit/checkpoint", "").await;
    assert!(note.as_str().unwrap().starts_with("placet.test/ledger\n"), "{note}");
    let (_, entries) = call(&doors, "GET", "/audit/entries?kind=audit.exported", "").await;
    assert_eq!(entries["entries"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_peer_or_with_an_origin_nothing_is_served() {
    let doors = Doors::open("team").await;
    let request = || Request::builder().uri("/admin/v1/people");
    let router = admin_router(&doors.app, axum::Router::new());
    let answer = router.clone().oneshot(request().body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let page = request().header("origin", "http://localhost").body(Body::empty()).unwrap();
    let answer = router.layer(Extension(Peer { uid: OPERATOR_UID })).oneshot(page).await.unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_is_its_owners_and_names_the_caller_by_the_kernel() {
    use std::os::unix::fs::PermissionsExt;

    let doors = Doors::open("team").await;
    let path = doors.world.data.path().join("admin.sock");
    // What a killed process left behind.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let listener = AdminListener::bind(path.clone()).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let stop = doors.stop.subscribe();
    let (app, router) = (doors.app.clone(), admin_router(&doors.app, axum::Router::new()));
    let served =
        tokio::spawn(async move { serve_admin(listener, router, &app, Limits::default(), stop).await });
    let mut stream = UnixStream::connect(&path).await.unwrap();
    let head = "GET /admin/v1/status HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let own = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&path).unwrap());
    assert!(answer.contains(&format!("\"uid\":{own}")), "{answer}");
    doors.stop.send_replace(true);
    assert_eq!(served.await.unwrap(), placet_server::Drained::Whole);
    assert!(!path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_in_the_sockets_place_is_not_replaced() {
    let doors = Doors::open("team").await;
    let path = doors.world.data.path().join("precious");
    std::fs::write(&path, "data").unwrap();
    assert!(AdminListener::bind(path.clone()).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"data");
}
