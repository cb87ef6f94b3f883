//! Signing in with a link that works once, and signing out. Looking at a link does not use it up: mail scanners look.

use askama::Template;
use axum::extract::{Extension, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use placet_broker::CallError;
use placet_broker::review::Reviewer;

use super::view::{When, when};
use super::{Chrome, page, sign_in_path};
use crate::app::App;
use crate::body::read_form;
use crate::failure::{Failure, Outcome};
use crate::gate::Host;
use crate::reviewers::{require_form_token, require_own_page, reviewer_by_cookie};

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    chrome: Chrome,
    name: String,
    action: String,
    expires: When,
}

pub(super) async fn show(State(app): State<App>, Path(secret): Path<String>) -> Outcome<Response> {
    let invitation = app.broker.invitation_of(&secret).await.map_err(used_up)?;
    let view = SignInPage {
        chrome: Chrome::new("Sign in", None, ""),
        name: placet_core::text::visible(&invitation.person_name),
        action: sign_in_path(&secret),
        expires: when(invitation.expires_at),
    };
    page(StatusCode::OK, &view)
}

pub(super) async fn consume(
    State(app): State<App>,
    Path(secret): Path<String>,
    Extension(host): Extension<Host>,
    headers: HeaderMap,
) -> Outcome<Response> {
    // Another site must not sign anybody in as somebody else.
    require_own_page(&app, &headers, &host)?;
    let before = reviewer_by_cookie(&app, &headers, &host).await.ok();
    let signed_in = app.broker.sign_in(&secret, &host.name).await.map_err(used_up)?;
    if let Some(before) = before {
        // A browser has one session: the one that it had ends.
        app.broker.sign_out(&before).await?;
    }
    let seconds = signed_in.expires_at.since(app.broker.now()).as_secs();
    let cookie = app.gate.set_cookie(signed_in.cookie.expose(), seconds);
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response())
}

fn used_up(error: CallError) -> Failure {
    match error {
        CallError::NotFound | CallError::Unauthenticated => {
            let detail = "It was used, has run out, or was replaced by a newer one: a sign-in link works once. \
                          Ask an operator for another.";
            Failure::new(StatusCode::NOT_FOUND, "link_unusable", detail)
        }
        other => other.into(),
    }
}

pub(super) async fn sign_out(
    State(app): State<App>,
    Extension(reviewer): Extension<Reviewer>,
    request: Request,
) -> Outcome<Response> {
    let form = read_form(request).await?;
    require_form_token(&reviewer, form.require("token")?)?;
    app.broker.sign_out(&reviewer).await?;
    let cookie = app.gate.set_cookie("", 0);
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response())
}
