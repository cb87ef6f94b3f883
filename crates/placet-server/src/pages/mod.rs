//! The inbox: pages that work as plain forms, without a script, in any browser.
//!
//! A page is a template over a view: a struct of texts that were made visible before. Nothing that an agent wrote stands
//! in a title, a label or an address. A POST answers with a redirection, so that a reload never repeats it.

mod audit;
mod directory;
mod inbox;
mod overview;
mod policy;
mod questions;
pub(crate) mod recording;
mod review;
mod sign_in;
mod view;

use askama::Template;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use placet_api::problem::Problem;
use placet_broker::review::Reviewer;

use crate::app::App;
use crate::assets::{ICON_PATH, SCRIPT_PATH, STYLE_PATH};
use crate::failure::{Failure, Outcome};
use crate::frame::CallId;
use crate::gate::Host;
use crate::query::encoded;
use crate::reviewers::{VoteTried, host_of, noted, require_own_page, reviewer_by_cookie};

/// The path of a sign-in link with this secret, below the reviewers' door's own address.
pub fn sign_in_path(secret: &str) -> String {
    format!("/join/{}", encoded(secret))
}

/// Nothing from elsewhere, nothing inline, no frame around us.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

pub(crate) fn routes(app: &App) -> Router {
    let signed_in = Router::new()
        .route("/", get(inbox::inbox))
        .route("/history", get(inbox::history))
        .route("/overview", get(overview::show))
        .route("/r/{name}", get(review::show))
        .route("/r/{name}/recording", get(recording::show))
        .route("/r/{name}/recording/events", get(recording::events))
        .route("/r/{name}/vote", post(review::vote))
        .route("/r/{name}/resolution", post(review::resolve))
        .route("/audit", get(questions::questions))
        .route("/audit/entries", get(audit::entries))
        .route("/policy", get(policy::show))
        .route("/people", get(directory::people))
        .route("/agents", get(directory::agents))
        .route("/sign-out", post(sign_in::sign_out))
        .route_layer(from_fn_with_state(app.clone(), require_session));
    let open = Router::new().route("/join/{secret}", get(sign_in::show).post(sign_in::consume));
    signed_in.merge(open).with_state(app.clone())
}

/// Lets a signed-in person in. Pages take no tokens: a token is for programs.
async fn require_session(State(app): State<App>, mut request: Request, next: Next) -> Outcome<Response> {
    let host = host_of(&request)?.clone();
    let headers = request.headers().clone();
    let tried = VoteTried::by(&app, &request);
    let reviewer = match reviewer_by_cookie(&app, &headers, &host).await {
        Ok(reviewer) => reviewer,
        Err(failure) => return Err(noted(&app, tried, failure).await),
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        require_own_page(&app, &headers, &host)?;
    }
    request.extensions_mut().insert(reviewer);
    Ok(next.run(request).await)
}

/// What stands around every page.
pub(crate) struct Chrome {
    /// The page's title; never an agent's words.
    title: String,
    /// Who is signed in.
    who: Option<Who>,
    /// The address of the navigation's present entry.
    active: &'static str,
    style: &'static str,
    script: &'static str,
    icon: &'static str,
}

/// Who is signed in.
pub(crate) struct Who {
    name: String,
    form_token: String,
}

/// An entry of the navigation.
pub(crate) struct NavigationLink {
    href: &'static str,
    text: &'static str,
    active: bool,
}

const NAVIGATION: [(&str, &str); 7] = [
    ("/", "Inbox"),
    ("/history", "History"),
    ("/overview", "Overview"),
    ("/audit", "Audit"),
    ("/policy", "Policy"),
    ("/people", "People"),
    ("/agents", "Agents"),
];

impl Chrome {
    fn new(title: impl Into<String>, reviewer: Option<&Reviewer>, active: &'static str) -> Self {
        let who = |reviewer: &Reviewer| Who {
            name: placet_core::text::visible(&reviewer.name),
            form_token: reviewer.form_token.clone(),
        };
        Chrome {
            title: title.into(),
            who: reviewer.map(who),
            active,
            style: &STYLE_PATH,
            script: &SCRIPT_PATH,
            icon: &ICON_PATH,
        }
    }

    fn links(&self) -> impl Iterator<Item = NavigationLink> {
        let active = self.active;
        NAVIGATION.into_iter().map(move |(href, text)| NavigationLink { href, text, active: href == active })
    }
}

/// A page with its headers.
pub(crate) fn page(status: StatusCode, template: &impl Template) -> Outcome<Response> {
    let html = template.render().map_err(|error| Failure::internal(&format!("render a page: {error}")))?;
    let headers = [
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // With `no-referrer` a browser would hide the origin of our own forms, and they would be refused.
        (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    ];
    Ok((status, headers, Html(html)).into_response())
}

#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage {
    chrome: Chrome,
    heading: &'static str,
    paragraphs: Vec<String>,
    command: Option<&'static str>,
    code: String,
    call_id: String,
}

/// Programs get problems as documents; people get them as pages.
pub(crate) async fn failures_as_pages(State(app): State<App>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let for_programs = path.starts_with("/v1/") || path.starts_with("/log/") || path.starts_with("/assets/");
    let call_id = request.extensions().get::<CallId>().map(|id| id.as_str().to_owned()).unwrap_or_default();
    let host = request.extensions().get::<Host>().cloned();
    let headers = request.headers().clone();
    let mut response = next.run(request).await;
    if for_programs {
        return response;
    }
    let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
    let reviewer = match host {
        Some(host) => reviewer_by_cookie(&app, &headers, &host).await.ok(),
        None => None,
    };
    let status = response.status();
    match page(status, &message(problem, reviewer.as_ref(), call_id)) {
        Ok(mut shown) => {
            for name in [header::RETRY_AFTER, header::WWW_AUTHENTICATE, header::ALLOW] {
                if let Some(value) = response.headers_mut().remove(&name) {
                    shown.headers_mut().insert(name, value);
                }
            }
            shown
        }
        Err(failure) => failure.into_response(),
    }
}

fn message(problem: Problem, reviewer: Option<&Reviewer>, call_id: String) -> MessagePage {
    let heading = match problem.status {
        404 if problem.code == "link_unusable" => "This link does not work",
        401 => "You are not signed in",
        403 => "That was refused",
        404 if problem.code == "no_recording" => "There is no recording",
        410 => "It is gone",
        404 => "There is nothing here",
        409 => "That does not fit any more",
        413 => "That is too large",
        415 | 400 | 405 => "That cannot be read",
        421 => "This is the wrong address",
        429 => "Too much at once",
        503 | 408 => "Not now",
        _ => "Something is broken",
    };
    let mut paragraphs = vec![problem.detail];
    let mut command = None;
    if problem.status == 401 {
        paragraphs = vec![
            "placet signs people in by a link that works once. Ask an operator for one; on the machine where placet \
             runs, this makes one:"
                .to_owned(),
        ];
        command = Some("placet person invite NAME");
    }
    MessagePage {
        chrome: Chrome::new(heading, reviewer, ""),
        heading,
        paragraphs,
        command,
        code: problem.code,
        call_id,
    }
}
