//! `placet pep`: enforcement points with credentials of their own, over the admin socket.

use placet_api::admin::{NewPepRequest, PepCredential, PepDocument};
use placet_core::action::PepKind;

use crate::admin::{Admin, Body};
use crate::cli::operating::{Pep, PepKindName};
use crate::exit::{Exit, Failure};
use crate::output::{Output, plain, table};

/// Does it.
pub(crate) async fn run(command: Pep, admin: &Admin, output: Output) -> Result<Exit, Failure> {
    match command {
        Pep::Add { name, kind, sponsor } => {
            let kind = match kind {
                PepKindName::Command => PepKind::Command,
                PepKindName::Mcp => PepKind::Mcp,
            };
            let body = NewPepRequest { name, kind, sponsor }.to_json();
            let credential: PepCredential = admin.post(&["peps"], Body::Json(body)).await?;
            show_token(&credential, output)?;
        }
        Pep::Rotate { which } => {
            let credential: PepCredential = admin.post(&["peps", &which, "rotate"], Body::Empty).await?;
            show_token(&credential, output)?;
        }
        Pep::Revoke { which } => {
            let pep: PepDocument = admin.post(&["peps", &which, "revoke"], Body::Empty).await?;
            output.result(&pep, || {
                format!("{} is revoked: its token opens nothing any more.", plain(&pep.name))
            })?;
        }
        Pep::Ls => {
            let peps: Vec<PepDocument> = admin.get(&["peps"]).await?;
            output.result(&peps, || listed(&peps))?;
        }
    }
    Ok(Exit::Done)
}

/// The token alone is the data: it can be written where it belongs.
fn show_token(credential: &PepCredential, output: Output) -> Result<(), Failure> {
    output.result(credential, || credential.token.clone())?;
    if !output.is_json() {
        let name = plain(&credential.pep.name);
        output.say(&format!(
            "The token of {name} is shown this once. Write it to a file of mode 0600 on its machine, for `placet gateway \
             --pep-token-file`."
        ));
    }
    Ok(())
}

fn listed(peps: &[PepDocument]) -> String {
    let row = |pep: &PepDocument| {
        [
            pep.id.clone(),
            plain(&pep.name),
            pep.kind.clone(),
            plain(&pep.sponsor),
            if pep.active { "active" } else { "revoked" }.to_owned(),
        ]
    };
    let rows: Vec<_> = peps.iter().map(row).collect();
    table(["ID", "NAME", "KIND", "SPONSOR", "STATE"], &rows)
}
