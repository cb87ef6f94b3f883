//! The admin socket: what operators do, over HTTP under `/admin/v1`. The kernel says who they are.

use axum::extract::{Extension, Path, Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use placet_api::admin::{
    AgentCredential, AgentDocument, FilesDocument, InvitationDocument, LogStatus, NewAgentRequest,
    NewPepRequest, NewPersonRequest, OperatorDocument, PepCredential, PepDocument, PersonDocument,
    SecretDocument, StatusDocument, TokenDocument, WorkloadDocument,
};
use placet_api::audit::{ReindexDocument, ReindexResult};
use placet_api::entry::EntryList;
use placet_api::request::RequestList;
use placet_broker::CallError;
use placet_broker::audit::AuditFiles;
use placet_broker::directory::{Invited, NewAgent, NewPerson};
use placet_broker::execution::SeenRecording;
use placet_broker::peps::NewPep;
use placet_core::directory::{
    Agent, AgentKind, Directory, GroupName, Operator, Pep, Person, PersonToken, Status, Workload,
};
use placet_core::id::{PersonId, RequestId};
use placet_core::secret::Secret;
use placet_store::RequestFilter;
use std::collections::BTreeSet;

use crate::agents::requests::{request_list, statuses};
use crate::app::App;
use crate::audit;
use crate::backups;
use crate::body::{read_bytes, read_json, read_nothing};
use crate::failure::{Failure, Outcome};
use crate::frame::{framed, no_such_method, nothing_here, patient};
use crate::health;
use crate::pages::{recording, sign_in_path};
use crate::policy;
use crate::query::Query;
use crate::reviewers::api::{asciicast, entry_list};

/// Who is at the other end of the socket, as the kernel says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer {
    /// The operating system's user id.
    pub uid: u32,
}

/// The calls of the admin socket, and those of `mounted` enforcement points. They expect a [`Peer`] among a request's extensions: without one, nothing is served.
pub fn admin_router(app: &App, mounted: Router) -> Router {
    let calls = Router::new()
        .route("/admin/v1/status", get(status))
        .route("/admin/v1/people", get(people).post(add_person))
        .route("/admin/v1/people/{who}/invite", post(invite))
        .route("/admin/v1/people/{who}/disable", post(disable_person))
        .route("/admin/v1/people/{who}/erase", post(erase_person))
        .route("/admin/v1/people/{who}/tokens", get(tokens).post(mint_token))
        .route("/admin/v1/tokens/{id}", delete(revoke_token))
        .route("/admin/v1/login", post(login))
        .route("/admin/v1/agents", get(agents).post(add_agent))
        .route("/admin/v1/agents/{which}/revoke", post(revoke_agent))
        .route("/admin/v1/agents/{which}/erase", post(erase_agent))
        .route("/admin/v1/agents/{which}/rotate", post(rotate_agent))
        .route("/admin/v1/peps", get(peps).post(add_pep))
        .route("/admin/v1/peps/{which}/revoke", post(revoke_pep))
        .route("/admin/v1/peps/{which}/rotate", post(rotate_pep))
        .route("/admin/v1/groups", get(groups))
        .route("/admin/v1/groups/{name}", put(add_group).delete(remove_group))
        .route("/admin/v1/groups/{name}/members/{who}", put(join_group).delete(leave_group))
        .route("/admin/v1/secrets", get(secrets))
        .route("/admin/v1/secrets/{name}", put(set_secret).delete(remove_secret))
        .route("/admin/v1/policy", get(policy::show))
        .route("/admin/v1/policy/history", get(policy::history))
        .route("/admin/v1/policy/stage", post(policy::stage))
        .route("/admin/v1/policy/activate", post(policy::activate))
        .route("/admin/v1/requests", get(requests))
        .route("/admin/v1/requests/{id}/explanation", get(policy::explain))
        .route("/admin/v1/audit/requests", get(audit::requests))
        .route("/admin/v1/audit/requests/{id}", get(audit::story))
        .route("/admin/v1/audit/requests/{id}/evidence", get(evidence))
        .route("/admin/v1/audit/log", get(audit::follow))
        .route("/admin/v1/audit/index", get(index).post(reindex))
        .route("/admin/v1/audit/entries", get(entries))
        .route("/admin/v1/audit/bundles/{id}", post(audit_bundle))
        .route("/admin/v1/audit/recordings/{id}", post(audit_recording))
        .route("/admin/v1/audit/checkpoint", post(checkpoint))
        .route("/admin/v1/backup", get(backups::progress).post(backups::begin))
        .route("/metrics", get(health::metrics))
        .with_state(app.clone());
    let router = patient(calls)
        .merge(mounted)
        .route_layer(from_fn_with_state(app.clone(), name_operator))
        .merge(health::routes(app))
        .fallback(nothing_here)
        .method_not_allowed_fallback(no_such_method);
    framed(router, app, "admin")
}

/// Who calls: an operator by the kernel's word, and the person they are known to be.
async fn name_operator(State(app): State<App>, mut request: Request, next: Next) -> Outcome<Response> {
    let Some(Peer { uid }) = request.extensions().get().copied() else {
        return Err(Failure::internal("a call on the admin socket came without a peer"));
    };
    // A browser has no business here, whatever proxy brought it.
    if request.headers().contains_key(header::ORIGIN) {
        return Err(Failure::forbidden("foreign_origin", "No page may use the admin socket."));
    }
    let operator = app.broker.operator(uid).await?;
    request.extensions_mut().insert(operator);
    Ok(next.run(request).await)
}

async fn status(
    State(app): State<App>,
    Extension(operator): Extension<Operator>,
) -> Outcome<Json<StatusDocument>> {
    let directory = app.broker.directory().await?;
    let ready = app.broker.ready().await;
    let log = app.views.log().await.ok().map(|log| LogStatus {
        entries: log.frontier.size(),
        last_entry: log.last_time.to_string(),
        origin: log.name.origin,
        epoch: log.name.epoch,
    });
    Ok(Json(StatusDocument {
        log,
        ready: ready.is_ok(),
        reason: ready.err().map(|error| error.to_string()),
        operator: OperatorDocument {
            uid: operator.uid,
            person: operator.person.map(|id| person_name(&directory, id)),
        },
    }))
}

async fn people(State(app): State<App>) -> Outcome<Json<Vec<PersonDocument>>> {
    Ok(Json(app.broker.directory().await?.people.values().map(person_document).collect()))
}

async fn add_person(
    State(app): State<App>,
    Extension(operator): Extension<Operator>,
    request: Request,
) -> Outcome<Response> {
    let body = read_json(request, NewPersonRequest::from_json).await?;
    let new = NewPerson {
        name: body.name,
        email: body.email,
        groups: body.groups,
        operator_uid: body.is_operator.then_some(operator.uid),
    };
    let person = app.broker.add_person(&operator, new).await?;
    Ok((StatusCode::CREATED, Json(person_document(&person))).into_response())
}

async fn invite(
    State(app): State<App>,
    Extension(operator): Extension<Operator>,
    Path(who): Path<String>,
    request: Request,
) -> Outcome<Response> {
    read_nothing(request).await?;
    let invited = app.broker.invite(&operator, &who).await?;
    Ok((StatusCode::CREATED, Json(invitation(&app, &invited))).into_response())
}

async fn login(
    State(app): State<App>,
    Extension(operator): Extension<Operator>,
    request: Request,
) -> Outcome<Response> {
    read_nothing(request).await?;
    let invited = app.broker.login(&operator).await?;
    Ok((StatusCode::CREATED, Json(invitation(&app, &invited))).into_response())
}

fn invitation(app: &App, invited: &Invited) -> InvitationDocument {
    InvitationDocument {
        person: person_document(&invited.person),
        url: format!("{}{}", app.reviewers_url, sign_in_path(invited.secret.expose())),
        expires_at: invited.expires_at.to_string(),
    }
}

async fn disable_person(
    State(app): State<App>,
    Extension(operator): Extension<Operator>,
    Path(who): Path<String>,
    request: Request,
) -> Outcome<Json<PersonDocument>> {
    read_nothing(request).await?;
    Ok(Json(person_document(&app.broker.disable_person(&operator, &who).await?)))
}

async fn erase_person(
    State(app): State<App>,
    Extension(operator): Extension<Operator>,
    Path(who): Path<String>,
    request: Request,
) -> Outcome<Json<PersonDocument>> {
    read_nothing(request).await?;
    Ok(Json(person_document(&app.broker.erase_person(&operator, &who).await?)))
}

async fn tokens(State(app): State<App>, Path(who): Path<String>) -> Outcome<Json<Vec<TokenDocument>>> {
    let tokens = app.broker.tokens_of(&who).await?;
    Ok(Json(tokens.iter().map(|token| token_document(token, None)).collect()))
}

async fn mint_token(
    State(app): State<App>,
    Extension(operator): Extension<Operator>,
    Path(who): Path<String>,
    request: Request,
) -> Outcome<Response> {
    read_nothing(request).await?;
    let (token, secret) = app.broker.mint_token(&operator, &who).await?;
    let document = token_document(&token, Some(secret.expose().to_owned()));
    Ok((StatusCode::CREATED, Json(document)).into_response())
}

async fn revoke_token(
    State(app): State<App>,
    Extension(operator): Extension<Operator>,
    Path(id): Path<String>,
) -> Outcome<StatusCode> {
    app.broker.revoke_token(&operator, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn agents(State(app): State<App>) -> Outcome<Json<Vec<AgentDocument>>> {
    let directory = app.broker.directory().await?;
    Ok(Json(directory.agents.values().map(|agent| agent_document(agent, &directory)).collect()))
}

async fn add_agent(
    State(app): State<App>,
    Extension(operator): Extension<Operator>,
    request: Request,
) -> Outcome<Response> {
    let body = read_json(request, NewAgentRequest::from_json).await?;
    let workload = body.workload.map(|named| workload(&app, &named)).transpose()?;
    let has_own_token = workload.is_none();
    let new = NewAgent {
        name: body.name,
        kind: if body.pipeline { AgentKind::Pipeline } else { AgentKind::Agent },
        sponsor: body.sponsor,
        owners: body.owners,
        acts_for: body.acts_for,
        groups: body.groups,
        workload,
    };
    let (agent, token) = app.broker.add_agent(&operator, new).await?;
    // A token that nobody needs is one that nobody has.
    let token = has_own_token.then(|| token.expose());
    Ok((StatusCode::CREATED, Json(credential(&app, &agent, token).await?)).into_response())
}

/// Who an agent is to an issuer that is trusted.
fn workload(app: &App, named: &WorkloadDocument) -> Outcome<Workload> {
    let refused = |code, detail: &str, pointer: &str| {
        let (message, pointer) = (detail.to_owned(), Some(pointer.to_owned()));
        Failure::from(CallError::Invalid { code, message, pointer })
    };
    if !app.resource.as_ref().is_some_and(|resource| resource.trusts(&named.issuer)) {
        let detail = "Its tokens are not read here: name it in agents.issuers first, and start placet anew.";
        return Err(refused("unknown_issuer", detail, "/issuer"));
    }
    let detail = "Write 1 to 256 bytes without control characters, to the letter as they stand in the token.";
    Workload::new(&named.issuer, &named.subject).ok_or_else(|| refused("bad_subject", detail, "/subject"))
}

async fn rotate_agent(
    State(app): State<App>,
    Extension(operator): Extension<Operator>,
    Path(which): Path<String>,
    request: Request,
) -> Outcome<Response> {
    read_nothing(request).await?;
    let (agent, token) = app.broker.rotate_agent(&operator, &which).await?;
    Ok((StatusCode::CREATED, Json(credential(&app, &agent, Some(token.expose())).await?)).into_response())
}

async fn credential(app: &App, agent: &Agent, token: Option<&str>) -> Outcome<AgentCredential> {
    let directory = app.broker.directory().await?;
    Ok(AgentCredential { agent: agent_document(agent, &directory), token: token.map(str::to_owned) })
}

async fn revoke_agent(
    State(app): State<App>,
    Extension(operator): Extension<Operator>,
    Path(which): Path<String>,
    request: Request,
) -> Outcome<Json<AgentDocument>> {
    read_nothing(request).await?;
    let agent = app.broker.revoke_agent(&operator, &which).await?;
    let directory = app.broker.directory().await?;
    Ok(Json(agent_document(&agent, &directory)))
}

async fn erase_agent(
    State(app): State<App>,
    Extension(operator): Extension<Operator>,
    Path(which): Path<String>,
    request: Request,
) -> Outcome<Json<AgentDocument>> {
    read_nothing(request).await?;
    let agent = app.broker.erase_agent(&operator, &which).await?;
    let directory = app.broker.directory().await?;
    Ok(Json(agent_document(&agent, &directory)))
}

async fn peps(State(app): State<App>) -> Outcome<Json<Vec<PepDocument>>> {
    let directory = app.broker.directory().await?;
    Ok(Json(directory.peps.values().map(|pep| pep_document(pep, &directory)).collect()))
}

async fn add_pep(
    State(app): State<App>,
    Extension(operator): Extension<Operator>,
    request: Request,
) -> Outcome<Response> {
    let body = read_json(request, NewPepRequest::from_json).await?;
    let new = NewPep { name: body.name, kind: body.kind, sponsor: body.sponsor };
    let (pep, token) = app.broker.add_pep(&operator, new).await?;
    Ok((StatusCode::CREATED, Json(pep_credential(&app, &pep, token.expose()).await?)).into_response())
}

async fn rotate_pep(
    State(app): State<App>,
    Extension(operator): Extension<Operator>,
    Path(which): Path<String>,
    request: Request,
) -> Outcome<Response> {
    read_nothing(request).await?;
    let (pep, token) = app.broker.rotate_pep(&operator, &which).await?;
    Ok((StatusCode::CREATED, Json(pep_credential(&app, &pep, token.expose()).await?)).into_response())
}

async fn pep_credential(app: &App, pep: &Pep, token: &str) -> Outcome<PepCredential> {
    let directory = app.broker.directory().await?;
    Ok(PepCredential { pep: pep_document(pep, &directory), token: token.to_owned() })
}

async fn revoke_pep(
    State(app): State<App>,
    Extension(operator): Extension<Operator>,
    Path(which): Path<String>,
    request: Request,
) -> Outcome<Json<PepDocument>> {
    read_nothing(request).await?;
    let pep = app.broker.revoke_pep(&operator, &which).await?;
    let directory = app.broker.directory().await?;
    Ok(Json(pep_document(&pep, &directory)))
}

async fn groups(State(app): State<App>) -> Outcome<Json<Vec<String>>> {
    Ok(Json(group_names(&app.broker.directory().await?.groups)))
}

async fn add_group(
    State(app): State<App>,
    Extension(operator): Extension<Operator>,
    Path(name): Path<String>,
) -> Outcome<StatusCode> {
    app.broker.add_group(&operator, &name).await?;
    Ok(StatusCode::CREATED)
}

async fn remove_group(
    State(app): State<App>,
    Extension(operator): Extension<Operator>,
    Path(name): Path<String>,
) -> Outcome<StatusCode> {
    app.broker.remove_group(&operator, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn join_group(
    State(app): State<App>,
    Extension(operator): Extension<Operator>,
    Path((name, who)): Path<(String, String)>,
) -> Outcome<StatusCode> {
    app.broker.join_group(&operator, &name, &who).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn leave_group(
    State(app): State<App>,
    Extension(operator): Extension<Operator>,
    Path((name, who)): Path<(String, String)>,
) -> Outcome<StatusCode> {
    app.broker.leave_group(&operator, &name, &who).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn secrets(State(app): State<App>) -> Outcome<Json<Vec<SecretDocument>>> {
    let documents = app.broker.secrets().await?.into_iter().map(|secret| SecretDocument {
        name: secret.name,
        version: secret.version,
        set_at: Some(secret.set_at.to_string()),
    });
    Ok(Json(documents.collect()))
}

/// No secret of ours is larger; broker says so in its own words for what is below.
const SECRET_BYTES_MAX: usize = 128 * 1024;

/// The body is the secret itself, byte for byte.
async fn set_secret(
    State(app): State<App>,
    Extension(operator): Extension<Operator>,
    Path(name): Path<String>,
    request: Request,
) -> Outcome<Json<SecretDocument>> {
    let value = Secret::new(read_bytes(request, SECRET_BYTES_MAX).await?);
    let set = app.broker.set_secret(&operator, &name, value).await?;
    Ok(Json(SecretDocument { name: set.name, version: set.version, set_at: None }))
}

async fn remove_secret(
    State(app): State<App>,
    Extension(operator): Extension<Operator>,
    Path(name): Path<String>,
) -> Outcome<StatusCode> {
    app.broker.remove_secret(&operator, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn requests(State(app): State<App>, uri: Uri) -> Outcome<Json<RequestList>> {
    let mut query = Query::of(&uri)?;
    let statuses =
        query.take_as("status", "write states like pending,granted", statuses)?.unwrap_or_default();
    let before =
        query.take_as("cursor", "give the next_cursor of a page", |text| RequestId::parse(text).ok())?;
    let limit = query.take_limit()?;
    query.end()?;
    let page = app.broker.list(RequestFilter { statuses, before, limit, ..RequestFilter::default() }).await?;
    Ok(Json(request_list(&app, &page, limit)))
}

async fn entries(State(app): State<App>, uri: Uri) -> Outcome<Json<EntryList>> {
    Ok(Json(entry_list(&app, &uri).await?))
}

/// Exporting is an entry itself, so it is no GET.
async fn audit_bundle(
    State(app): State<App>,
    Extension(operator): Extension<Operator>,
    Path(id): Path<String>,
    request: Request,
) -> Outcome<Json<FilesDocument>> {
    read_nothing(request).await?;
    let id = RequestId::parse(&id).map_err(|_| Failure::not_found())?;
    Ok(Json(files_document(app.broker.audit_bundle(&operator, id).await?)))
}

fn files_document(files: AuditFiles) -> FilesDocument {
    FilesDocument { files: files.into_iter().map(|(path, bytes)| (path, STANDARD.encode(bytes))).collect() }
}

/// What proves a request, to be looked at here and now. Taking it away is an export: see `audit_bundle`.
async fn evidence(State(app): State<App>, Path(id): Path<String>) -> Outcome<Json<FilesDocument>> {
    let id = RequestId::parse(&id).map_err(|_| Failure::not_found())?;
    Ok(Json(files_document(app.broker.evidence(id).await?)))
}

/// How far the making of the search index has come.
async fn index(State(app): State<App>) -> Json<ReindexDocument> {
    let state = app.broker.reindexing();
    let (last, error) = match state.last {
        None => (None, None),
        Some(Ok(made)) => (Some(made), None),
        Some(Err(error)) => (None, Some(error)),
    };
    let last = last.map(|made| ReindexResult {
        entries: made.entries,
        erased: made.erased,
        facts: made.facts,
        missing: made.missing,
        surplus: made.surplus,
    });
    Json(ReindexDocument { running: state.running, last, error })
}

/// Begins to make it anew; it takes as long as the log is.
async fn reindex(State(app): State<App>, request: Request) -> Outcome<StatusCode> {
    read_nothing(request).await?;
    app.broker.begin_reindex();
    Ok(StatusCode::ACCEPTED)
}

/// The recording of a request's execution. Taking it out is an entry itself, so it is no GET.
async fn audit_recording(
    State(app): State<App>,
    Extension(operator): Extension<Operator>,
    Path(id): Path<String>,
    request: Request,
) -> Outcome<Response> {
    read_nothing(request).await?;
    let id = RequestId::parse(&id).map_err(|_| Failure::not_found())?;
    match app.broker.export_recording(&operator, id).await? {
        SeenRecording::Whole(execution, bytes) => Ok(asciicast(&execution.to_string(), bytes)),
        SeenRecording::Erased => Err(recording::gone()),
        SeenRecording::None => Err(recording::no_recording()),
    }
}

/// Publishes the log up to its head, and gives the signed checkpoint.
async fn checkpoint(State(app): State<App>, request: Request) -> Outcome<Response> {
    read_nothing(request).await?;
    let note = app.broker.publish().await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], note).into_response())
}

fn person_document(person: &Person) -> PersonDocument {
    PersonDocument {
        id: person.id.to_string(),
        name: person.name.clone(),
        email: person.email.clone(),
        groups: group_names(&person.groups),
        operator_uid: person.operator_uid,
        active: person.status == Status::Active,
        created_at: person.created_at.to_string(),
    }
}

fn agent_document(agent: &Agent, directory: &Directory) -> AgentDocument {
    let names = |ids: &BTreeSet<PersonId>| ids.iter().map(|id| person_name(directory, *id)).collect();
    AgentDocument {
        id: agent.id.to_string(),
        name: agent.name.clone(),
        kind: match agent.kind {
            AgentKind::Agent => "agent".to_owned(),
            AgentKind::Pipeline => "pipeline".to_owned(),
        },
        sponsor: person_name(directory, agent.sponsor),
        owners: names(&agent.owners),
        acts_for: names(&agent.acts_for),
        groups: group_names(&agent.groups),
        workload: agent.workload.as_ref().map(|workload| WorkloadDocument {
            issuer: workload.issuer().to_owned(),
            subject: workload.subject().to_owned(),
        }),
        active: agent.status == Status::Active,
        created_at: agent.created_at.to_string(),
    }
}

fn pep_document(pep: &Pep, directory: &Directory) -> PepDocument {
    PepDocument {
        id: pep.id.to_string(),
        name: pep.name.clone(),
        kind: pep.kind.as_str().to_owned(),
        sponsor: person_name(directory, pep.sponsor),
        active: pep.status == Status::Active,
        created_at: pep.created_at.to_string(),
    }
}

fn token_document(token: &PersonToken, secret: Option<String>) -> TokenDocument {
    TokenDocument {
        id: token.id.to_string(),
        token: secret,
        created_at: token.created_at.to_string(),
        expires_at: token.expires_at.to_string(),
    }
}

fn person_name(directory: &Directory, id: PersonId) -> String {
    directory.people.get(&id).map_or_else(|| id.to_string(), |person| person.name.clone())
}

fn group_names(groups: &BTreeSet<GroupName>) -> Vec<String> {
    groups.iter().map(|group| group.as_str().to_owned()).collect()
}
