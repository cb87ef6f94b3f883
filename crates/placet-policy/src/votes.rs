//! Who may vote, and which votes count. A vote is itself a decision of Cedar: `review.approve`, principal `Person`.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use cedar_policy::{
    Authorizer, Context, Decision as Cedar, Entity, EntityUid, Request, RestrictedExpression,
};
use placet_core::action::Principal;
use placet_core::decision::{ForbidReason, GuardAsk, Need, RoleName, Tally};
use placet_core::directory::{Conflict, Directory, Person, Status};
use placet_core::id::PersonId;
use placet_core::review::{Assurance, Evidence, Standing, Verdict, VerifiedReviewer, Vote};

use crate::bundle::Bundle;
use crate::decide::{Question, slice};
use crate::electorates::ElectorateKey;
use crate::entities;
use crate::settings::{ConflictRule, RoleRule};

impl Bundle {
    /// How this reviewer stands to the question now, for this verdict: in which of the asked roles policy lets them say
    /// it, whether it is theirs, and what the bundle asks of their evidence.
    pub fn standing(
        &self,
        question: &Question<'_>,
        reviewer: &VerifiedReviewer,
        verdict: Verdict,
    ) -> Standing {
        let (roles, _) = self.roles_of_question(question);
        let electorate = Electorate::new(self, question, roles);
        let person = question.directory.active_person(reviewer.person);
        let conflict = electorate.conflicts.get(&reviewer.person).copied();
        let settings = self.settings();
        Standing {
            active: person.is_some(),
            roles: person
                .map(|person| electorate.roles_of(person, reviewer.assurance, verdict))
                .unwrap_or_default(),
            conflict,
            self_review: electorate.self_review() == Some(reviewer.person),
            vouched: reviewer
                .minted_by
                .is_some_and(|by| by != reviewer.person && electorate.conflicts.contains_key(&by)),
            vouched_counts: settings.operator_vouches,
            token_may_approve: settings.token_may_approve,
            assurance_min: settings.assurance_min,
        }
    }

    /// The votes that count now, by role.
    pub fn tally(&self, question: &Question<'_>) -> Tally {
        let (roles, age_max) = self.roles_of_question(question);
        Electorate::new(self, question, roles).tally(age_max)
    }
}

/// Everyone who has a say in one question.
pub(crate) struct Electorate<'a> {
    bundle: &'a Bundle,
    question: &'a Question<'a>,
    roles: BTreeSet<RoleName>,
    review: Option<Entity>,
    /// Whom the review calls the sponsor.
    sponsor: Option<PersonId>,
    pub(crate) conflicts: BTreeMap<PersonId, Conflict>,
    eligible: OnceCell<BTreeMap<RoleName, BTreeSet<PersonId>>>,
    exception: OnceCell<Option<(PersonId, BTreeSet<RoleName>)>>,
}

impl<'a> Electorate<'a> {
    /// The people who may vote in these roles.
    pub(crate) fn new(bundle: &'a Bundle, question: &'a Question<'a>, roles: BTreeSet<RoleName>) -> Self {
        let sponsor = sponsor_of(question);
        let review = sponsor.and_then(|sponsor| review_entity(bundle, question, sponsor));
        let conflicts = question.directory.conflicts(&question.action.chain);
        let (eligible, exception) = (OnceCell::new(), OnceCell::new());
        Electorate { bundle, question, roles, review, sponsor, conflicts, eligible, exception }
    }

    /// Who may vote as what, without those in conflict.
    pub(crate) fn eligible(&self) -> &BTreeMap<RoleName, BTreeSet<PersonId>> {
        self.eligible.get_or_init(|| {
            let free = |people: &BTreeSet<PersonId>| {
                people.iter().filter(|person| !self.conflicts.contains_key(person)).copied().collect()
            };
            self.roles.iter().map(|role| (role.clone(), free(&self.people_of(role)))).collect()
        })
    }

    /// Everyone whom policy lets vote in this role, whoever asks. That is a question to Cedar for each person, and the
    /// answer changes only with the bundle, the directory and what the review says of the request.
    fn people_of(&self, role: &RoleName) -> Arc<BTreeSet<PersonId>> {
        let action = self.question.action;
        let groups = self
            .bundle
            .vocabulary
            .review_attributes
            .iter()
            .map(|attribute| self.bundle.resources.group(&action.resource, attribute).map(str::to_owned));
        let key = ElectorateKey {
            action: action.action.clone(),
            sponsor: self.sponsor,
            groups: groups.collect(),
            role: role.clone(),
        };
        let directory = self.question.directory;
        self.bundle.electorates.of(directory.epoch, key, || {
            let active = directory.people.values().filter(|person| person.status == Status::Active);
            let may = |person: &&Person| {
                self.may_have(person, role)
                    && self.policy_gives(person, role, ASSURANCE_MOST, Verdict::Approve)
            };
            active.filter(may).map(|person| person.id).collect()
        })
    }

    fn policy_gives(&self, person: &Person, role: &RoleName, assurance: Assurance, verdict: Verdict) -> bool {
        let pair = self.review.as_ref().zip(entities::person(person));
        pair.is_some_and(|(review, voter)| self.policy_lets(&voter, review, role, assurance, verdict))
    }

    /// The sponsor who may approve by exception: the bundle allows it, their agent asks, they have a role, and nobody
    /// else has one.
    pub(crate) fn self_review(&self) -> Option<PersonId> {
        self.exception().as_ref().map(|(person, _)| *person)
    }

    fn exception(&self) -> &Option<(PersonId, BTreeSet<RoleName>)> {
        self.exception.get_or_init(|| {
            if self.bundle.settings().conflict != ConflictRule::SponsorMayApprove {
                return None;
            }
            let agent = self.question.action.chain.requester.agent()?;
            let agent = self.question.directory.active_agent(agent)?;
            if self.conflicts.get(&agent.sponsor) != Some(&Conflict::Sponsor(agent.id)) {
                return None;
            }
            let sponsor = self.question.directory.active_person(agent.sponsor)?;
            let roles = self.roles_of(sponsor, ASSURANCE_MOST, Verdict::Approve);
            let alone = self.eligible().values().all(BTreeSet::is_empty);
            (alone && !roles.is_empty()).then_some((sponsor.id, roles))
        })
    }

    /// Counts each person's latest approval, if policy would let them vote so now.
    pub(crate) fn tally(&self, age_max: Option<Duration>) -> Tally {
        let mut latest: BTreeMap<PersonId, &Vote> = BTreeMap::new();
        for vote in self.question.votes {
            let newer = |held: &&Vote| (held.at, held.round) < (vote.at, vote.round);
            if latest.get(&vote.person).is_none_or(newer) {
                latest.insert(vote.person, vote);
            }
        }
        let mut voters = Voters::default();
        let mut age = Duration::ZERO;
        for vote in latest.into_values() {
            let roles = self.counts_in(vote, age_max);
            if !roles.is_empty() {
                age = age.max(self.question.now.since(vote.at));
                voters.add(vote.person, vote.assurance, roles);
            }
        }
        Tally { age, ..voters.count(self.question.directory) }
    }

    /// The roles in which a vote counts now; none if it does not.
    fn counts_in(&self, vote: &Vote, age_max: Option<Duration>) -> BTreeSet<RoleName> {
        let settings = self.bundle.settings();
        let stale = age_max.is_some_and(|age_max| self.question.now.since(vote.at) > age_max);
        let from_the_future = vote.at > self.question.now;
        let weak = vote.assurance < settings.assurance_min;
        let vouched = vote.vouched && !settings.operator_vouches;
        let token = matches!(vote.evidence, Evidence::Token(_)) && !settings.token_may_approve;
        if vote.verdict != Verdict::Approve || stale || from_the_future || weak || vouched || token {
            return BTreeSet::new();
        }
        let conflicted = self.conflicts.contains_key(&vote.person);
        // The exception holds for a vote that was cast under it and only as long as it holds now.
        if conflicted && !(vote.self_reviewed && self.self_review() == Some(vote.person)) {
            return BTreeSet::new();
        }
        let person = self.question.directory.active_person(vote.person);
        person.map(|person| self.roles_of(person, vote.assurance, Verdict::Approve)).unwrap_or_default()
    }

    /// Whether all eligible people together could clear these guards.
    pub(crate) fn could_clear(&self, guards: &[GuardAsk]) -> Result<(), ForbidReason> {
        let mut voters = Voters::default();
        for (role, people) in self.eligible() {
            for person in people {
                voters.add(*person, ASSURANCE_MOST, BTreeSet::from([role.clone()]));
            }
        }
        if let Some((sponsor, roles)) = self.exception() {
            voters.add(*sponsor, ASSURANCE_MOST, roles.clone());
        }
        let possible = voters.count(self.question.directory);
        for guard in guards {
            if !guard.needs.is_met(&possible) {
                let short = short_role(&guard.needs, &possible);
                let any = || self.roles.first().cloned();
                return Err(match short.or_else(any) {
                    Some(role) => ForbidReason::NobodyCanApprove(role),
                    None => ForbidReason::CannotBeApproved,
                });
            }
        }
        Ok(())
    }

    /// The asked roles in which policy lets this person vote so, now.
    pub(crate) fn roles_of(
        &self,
        person: &Person,
        assurance: Assurance,
        verdict: Verdict,
    ) -> BTreeSet<RoleName> {
        let candidates: Vec<&RoleName> =
            self.roles.iter().filter(|role| self.may_have(person, role)).collect();
        let gives = |role: &&RoleName| self.policy_gives(person, role, assurance, verdict);
        candidates.into_iter().filter(gives).cloned().collect()
    }

    /// Whether Cedar has to be asked at all: where a role is a group and nothing else permits, outsiders cannot have it.
    fn may_have(&self, person: &Person, role: &RoleName) -> bool {
        match self.bundle.roles().get(role) {
            Some(RoleRule::Group(group)) => self.bundle.votes_by_policy || person.groups.contains(group),
            Some(RoleRule::ResourceAttr(_) | RoleRule::Policy) => true,
            None => false,
        }
    }

    fn policy_lets(
        &self,
        voter: &Entity,
        review: &Entity,
        role: &RoleName,
        assurance: Assurance,
        verdict: Verdict,
    ) -> bool {
        let action = match verdict {
            Verdict::Approve => "review.approve",
            Verdict::Deny => "review.deny",
        };
        let Some(bucket) = self.bundle.buckets.get(action) else { return false };
        let context = Context::from_pairs([
            ("now".to_owned(), self.bundle.fixed.now.expression(self.question.now)),
            ("role".to_owned(), RestrictedExpression::new_string(role.to_string())),
            ("assurance".to_owned(), RestrictedExpression::new_long(level(assurance))),
        ]);
        let request = context.ok().and_then(|context| {
            let schema = Some(&self.bundle.vocabulary.schema);
            Request::new(voter.uid(), bucket.action.clone(), review.uid(), context, schema).ok()
        });
        let entities = slice([voter.clone(), review.clone(), bucket.entity.clone()]);
        let (Some(request), Ok(entities)) = (request, entities) else { return false };
        let response = Authorizer::new().is_authorized(&request, &bucket.policies, &entities);
        // A forbid that errs would be a forbid that is off.
        response.diagnostics().errors().next().is_none() && response.decision() == Cedar::Allow
    }
}

/// Who voted as what, before humans are told apart.
#[derive(Default)]
struct Voters {
    people: BTreeSet<PersonId>,
    roles: BTreeMap<RoleName, BTreeSet<PersonId>>,
    assured: BTreeMap<(RoleName, Assurance), BTreeSet<PersonId>>,
}

impl Voters {
    fn add(&mut self, person: PersonId, assurance: Assurance, roles: BTreeSet<RoleName>) {
        self.people.insert(person);
        for role in roles {
            for level in [Assurance::L1, Assurance::L2, Assurance::L3] {
                if assurance >= level {
                    self.assured.entry((role.clone(), level)).or_default().insert(person);
                }
            }
            self.roles.entry(role).or_default().insert(person);
        }
    }

    /// Two records that may be one human count once, everywhere.
    fn count(self, directory: &Directory) -> Tally {
        let humans =
            |people: BTreeSet<PersonId>| u32::try_from(directory.distinct(people).len()).unwrap_or(u32::MAX);
        Tally {
            people: directory.distinct(self.people),
            roles: self.roles.into_iter().map(|(role, people)| (role, humans(people))).collect(),
            assured: self.assured.into_iter().map(|(key, people)| (key, humans(people))).collect(),
            age: Duration::ZERO,
        }
    }
}

/// The most that anyone can show so far.
const ASSURANCE_MOST: Assurance = Assurance::L2;

fn level(assurance: Assurance) -> i64 {
    match assurance {
        Assurance::L1 => 1,
        Assurance::L2 => 2,
        Assurance::L3 => 3,
    }
}

/// The first role of which there are too few.
fn short_role(need: &Need, possible: &Tally) -> Option<RoleName> {
    match need {
        Need::All(parts) | Need::Any(parts) => parts.iter().find_map(|part| short_role(part, possible)),
        Need::AtLeast { role, .. } if !need.is_met(possible) => Some(role.clone()),
        Need::AtLeast { .. } | Need::Distinct(_) | Need::Within(_) | Need::Data(_) => None,
    }
}

/// Who answers for whoever asks.
fn sponsor_of(question: &Question<'_>) -> Option<PersonId> {
    match question.action.chain.requester {
        Principal::Person(person) => Some(person),
        Principal::Agent(agent) | Principal::Pipeline(agent) => {
            Some(question.directory.agents.get(&agent)?.sponsor)
        }
    }
}

/// The review, as the rules about votes see it.
fn review_entity(bundle: &Bundle, question: &Question<'_>, sponsor: PersonId) -> Option<Entity> {
    let action = question.action;
    let mut attributes = HashMap::from([
        ("action".to_owned(), RestrictedExpression::new_string(action.action.to_string())),
        ("sponsor".to_owned(), RestrictedExpression::new_entity_uid(entities::person_uid(sponsor)?)),
    ]);
    for attribute in &bundle.vocabulary.review_attributes {
        let group = bundle.resources.group(&action.resource, attribute);
        if let Some(group) = group.and_then(|group| entities::uid("Group", group)) {
            attributes.insert(attribute.clone(), RestrictedExpression::new_entity_uid(group));
        }
    }
    let uid: EntityUid = entities::uid("Review", "this")?;
    Entity::new(uid, attributes, HashSet::new()).ok()
}
