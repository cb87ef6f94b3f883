//! Questions about requests: who asked for what, on what, when, and who voted.

use std::collections::BTreeMap;
use std::time::Duration;

use placet_core::action::{ActionName, Principal, ResourceRef};
use placet_core::c14n::Value;
use placet_core::entropy::random_bytes;
use placet_core::entry::{Draft, Kind, Sealed};
use placet_core::id::{AgentId, PersonId, RequestId};
use placet_core::request::{Request, Status};
use placet_core::review::Verdict;
use placet_core::time::{Clock, Timestamp};

use super::Bench;
use super::fixtures::{next, stored};
use crate::{Found, Happened, PAGE_MAX, SearchFilter, SearchPage, Transition};

fn agent(number: u8) -> Principal {
    Principal::Agent(AgentId::from_bytes([number; 16]))
}

fn person(number: u8) -> PersonId {
    PersonId::from_bytes([number; 16])
}

fn action(name: &str) -> ActionName {
    ActionName::parse(name).unwrap()
}

fn dataset(id: &str) -> ResourceRef {
    ResourceRef::new("Dataset", id).unwrap()
}

fn all() -> SearchFilter {
    SearchFilter { limit: PAGE_MAX, ..SearchFilter::default() }
}

async fn search(bench: &Bench, filter: &SearchFilter) -> SearchPage {
    bench.store().search(filter.clone()).await.unwrap()
}

async fn ids(bench: &Bench, filter: &SearchFilter) -> Vec<RequestId> {
    search(bench, filter).await.found.iter().map(Found::id).collect()
}

/// The entry of a call that became a request, with what is searched for.
fn received(bench: &Bench, request: &Request) -> Sealed {
    let text = |text: String| Value::string(text);
    Draft::new(Kind::RequestReceived)
        .about(request)
        .verdict("ask")
        .commit("requester", text(request.requester().to_string()))
        .commit("on_behalf_of", text(request.action.chain.on_behalf_of.to_string()))
        .commit("resource", text(request.action.resource.visible()))
        .seal(bench.id(), bench.entropy.as_ref())
}

fn voted(bench: &Bench, request: &Request, who: PersonId, verdict: Verdict) -> Sealed {
    Draft::new(Kind::VoteCast)
        .about(request)
        .verdict(verdict.as_str())
        .commit("person", Value::string(who.to_string()))
        .seal(bench.id(), bench.entropy.as_ref())
}

/// A request of this principal on behalf of this person, on this dataset; stored with its entry.
async fn asked(bench: &Bench, by: Principal, behalf: PersonId, what: &str, on: &str) -> Request {
    let mut action_request = bench.action(by, "a");
    action_request.chain.on_behalf_of = behalf;
    action_request.action = action(what);
    action_request.resource = dataset(on);
    let mut request = bench.opened(by, "a", bench.asks());
    request.canonical = action_request.canonical().unwrap();
    request.action = action_request;
    let entries = vec![received(bench, &request)];
    bench.commit(Transition { writes: vec![stored(&request)], entries, ..Transition::default() }).await;
    request
}

async fn append(bench: &Bench, entry: Sealed) {
    bench.commit(Transition { entries: vec![entry], ..Transition::default() }).await;
}

pub(super) async fn requests_are_found_by_what_is_known_of_them(bench: Bench) {
    let start = bench.now();
    let at = |minutes: u64| Some(start.plus(Duration::from_secs(60 * minutes)));
    let tick = || bench.clock.advance(Duration::from_secs(60));
    // Minute 0, 1, 2; each has a step a minute later, and noise long after.
    let export = asked(&bench, agent(1), person(1), "data.export", "shop.accounts").await;
    tick();
    append(&bench, voted(&bench, &export, person(5), Verdict::Approve)).await;
    let odd = asked(&bench, agent(1), person(2), "data.export", "%' OR \"1\"=\"1 \u{202e}").await;
    tick();
    append(&bench, voted(&bench, &odd, person(5), Verdict::Deny)).await;
    let own = asked(&bench, Principal::Person(person(1)), person(1), "role.grant", "shop.accounts").await;
    tick();
    let cancelled = next(&own).cancel(bench.now()).unwrap();
    let entries = vec![bench.entry_about(Kind::RequestCancelled, &cancelled)];
    bench.commit(Transition { writes: vec![stored(&cancelled)], entries, ..Transition::default() }).await;
    bench.clock.advance(Duration::from_secs(6000));
    append(&bench, bench.entry_about(Kind::RequestAttached, &export)).await;

    let cases: Vec<(SearchFilter, Vec<&Request>)> = vec![
        (all(), vec![&own, &odd, &export]),
        (SearchFilter { action: Some(action("data.export")), ..all() }, vec![&odd, &export]),
        (SearchFilter { action: Some(action("data.expor")), ..all() }, vec![]),
        (SearchFilter { by: vec![agent(1)], ..all() }, vec![&odd, &export]),
        (SearchFilter { by: vec![Principal::Person(person(1))], ..all() }, vec![&own, &export]),
        (SearchFilter { by: vec![agent(9), Principal::Person(person(2))], ..all() }, vec![&odd]),
        (SearchFilter { by: vec![agent(9)], ..all() }, vec![]),
        (SearchFilter { resource: Some(dataset("shop.accounts")), ..all() }, vec![&own, &export]),
        (SearchFilter { resource: Some(dataset("shop.account_")), ..all() }, vec![]),
        (SearchFilter { resource: Some(dataset("%")), ..all() }, vec![]),
        (SearchFilter { resource: Some(dataset("%' OR \"1\"=\"1 \u{202e}")), ..all() }, vec![&odd]),
        (SearchFilter { reviewers: vec![person(5)], ..all() }, vec![&odd, &export]),
        (SearchFilter { reviewers: vec![person(1)], ..all() }, vec![]),
        (SearchFilter { verdict: Some(Verdict::Deny), ..all() }, vec![&odd]),
        (
            SearchFilter { reviewers: vec![person(5)], verdict: Some(Verdict::Approve), ..all() },
            vec![&export],
        ),
        (SearchFilter { statuses: vec![Status::Pending], ..all() }, vec![&odd, &export]),
        (SearchFilter { statuses: vec![Status::Cancelled, Status::Denied], ..all() }, vec![&own]),
        (SearchFilter { request: Some(odd.id), ..all() }, vec![&odd]),
        (SearchFilter { request: Some(odd.id), by: vec![agent(9)], ..all() }, vec![]),
        (SearchFilter { request: Some(RequestId::from_bytes([1; 16])), ..all() }, vec![]),
        (
            SearchFilter {
                action: Some(action("data.export")),
                by: vec![Principal::Person(person(1))],
                resource: Some(dataset("shop.accounts")),
                statuses: vec![Status::Pending],
                ..all()
            },
            vec![&export],
        ),
        // Whatever happened in the first minute; a later repetition of the call is no step.
        (SearchFilter { from: at(0), to: at(1), ..all() }, vec![&export]),
        (SearchFilter { from: at(1), to: at(2), ..all() }, vec![&odd, &export]),
        (SearchFilter { from: at(2), to: at(3), ..all() }, vec![&own, &odd]),
        (SearchFilter { from: at(3), ..all() }, vec![&own]),
        (SearchFilter { to: at(0), ..all() }, vec![]),
        (SearchFilter { from: at(4), ..all() }, vec![]),
        (SearchFilter { from: at(2), to: at(1), ..all() }, vec![]),
        (SearchFilter { from: at(1), to: at(2), happened: Happened::Voted, ..all() }, vec![&export]),
        (SearchFilter { from: at(1), to: at(2), happened: Happened::Asked, ..all() }, vec![&odd]),
        (SearchFilter { from: at(0), happened: Happened::Ended, ..all() }, vec![&own]),
        (SearchFilter { from: at(0), happened: Happened::Started, ..all() }, vec![]),
    ];
    for (filter, expected) in cases {
        let expected: Vec<RequestId> = expected.iter().map(|request| request.id).collect();
        assert_eq!(ids(&bench, &filter).await, expected, "{filter:?}");
    }
    let found = search(&bench, &SearchFilter { request: Some(export.id), ..all() }).await.found;
    let stored = bench.store().request(export.id).await.unwrap().unwrap();
    assert_eq!(stored.entries, [0, 1, 6]);
    assert_eq!(found, [Found::Whole(Box::new(stored))]);
}

pub(super) async fn what_was_found_comes_in_pages(bench: Bench) {
    let mut expected = Vec::new();
    for number in 0..40_u8 {
        bench.clock.advance(Duration::from_millis(u64::from(number % 3)));
        let request = asked(&bench, agent(number % 2), person(1), "data.export", "a").await;
        if number % 2 == 0 {
            expected.push(request.id);
        }
    }
    expected.sort_unstable_by(|left, right| right.cmp(left));
    for filter in [
        SearchFilter { by: vec![agent(0)], ..all() },
        SearchFilter { by: vec![agent(0), agent(7)], action: Some(action("data.export")), ..all() },
    ] {
        for limit in [1, 7, 20, 21, usize::MAX] {
            let (mut found, mut before) = (Vec::new(), None);
            loop {
                let page = search(&bench, &SearchFilter { limit, before, ..filter.clone() }).await;
                assert!(page.found.len() <= limit.min(PAGE_MAX));
                found.extend(page.found.iter().map(Found::id));
                before = page.next;
                if before.is_none() {
                    break;
                }
            }
            assert_eq!(found, expected, "{limit}");
        }
    }
    let nothing = search(&bench, &SearchFilter { limit: 0, ..all() }).await;
    assert_eq!(nothing, SearchPage::default(), "a limit of zero");
}

/// What a random history should be found by, told by its own book.
#[derive(Default)]
struct Book(BTreeMap<RequestId, Line>);

struct Line {
    by: Principal,
    behalf: PersonId,
    action: String,
    resource: String,
    votes: Vec<(PersonId, Verdict)>,
    steps: Vec<Timestamp>,
}

impl Book {
    fn ids(&self, fits: impl Fn(&Line) -> bool) -> Vec<RequestId> {
        self.0.iter().rev().filter(|(_, line)| fits(line)).map(|(id, _)| *id).collect()
    }
}

/// Random histories: every question has the answer that the book gives, and the index that is made anew from the entries
/// is the one that was written with them.
pub(super) async fn the_index_is_what_the_entries_say(bench: Bench) {
    let draw = |of: u8| random_bytes::<1>(bench.entropy.as_ref())[0] % of;
    let mut book = Book::default();
    for round in 0..4 {
        for _ in 0..30 {
            bench.clock.advance(Duration::from_millis(u64::from(draw(200)) * 1000));
            let known: Vec<RequestId> = book.0.keys().copied().collect();
            if known.is_empty() || draw(2) == 0 {
                let (by, behalf) = (agent(draw(3)), person(draw(3)));
                let (what, on) = (format!("do.it{}", draw(2)), format!("set{}", draw(4)));
                let request = asked(&bench, by, behalf, &what, &on).await;
                let steps = vec![bench.now()];
                let line = Line { by, behalf, action: what, resource: on, votes: Vec::new(), steps };
                book.0.insert(request.id, line);
                continue;
            }
            let id = known[usize::from(draw(u8::try_from(known.len()).unwrap()))];
            let request = bench.store().request(id).await.unwrap().unwrap().request;
            let line = book.0.get_mut(&id).unwrap();
            match draw(3) {
                0 => append(&bench, bench.entry_about(Kind::RequestAttached, &request)).await,
                1 => {
                    append(&bench, bench.entry_about(Kind::DecisionMade, &request)).await;
                    line.steps.push(bench.now());
                }
                _ => {
                    let verdict = if draw(2) == 0 { Verdict::Approve } else { Verdict::Deny };
                    let vote = (person(10 + draw(2)), verdict);
                    append(&bench, voted(&bench, &request, vote.0, vote.1)).await;
                    line.votes.push(vote);
                    line.steps.push(bench.now());
                }
            }
        }
        agree(&bench, &book, &draw).await;
        let made = bench.store().reindex().await.unwrap();
        assert!(made.was_equal() && made.facts > 0 && made.erased == 0, "{round}: {made:?}");
        assert_eq!(made.entries, bench.size().await);
        agree(&bench, &book, &draw).await;
    }
    bench.clock.advance(Duration::from_millis(1));
    let now = bench.now();
    let asked_late = asked(&bench, agent(1), person(1), "data.export", "late").await;
    assert_eq!(
        ids(&bench, &SearchFilter { from: Some(now), happened: Happened::Asked, ..all() }).await,
        [asked_late.id]
    );
    let both = tokio::join!(bench.store().reindex(), bench.store().reindex());
    assert!(both.0.unwrap().was_equal() && both.1.unwrap().was_equal(), "one after the other");
}

async fn agree(bench: &Bench, book: &Book, draw: &impl Fn(u8) -> u8) {
    let text = |name: &str, number: u8| format!("{name}{number}");
    for _ in 0..10 {
        let (by, behalf, what, on) =
            (agent(draw(3)), person(draw(3)), text("do.it", draw(2)), text("set", draw(4)));
        let (reviewer, verdict) =
            (person(10 + draw(2)), if draw(2) == 0 { Verdict::Approve } else { Verdict::Deny });
        let steps: Vec<Timestamp> = book.0.values().flat_map(|line| line.steps.clone()).collect();
        let pick = |steps: &[Timestamp]| steps[usize::from(draw(250)) % steps.len()];
        let (from, to) = (pick(&steps), pick(&steps));
        let filter = SearchFilter { action: Some(action(&what)), resource: Some(dataset(&on)), ..all() };
        let expected = book.ids(|line| line.action == what && line.resource == on);
        assert_eq!(ids(bench, &filter).await, expected);
        let filter = SearchFilter { by: vec![by, Principal::Person(behalf)], ..all() };
        assert_eq!(ids(bench, &filter).await, book.ids(|line| line.by == by || line.behalf == behalf));
        let filter = SearchFilter { reviewers: vec![reviewer], verdict: Some(verdict), ..all() };
        assert_eq!(ids(bench, &filter).await, book.ids(|line| line.votes.contains(&(reviewer, verdict))));
        let filter = SearchFilter { from: Some(from), to: Some(to), action: Some(action(&what)), ..all() };
        let within = |line: &Line| line.steps.iter().any(|step| (from..to).contains(step));
        assert_eq!(ids(bench, &filter).await, book.ids(|line| line.action == what && within(line)));
    }
}

pub(super) async fn a_new_index_answers_after_reopening(mut bench: Bench) {
    let request = asked(&bench, agent(1), person(1), "data.export", "a").await;
    bench.store().reindex().await.unwrap();
    bench.reopen().await;
    let filter = SearchFilter { by: vec![agent(1)], ..all() };
    assert_eq!(ids(&bench, &filter).await, [request.id]);
    let later = asked(&bench, agent(1), person(1), "data.export", "b").await;
    assert_eq!(ids(&bench, &filter).await.len(), 2);
    assert!(later.id > request.id || later.created_at == request.created_at);
    assert!(bench.clock.now() <= bench.now());
}
