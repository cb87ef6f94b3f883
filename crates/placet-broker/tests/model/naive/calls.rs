//! The calls, one by one.

use super::*;

impl Naive {
    /// A call becomes a request, or gets the one that it repeats.
    #[expect(clippy::too_many_arguments, reason = "what a call consists of")]
    pub(super) fn submit(
        &self,
        side: Side,
        at: Millis,
        bot: usize,
        old_token: bool,
        thing: Thing,
        behalf: usize,
        key: Option<u8>,
    ) -> Vec<Answer> {
        let mut refusals = Vec::new();
        if !self.token_opens(bot, old_token) {
            refusals.push(no("unauthenticated"));
        }
        if behalf != BOTS[bot].0 && !BOTS[bot].2.contains(&behalf) {
            refusals.push(no("on_behalf_of_refused"));
        }
        if !refusals.is_empty() {
            return refusals;
        }
        let known = key.and_then(|key| self.keys.get(&(bot, key))).filter(|known| at - known.at < KEY);
        let asked = (behalf, thing);
        let attach = |request: usize| {
            let mut commit = told(Kind::RequestAttached, None, request);
            if let (Some(key), None) = (key, known) {
                commit.key = Some(((bot, key), Key { request, asked, at }));
            }
            let gives = Gives::Request { request, new: false };
            vec![Answer { gives, ..done(vec![commit]) }]
        };
        if let Some(known) = known {
            return if known.asked == asked { attach(known.request) } else { vec![no("key_reused")] };
        }
        let same = |request: &Request| (request.bot, request.behalf, request.thing) == (bot, behalf, thing);
        let twin = self
            .requests
            .iter()
            .rposition(|request| same(request) && (request.reviewed || request.status == Status::Unknown));
        if let Some(place) = twin {
            let twin = &self.requests[place];
            let age = at - twin.updated;
            match twin.status {
                Status::Pending => return attach(place),
                Status::Granted | Status::Executing if twin.reviewed => return attach(place),
                Status::Denied if age < COOL_DOWN => return attach(place),
                Status::Succeeded | Status::Failed if twin.reviewed && age < OUTCOME => return attach(place),
                Status::Unknown if twin.reviewed && !twin.resolved => return vec![no("outcome_unknown")],
                _ => {}
            }
        }
        vec![self.open(side, at, bot, thing, behalf, key)]
    }

    fn open(
        &self,
        side: Side,
        at: Millis,
        bot: usize,
        thing: Thing,
        behalf: usize,
        key: Option<u8>,
    ) -> Answer {
        if self.cooled_down(side, &(bot, place_of(thing)), at) {
            return self.capped(side, at, bot, "cooled_down");
        }
        let request = Request {
            bot,
            behalf,
            thing,
            status: Status::Granted,
            version: 1,
            content: 1,
            created: at,
            updated: at,
            deadline: None,
            reviewed: false,
            votes: Vec::new(),
            asks: None,
            card: Card::default(),
            claim: None,
            report: None,
            resolved: false,
        };
        let say = self.say(&request, at);
        if matches!(say, Say::Ask(_)) {
            let own = || self.requests.iter().filter(|request| request.bot == bot);
            let pending = own().filter(|request| request.status == Status::Pending).count();
            let hour =
                own().filter(|request| request.reviewed && request.created >= at - 60 * MINUTE).count();
            if pending >= PENDING_MAX as usize {
                return self.capped(side, at, bot, "pending_cap");
            }
            if hour >= REVIEWS_MAX as usize {
                return self.capped(side, at, bot, "review_cap");
            }
        }
        if matches!(say, Say::Permit { .. }) && !self.steady() {
            return no("unavailable");
        }
        let place = self.requests.len();
        let commit = Commit {
            request: Some((place, self.decided(request, &say, at))),
            key: key.map(|key| ((bot, key), Key { request: place, asked: (behalf, thing), at })),
            entries: vec![entry(Kind::RequestReceived, Some(word(&say)), place)],
            operated: None,
        };
        Answer { gives: Gives::Request { request: place, new: true }, ..done(vec![commit]) }
    }

    /// Three denials of one thing within ten minutes, for ten minutes.
    fn cooled_down(&self, side: Side, thing: &(usize, String), at: Millis) -> bool {
        let Some(denials) = self.memory[side as usize].denials.get(thing) else { return false };
        let [.., first, _, last] = denials.as_slice() else { return false };
        last - first < 10 * MINUTE && at < last + 10 * MINUTE
    }

    /// Refused because of a cap: one entry a minute.
    fn capped(&self, side: Side, at: Millis, bot: usize, code: &'static str) -> Answer {
        let noted = self.memory[side as usize].noted.get(&bot);
        if noted.is_some_and(|noted| at - noted < MINUTE) {
            return no(code);
        }
        let entries = vec![Entry { kind: Kind::CapReached, verdict: Some(code), request: None }];
        let commits = vec![Commit { entries, ..Commit::default() }];
        Answer { noted: Some((bot, at)), commits, ..no(code) }
    }

    /// A person votes.
    #[expect(clippy::too_many_arguments, reason = "what a ballot consists of")]
    pub(super) fn vote(
        &self,
        at: Millis,
        person: usize,
        by_token: bool,
        place: usize,
        approve: bool,
        twist: Twist,
        shown: Shown,
    ) -> Vec<Answer> {
        let (request, law) = (&self.requests[place], &LAWS[self.law]);
        let mut reasons = Vec::new();
        let over = request.deadline.is_some_and(|deadline| at >= deadline);
        match (request.status, approve) {
            (Status::Pending, _) | (Status::Granted, false) if over => reasons.push("late"),
            (Status::Pending, _) | (Status::Granted, false) => {}
            _ => reasons.push("already_decided"),
        }
        if twist == Twist::OtherDigest {
            reasons.push("other_digest");
        }
        if matches!(twist, Twist::OtherVersion | Twist::OtherCard) || shown != self.shown(place) {
            reasons.push("content_moved");
        }
        if !self.active[person] {
            reasons.push("disabled");
        }
        if !by_token && at >= self.signed_in + SESSION && self.active[person] {
            reasons.push("unauthenticated");
        }
        let excepted = self.excepted(request) == Some(person);
        if Self::conflicted(request).contains(&person) && !excepted {
            reasons.push("self_approval");
        }
        if !self.member[person] {
            reasons.push("no_standing");
        }
        let vouched = Self::vouched(request, person);
        if approve && by_token && !law.token_may_approve {
            reasons.push("token_may_not_approve");
        }
        if approve && vouched && !law.operator_vouches {
            reasons.push("vouched");
        }
        // An approval may be taken back, and renewed once it is too old. A denial stands.
        let held = Self::latest_vote(request, person);
        let ages = request.status == Status::Pending;
        let held = held.filter(|vote| !(ages && Self::too_old(request, vote, at)));
        if held.is_some_and(|held| !held.approve || approve) {
            reasons.push("already_voted");
        }
        if !reasons.is_empty() {
            let refused =
                |code| Answer { commits: vec![told(Kind::VoteRefused, Some(code), place)], ..no(code) };
            return reasons.into_iter().map(refused).collect();
        }
        let self_reviewed = Self::conflicted(request).contains(&person);
        let vote = Vote { person, approve, by_token, self_reviewed, vouched, at, card: shown.card };
        vec![self.voted(place, vote, at)]
    }

    fn voted(&self, place: usize, vote: Vote, at: Millis) -> Answer {
        let mut request = self.requests[place].clone();
        let approve = vote.approve;
        request.votes.push(vote);
        request.updated = at;
        let cast = entry(Kind::VoteCast, Some(if approve { "approve" } else { "deny" }), place);
        let deniers: BTreeSet<usize> =
            request.votes.iter().filter(|vote| !vote.approve).map(|vote| vote.person).collect();
        let veto = request.asks.map_or(1, |ask| ask.veto);
        if !approve && deniers.len() >= veto as usize {
            request.status = Status::Denied;
            request.deadline = None;
            let denied = Some((request.bot, place_of(request.thing)));
            let commit = Commit { request: Some((place, request)), entries: vec![cast], ..Commit::default() };
            return Answer { denied, ..done(vec![commit]) };
        }
        let say = self.say(&request, at);
        if matches!(say, Say::Permit { .. }) && !self.steady() {
            return no("unavailable");
        }
        let mut entries = vec![cast, entry(Kind::DecisionMade, Some(word(&say)), place)];
        if matches!(say, Say::Forbid) {
            entries.push(entry(Kind::RequestRefusedLater, None, place));
        }
        let request = self.decided(request, &say, at);
        done(vec![Commit { request: Some((place, request)), entries, ..Commit::default() }])
    }

    /// The requester withdraws what nobody has begun.
    pub(super) fn cancel(&self, at: Millis, stranger: bool, old_token: bool, place: usize) -> Vec<Answer> {
        let request = &self.requests[place];
        let mut refusals = Vec::new();
        if stranger {
            return vec![no("not_found")];
        }
        if !self.token_opens(request.bot, old_token) {
            refusals.push(no("unauthenticated"));
        }
        if !matches!(request.status, Status::Pending | Status::Granted) {
            refusals.push(no("wrong_state"));
        }
        if !refusals.is_empty() {
            return refusals;
        }
        vec![done(vec![self.ended(place, Status::Cancelled, Kind::RequestCancelled, None, at)])]
    }

    /// A request ends without an execution, or with its outcome.
    fn ended(
        &self,
        place: usize,
        status: Status,
        kind: Kind,
        verdict: Option<&'static str>,
        at: Millis,
    ) -> Commit {
        let request = Request {
            status,
            deadline: None,
            updated: at,
            asks: self.requests[place].asks,
            ..self.requests[place].clone()
        };
        Commit {
            request: Some((place, request)),
            entries: vec![entry(kind, verdict, place)],
            ..Commit::default()
        }
    }

    /// A grant is redeemed, once, if policy still says yes.
    #[expect(clippy::too_many_arguments, reason = "what a claim consists of")]
    pub(super) fn claim(
        &self,
        at: Millis,
        stranger: bool,
        old_token: bool,
        place: usize,
        other_pep: bool,
        value: u8,
        other_digest: bool,
    ) -> Vec<Answer> {
        let request = &self.requests[place];
        if stranger {
            return vec![no("not_found")];
        }
        let refused =
            |code| Answer { commits: vec![told(Kind::ClaimRefused, Some(code), place)], ..no(code) };
        // The command door names no digest: it is the one that holds the bytes.
        let external = !matches!(request.thing, Thing::Command(_)) ^ other_pep;
        let mut refusals = Vec::new();
        if other_pep {
            refusals.push(refused("not_the_executor"));
        }
        if other_digest && external {
            refusals.push(refused("other_digest"));
        }
        if !refusals.is_empty() {
            return refusals;
        }
        if self.bot_stands(request.bot) && !self.token_opens(request.bot, old_token) {
            return vec![refused("unauthenticated")];
        }
        if request.claim == Some(value) {
            return vec![Answer { gives: Gives::Execution { request: place }, ..done(Vec::new()) }];
        }
        if request.claim.is_some() {
            return vec![refused("already_claimed")];
        }
        if request.status != Status::Granted {
            return vec![refused("wrong_state")];
        }
        if request.deadline.is_some_and(|deadline| at >= deadline) {
            return vec![refused("late")];
        }
        let say = self.say(request, at);
        if !matches!(say, Say::Permit { .. }) {
            let mut commit = self.ended(place, Status::Refused, Kind::RequestRefusedLater, None, at);
            commit.entries.insert(0, entry(Kind::DecisionMade, Some(word(&say)), place));
            let commits = vec![commit, told(Kind::ClaimRefused, Some("refused"), place)];
            return vec![Answer { commits, ..no("refused") }];
        }
        if !self.steady() {
            return vec![no("unavailable")];
        }
        let mut commit = self.ended(place, Status::Executing, Kind::ExecutionStarted, Some("permit"), at);
        if let Some((_, request)) = &mut commit.request {
            request.claim = Some(value);
            request.deadline = Some(at + LEASE);
        }
        vec![Answer { gives: Gives::Execution { request: place }, ..done(vec![commit]) }]
    }

    /// The outcome of an execution is reported: by the agent of what it did itself, by our enforcement point otherwise.
    pub(super) fn report(
        &self,
        at: Millis,
        stranger: bool,
        place: usize,
        of: Option<usize>,
        how: How,
        note: u8,
    ) -> Vec<Answer> {
        let request = &self.requests[place];
        let external = !matches!(request.thing, Thing::Command(_));
        if stranger && external {
            return vec![no("not_found")];
        }
        let status = match how {
            How::Succeeded => Status::Succeeded,
            How::Failed => Status::Failed,
            How::Unknown => Status::Unknown,
        };
        let named_it = of == Some(place) && request.claim.is_some();
        if named_it && request.report == Some((status, note)) {
            return vec![done(Vec::new())];
        }
        let mut refusals = Vec::new();
        if request.status != Status::Executing {
            refusals.push(no("wrong_state"));
        }
        if !named_it {
            refusals.push(no("other_execution"));
        }
        if request.deadline.is_some_and(|deadline| at >= deadline) {
            refusals.push(no("late"));
        }
        if !refusals.is_empty() {
            return refusals;
        }
        let mut commit = self.ended(place, status, Kind::ExecutionFinished, Some(status.as_str()), at);
        if let Some((_, request)) = &mut commit.request {
            request.report = Some((status, note));
        }
        vec![done(vec![commit])]
    }

    /// A named person says what an unknown outcome really was.
    pub(super) fn resolve(&self, at: Millis, person: usize, place: usize) -> Vec<Answer> {
        let request = &self.requests[place];
        let mut refusals = Vec::new();
        if !self.active[person] {
            refusals.extend([no("disabled"), no("unauthenticated")]);
        } else if at >= self.signed_in + SESSION {
            refusals.push(no("unauthenticated"));
        }
        if request.status != Status::Unknown {
            refusals.push(no("wrong_state"));
        } else if request.resolved {
            refusals.push(no("already_resolved"));
        }
        if !refusals.is_empty() {
            return refusals;
        }
        let mut commit = self.ended(place, Status::Unknown, Kind::RequestResolved, None, at);
        if let Some((_, request)) = &mut commit.request {
            request.resolved = true;
        }
        vec![done(vec![commit])]
    }

    /// Everything ends whose time is over: reviews and grants in no, executions in unknown.
    pub(super) fn deadlines(&self, at: Millis) -> Answer {
        let mut due: Vec<usize> = (0..self.requests.len())
            .filter(|place| self.requests[*place].deadline.is_some_and(|deadline| at >= deadline))
            .collect();
        due.sort_by_key(|place| self.requests[*place].deadline);
        let commits = due.iter().map(|place| match self.requests[*place].status {
            Status::Pending => self.ended(*place, Status::Expired, Kind::RequestExpired, None, at),
            Status::Granted => self.ended(*place, Status::Lapsed, Kind::RequestLapsed, None, at),
            _ => self.ended(*place, Status::Unknown, Kind::ExecutionFinished, Some("unknown"), at),
        });
        let commits: Vec<Commit> = commits.collect();
        Answer { gives: Gives::Count(due.len()), ..done(commits) }
    }

    /// Nobody knows what became of commands whose process is gone.
    pub(super) fn abandon(&self, at: Millis) -> Answer {
        let held = (0..self.requests.len()).rev().filter(|place| {
            let request = &self.requests[*place];
            request.status == Status::Executing && matches!(request.thing, Thing::Command(_))
        });
        let finished = (Kind::ExecutionFinished, Some("unknown"));
        let commits: Vec<Commit> =
            held.map(|place| self.ended(place, Status::Unknown, finished.0, finished.1, at)).collect();
        Answer { gives: Gives::Count(commits.len()), ..done(commits) }
    }
}

/// What a denial cools down: the action and the resource, whatever the arguments.
fn place_of(thing: Thing) -> String {
    match thing {
        Thing::Staging(_) => "staging".to_owned(),
        Thing::Production(_) => "production".to_owned(),
        Thing::Vault(_) => "vault".to_owned(),
        Thing::Command(_) => "command".to_owned(),
    }
}
