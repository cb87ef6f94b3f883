//! The agents' door, as an enforcement point outside of placet's own process uses it.

use std::time::Duration;

use placet_core::secret::Secret;

use super::agents::waiting;
use super::error::ClientError;
use super::http::{Call, Door};
use crate::pep::{
    AbandonRequest, CallerDocument, GuideDocument, GuideRequest, HeldDocument, HeldList, InterceptedRequest,
    PepClaim, PepDocument, PepOutcome, TakenIn,
};
use crate::request::RequestDocument;

/// The agents' door with the bearer token of an enforcement point. Calls on an agent's behalf take that agent's token.
#[derive(Debug)]
pub struct Peps {
    door: Door,
}

impl Peps {
    /// The door at this address. Secrets come through it: plain HTTP goes no further than this machine.
    pub fn new(url: &str, token: Secret) -> Result<Self, ClientError> {
        let door = Door::new(url, token)?;
        if !door.is_private() {
            let rule = "secrets would travel in clear: write https://, or the address of this machine";
            return Err(ClientError::Configuration(rule.to_owned()));
        }
        Ok(Peps { door })
    }

    /// Who this enforcement point is.
    pub async fn whoami(&self) -> Result<PepDocument, ClientError> {
        self.door.json(Call::get(self.door.url(&["v1", "pep"], &[])?)).await
    }

    /// Whose token this is.
    pub async fn caller(&self, agent: &Secret) -> Result<CallerDocument, ClientError> {
        self.door.json(Call::get(self.door.url(&["v1", "pep", "caller"], &[])?).on_behalf_of(agent)).await
    }

    /// What the bundle in force says about a command. With an agent's token it is refused if that agent calls too often.
    pub async fn guide(
        &self,
        agent: Option<&Secret>,
        guide: &GuideRequest,
    ) -> Result<GuideDocument, ClientError> {
        let url = self.door.url(&["v1", "pep", "guide"], &[])?;
        let call = Call::post(url, guide.to_json());
        self.door.json(agent.into_iter().fold(call, Call::on_behalf_of)).await
    }

    /// Hands in what an agent asked for.
    pub async fn submit(&self, agent: &Secret, call: &InterceptedRequest) -> Result<TakenIn, ClientError> {
        let url = self.door.url(&["v1", "pep", "requests"], &[])?;
        self.door.json(Call::post(url, call.to_json()).on_behalf_of(agent)).await
    }

    /// A request that was taken in here, as soon as it is newer than this version or the time is up.
    pub async fn wait(
        &self,
        agent: &Secret,
        id: &str,
        newer_than: u64,
        wait: Duration,
    ) -> Result<RequestDocument, ClientError> {
        let mut query = waiting(wait);
        query.push(("version", newer_than.to_string()));
        let url = self.door.url(&["v1", "pep", "requests", id], &query)?;
        self.door.json(Call::get(url).waiting(wait).on_behalf_of(agent)).await
    }

    /// Redeems the grant of a request that was taken in here.
    pub async fn claim(
        &self,
        agent: &Secret,
        id: &str,
        claim: &PepClaim,
    ) -> Result<HeldDocument, ClientError> {
        let url = self.door.url(&["v1", "pep", "requests", id, "execution"], &[])?;
        self.door.json(Call::post(url, claim.to_json()).on_behalf_of(agent)).await
    }

    /// Says what became of an execution of its own.
    pub async fn outcome(&self, id: &str, outcome: &PepOutcome) -> Result<(), ClientError> {
        let url = self.door.url(&["v1", "pep", "requests", id, "outcome"], &[])?;
        self.door.send(Call::post(url, outcome.to_json())).await.map(drop)
    }

    /// Says that nobody knows what became of an execution of its own.
    pub async fn abandon(&self, id: &str, abandoned: &AbandonRequest) -> Result<(), ClientError> {
        let url = self.door.url(&["v1", "pep", "requests", id, "abandonment"], &[])?;
        self.door.send(Call::post(url, abandoned.to_json())).await.map(drop)
    }

    /// Withdraws a request that was taken in here.
    pub async fn cancel(&self, agent: &Secret, id: &str) -> Result<RequestDocument, ClientError> {
        let url = self.door.url(&["v1", "pep", "requests", id, "cancel"], &[])?;
        self.door.json(Call::post(url, "{}".to_owned()).on_behalf_of(agent)).await
    }

    /// Every execution that this enforcement point holds.
    pub async fn executions(&self) -> Result<HeldList, ClientError> {
        self.door.json(Call::get(self.door.url(&["v1", "pep", "executions"], &[])?)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_leave_the_machine_encrypted_or_not_at_all() {
        for (url, good) in [
            ("https://placet.example", true),
            ("http://localhost:7071", true),
            ("http://127.0.0.1:7071", true),
            ("http://[::1]:7071", true),
            ("http://placet.example", false),
            ("http://127.0.0.1.placet.example", false),
            ("http://localhost.example:7071", false),
            ("http://10.0.0.1:7071", false),
        ] {
            assert_eq!(Peps::new(url, Secret::new("x")).is_ok(), good, "{url}");
        }
    }
}
