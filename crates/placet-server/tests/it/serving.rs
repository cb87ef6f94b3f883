//! The listener itself: bounds, ids, health, metrics, draining.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::{get, post};
use placet_api::problem::Problem;
use placet_server::{agents_door, metrics_listener};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower::ServiceExt;

use crate::world::Doors;

async fn raw(doors: &Doors, bytes: &[u8]) -> String {
    raw_at(doors.reviewers_address, bytes).await
}

async fn raw_at(door: std::net::SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(door).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // The door closes what it refuses; nothing here waits for a clock of ours.
    tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_are_bounded_in_time_count_and_size() {
    let doors = Doors::open("team").await;
    let slow = raw(&doors, b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n").await;
    assert!(!slow.contains("200 OK"), "a head that never ends is cut off: {slow}");
    let many: String = (0..100).map(|n| format!("x-{n}: 1\r\n")).collect();
    let answer = raw(&doors, format!("GET /healthz HTTP/1.1\r\n{many}\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let large = format!("GET /healthz HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(64 * 1024));
    let answer = raw(&doors, large.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let answer = raw(&doors, b"nonsense\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let idle = raw(&doors, b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert!(idle.contains("200 OK"), "answered, and closed when nothing more came: {idle}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_falls_silent_is_not_waited_for() {
    let doors = Doors::open("team").await;
    let reader = Router::new().route("/mounted/read", post(async |body: String| body));
    let call = |path: &str, body: &str| {
        let bearer = &doors.bot;
        format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {bearer}\r\nContent-Type: application/json\r\n{body}"
        )
    };
    let (mounted, stop) = doors.mounting(reader).await;
    let mut calls = tokio::task::JoinSet::new();
    for path in ["/v1/requests", "/mounted/read"] {
        for begun in [
            "Content-Length: 9\r\n\r\n{}",
            "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
            // Room for more than there is in the world.
            "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{}",
        ] {
            let call = call(path, begun);
            calls.spawn(async move { (raw_at(mounted, call.as_bytes()).await, call) });
        }
    }
    for (said, call) in calls.join_all().await {
        assert!(said.starts_with("HTTP/1.1 400 "), "{call}: {said}");
    }
    stop.send_replace(true);
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_are_ours_and_never_the_callers() {
    let doors = Doors::open("team").await;
    let call = || doors.http.get(doors.at("/healthz")).header("x-request-id", "../../forged");
    let (one, two) = (doors.send(call()).await, doors.send(call()).await);
    let id = |answer: &crate::world::Answer| answer.headers["x-request-id"].to_str().unwrap().to_owned();
    assert!(id(&one).len() == 16 && id(&one).bytes().all(|digit| digit.is_ascii_hexdigit()));
    assert_ne!(id(&one), id(&two));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_a_problem_and_what_is_mounted_is_behind_the_door() {
    let doors = Doors::open("team").await;
    let mounted = Router::new()
        .route("/mounted/panic", get(async || -> &'static str { panic!("secret text of ours") }))
        .route(
            "/mounted/no",
            get(async || {
                let mut response =
                    axum::response::Response::builder().status(409).body(Body::empty()).unwrap();
                response.extensions_mut().insert(Problem::new(409, "Conflict", "mounted", "Not here."));
                response
            }),
        );
    let door = agents_door(&doors.app, mounted);
    let call = async |path: &str, bearer: &str| {
        let request = Request::builder().uri(path).header("authorization", format!("Bearer {bearer}"));
        let answer = door.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = answer.status().as_u16();
        let bytes = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice::<Problem>(&bytes).unwrap())
    };
    let (status, problem) = call("/mounted/panic", &doors.bot).await;
    assert_eq!((status, problem.code.as_str()), (500, "internal"));
    assert!(!problem.detail.contains("secret") && !problem.request_id.is_empty());
    let (status, problem) = call("/mounted/no", &doors.bot).await;
    assert_eq!((status, problem.code.as_str()), (409, "mounted"));
    assert!(!problem.request_id.is_empty());
    assert_eq!(call("/mounted/no", "placet_agent_x").await.0, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_readiness_and_metrics() {
    let doors = Doors::open("team").await;
    doors.deploy("production").await;
    for base in [&doors.agents, &doors.reviewers] {
        for (path, text) in [("/healthz", "ok\n"), ("/readyz", "ready\n")] {
            let answer = doors.send(doors.http.get(format!("{base}{path}"))).await;
            assert_eq!((answer.status, answer.text.as_str()), (200, text));
        }
        assert_ne!(doors.send(doors.http.get(format!("{base}/metrics"))).await.status, 200);
    }
    let request = Request::builder().uri("/metrics").body(Body::empty()).unwrap();
    let answer = metrics_listener(&doors.app).oneshot(request).await.unwrap();
    let text = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    let text = std::str::from_utf8(&text).unwrap();
    for line in [
        "placet_requests{state=\"pending\"} 1",
        "placet_ready 1",
        "door=\"agents\",method=\"POST\",status=\"201\"} 1",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    for personal in ["rob", "ann", "bot", "req_"] {
        assert!(!text.contains(personal), "{personal}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_ends_waits_and_streams_and_answers_them() {
    let doors = Doors::open("team").await;
    let request = doors.deploy("production").await;
    let path = format!("{}/v1/requests/{}", doors.agents, request["id"].as_str().unwrap());
    let mut events = doors.http.get(format!("{path}/events")).bearer_auth(&doors.bot).send().await.unwrap();
    assert!(events.chunk().await.unwrap().is_some());
    let waiting = doors.http.get(format!("{path}?wait=50")).bearer_auth(&doors.bot).send();
    let waiting = tokio::spawn(waiting);
    // The wait has begun once the server counts three connections or calls; a served call of its own is proof enough
    // that the loop runs, and a wait that begins after the signal ends at once too.
    assert_eq!(doors.bot_get("/healthz").await.status, 200);
    doors.stop.send_replace(true);
    while events.chunk().await.unwrap().is_some() {}
    match waiting.await.unwrap() {
        Ok(answer) => assert_eq!(answer.status(), 200),
        // The connection came too late to be accepted.
        Err(error) => assert!(error.is_connect() || error.is_request(), "{error}"),
    }
    for running in doors.running {
        assert_eq!(running.await.unwrap(), placet_server::Drained::Whole);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_listens_at_the_other_localhost() {
    let Ok(theirs) = std::net::TcpListener::bind("[::1]:0") else { return };
    let port = theirs.local_addr().unwrap().port();
    let refused = placet_server::Listener::bind(([127, 0, 0, 1], port).into()).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::AddrInUse);

    let doors = Doors::open("team").await;
    for host in ["127.0.0.1", "[::1]"] {
        let address = format!("{host}:{}", doors.reviewers_address.port());
        assert!(std::net::TcpListener::bind(&address).is_err(), "{address} is the door's");
        assert_eq!(doors.send(doors.http.get(format!("http://{address}/healthz"))).await.status, 200);
    }
}
