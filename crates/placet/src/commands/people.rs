//! `placet person` and `placet login`: people, over the admin socket.

use hyper::Method;
use placet_api::admin::{InvitationDocument, NewPersonRequest, PersonDocument, TokenDocument};

use crate::admin::{Admin, Body};
use crate::cli::operating::{NewPerson, Person, Token};
use crate::exit::{Exit, Failure};
use crate::output::{Output, plain, table};

/// Does it.
pub(crate) async fn run(command: Person, admin: &Admin, output: Output) -> Result<Exit, Failure> {
    match command {
        Person::Add(new) => {
            let person: PersonDocument = admin.post(&["people"], Body::Json(request(new).to_json())).await?;
            output.result(&person, || format!("{}  {}", person.id, plain(&person.name)))?;
            if !output.is_json() {
                output.say("Invite them with `placet person invite`, or `placet login` if they are you.");
            }
        }
        Person::Invite { who } => {
            let invitation: InvitationDocument = admin.post(&["people", &who, "invite"], Body::Empty).await?;
            show_link(&invitation, output)?;
        }
        Person::Disable { who } => {
            let person: PersonDocument = admin.post(&["people", &who, "disable"], Body::Empty).await?;
            output.result(&person, || {
                format!("{} is disabled: their access has ended.", plain(&person.name))
            })?;
        }
        Person::Erase { who } => {
            let person: PersonDocument = admin.post(&["people", &who, "erase"], Body::Empty).await?;
            output.result(&person, || format!("{} is erased: their key is destroyed.", person.id))?;
        }
        Person::Ls => {
            let people: Vec<PersonDocument> = admin.get(&["people"]).await?;
            output.result(&people, || listed(&people))?;
        }
        Person::Token(command) => token(command, admin, output).await?,
    }
    Ok(Exit::Done)
}

/// A link for the operator's own person.
pub(crate) async fn login(admin: &Admin, output: Output) -> Result<Exit, Failure> {
    let invitation: InvitationDocument = admin.post(&["login"], Body::Empty).await?;
    show_link(&invitation, output)?;
    Ok(Exit::Done)
}

async fn token(command: Token, admin: &Admin, output: Output) -> Result<(), Failure> {
    match command {
        Token::Add { who } => {
            let token: TokenDocument = admin.post(&["people", &who, "tokens"], Body::Empty).await?;
            output.result(&token, || token.token.clone().unwrap_or_default())?;
            if !output.is_json() {
                output.say(&format!(
                    "The token {} is shown this once and ends {}. It goes into PLACET_PERSON_TOKEN.",
                    token.id, token.expires_at
                ));
            }
            Ok(())
        }
        Token::Ls { who } => {
            let tokens: Vec<TokenDocument> = admin.get(&["people", &who, "tokens"]).await?;
            output.result(&tokens, || {
                let row = |token: &TokenDocument| {
                    [token.id.clone(), token.created_at.clone(), token.expires_at.clone()]
                };
                table(["ID", "MINTED", "ENDS"], &tokens.iter().map(row).collect::<Vec<_>>())
            })
        }
        Token::Revoke { id } => {
            admin.send(Method::DELETE, &["tokens", &id]).await?;
            output.result(&serde_json::json!({ "revoked": id }), || format!("{} has ended.", plain(&id)))
        }
    }
}

fn request(new: NewPerson) -> NewPersonRequest {
    NewPersonRequest { name: new.name, email: new.email, groups: new.groups, is_operator: new.operator }
}

/// The link alone is the data.
fn show_link(invitation: &InvitationDocument, output: Output) -> Result<(), Failure> {
    output.result(invitation, || invitation.url.clone())?;
    if !output.is_json() {
        let name = plain(&invitation.person.name);
        output.say(&format!(
            "Signs in {name}, once, until {}. Whoever opens it is {name} to placet.",
            invitation.expires_at
        ));
    }
    Ok(())
}

fn listed(people: &[PersonDocument]) -> String {
    let row = |person: &PersonDocument| {
        [
            person.id.clone(),
            plain(&person.name),
            plain(person.email.as_deref().unwrap_or("-")),
            person.groups.join(", "),
            person.operator_uid.map_or("-".to_owned(), |uid| uid.to_string()),
            if person.active { "active" } else { "disabled" }.to_owned(),
        ]
    };
    let rows: Vec<_> = people.iter().map(row).collect();
    table(["ID", "NAME", "E-MAIL", "GROUPS", "OPERATOR UID", "STATE"], &rows)
}
