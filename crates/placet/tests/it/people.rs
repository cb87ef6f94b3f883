//! People in front of a browser: they sign in with a link, read a review, and vote on what they read.

use serde_json::{Value, json};

use crate::harness::{Answer, Http, Placet};

/// A person's session, begun with a link.
pub(crate) struct Session<'a> {
    /// The reviewers' door with this session's cookie, and with all that a call of its own pages has.
    pub(crate) door: Http<'a>,
    /// The same without what only its own pages have.
    pub(crate) cookie: Http<'a>,
    /// The cookie itself, `name=value`.
    pub(crate) secret: String,
}

impl Placet {
    /// Signs in with a link.
    pub(crate) fn sign_in(&self, link: &str) -> Session<'_> {
        let origin = self.ready.reviewers.as_str();
        let path = link.strip_prefix(origin).unwrap();
        let bare = self.reviewers(None);
        bare.get(path).expect(200);
        let answer = bare.clone().header("origin", origin).post_as(path, "application/octet-stream", "");
        let cookie = answer.expect(303).headers["set-cookie"].to_str().unwrap().to_owned();
        let secret = cookie.split(';').next().unwrap().to_owned();
        let cookie = bare.header("cookie", &secret);
        let page = cookie.get("/").expect(200).text();
        let token = page.split("name=\"token\" value=\"").nth(1).unwrap().split('"').next().unwrap();
        let door = cookie.clone().header("origin", origin).header("x-placet-form-token", token);
        Session { door, cookie, secret }
    }

    /// A session of a person that the operator invites.
    pub(crate) fn session_of(&self, person: &str) -> Session<'_> {
        self.sign_in(self.cli(["person", "invite", person]).succeeds().trim())
    }

    /// A new person in these groups.
    pub(crate) fn add_person(&self, name: &str, groups: &[&str]) {
        let groups = groups.iter().flat_map(|group| ["--group", group]);
        self.cli(["person", "add", name]).args(groups).succeeds();
    }

    /// The token of a new agent that Ada sponsors.
    pub(crate) fn add_agent(&self, name: &str) -> String {
        self.cli(["agent", "add", name, "--sponsor", "Ada"]).succeeds().trim().to_owned()
    }
}

impl Session<'_> {
    /// The review of a request, by id or code.
    pub(crate) fn review(&self, id: &str) -> Value {
        self.door.get(&format!("/v1/reviews/{id}")).expect(200).json()
    }

    /// A vote on what is shown now, not yet cast.
    pub(crate) fn ballot(&self, id: &str, verdict: &str) -> Value {
        let review = self.review(id);
        json!({
            "verdict": verdict,
            "reason": "read and weighed",
            "digest": review["request"]["digest"],
            "version": review["request"]["content_version"],
            "card": review["card_hash"],
        })
    }

    /// Casts a vote.
    pub(crate) fn cast(&self, id: &str, ballot: &Value) -> Answer {
        self.door.post(&format!("/v1/reviews/{id}/votes"), ballot)
    }

    /// Approves what is shown now.
    pub(crate) fn approve(&self, id: &str) -> Value {
        self.cast(id, &self.ballot(id, "approve")).expect(200).json()
    }

    /// The only request that waits for people.
    pub(crate) fn waiting(&self) -> String {
        crate::harness::eventually("a request that waits", || {
            let listed = self.door.get("/v1/reviews").expect(200).json();
            listed["reviews"][0]["request"]["id"].as_str().map(str::to_owned)
        })
    }
}

/// A call that deploys to an environment.
pub(crate) fn deploy(environment: &str, version: &str) -> Value {
    json!({
        "action": "example.deploy",
        "resource": { "type": "Example", "id": environment },
        "arguments": { "service": "shop", "version": version },
        "justification": "release day",
    })
}
