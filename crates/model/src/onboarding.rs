//! Connecting a tenant by hand: what an administrator pasted, what is wrong with it at
//! sight, and what the organisation becomes by it.
//!
//! Called by the engine's `onboarding` and the page. Rule kept: what is pasted is not sent
//! anywhere before it looks right, and a secret only to Microsoft or to this machine.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    EmailAddress,
    doctor::{Cause, endpoint_fault, is_domain, is_guid, is_this_machine},
    mailbox::{AfterTaking, Opened, TakeFrom},
    organization::{Domain, DomainKind, Mailbox, Organization, Queue, Route},
    words::words,
};

words! {
    /// What is pasted.
    pub enum Field {
        /// What the integration is called.
        Name = "name",
        /// The directory (tenant) id, or a domain of the tenant.
        Tenant = "tenant",
        /// The token endpoint; made from cloud and tenant where it is left out.
        Endpoint = "endpoint",
        /// The application (client) id.
        ClientId = "client_id",
        /// The client secret's value.
        Secret = "secret",
    }
}

/// What an administrator pasted, as it came.
#[derive(Debug, Clone, Default)]
pub struct Pasted {
    /// What the integration is to be called.
    pub name: String,
    /// The directory (tenant) id, or a domain of the tenant.
    pub tenant: String,
    /// The token endpoint; may be empty.
    pub endpoint: String,
    /// The application (client) id.
    pub client_id: String,
    /// The client secret's value.
    pub secret: SecretString,
}

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Which.
    pub field: Field,
    /// What.
    pub cause: Cause,
}

/// What can be tried at Microsoft.
#[derive(Debug, Clone)]
pub struct Setup {
    /// What the integration is called.
    pub name: String,
    /// The token endpoint.
    pub token_endpoint: String,
    /// Where Graph is, if the endpoint is on this machine: a simulator is both.
    pub graph_url: Option<String>,
    /// The application.
    pub client_id: String,
    /// Its secret.
    pub secret: SecretString,
}

/// Takes off what is copied along: spaces, quotes, marks without width.
fn bare(text: &str) -> &str {
    let odd = |c: char| {
        c.is_whitespace()
            || c.is_control()
            || matches!(c, '"' | '\'' | '`' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' | '“' | '”')
    };
    text.trim_matches(odd)
}

/// Looks at what was pasted; `login` is the sign-in host of the chosen cloud, `logins` those of all clouds.
///
/// # Errors
/// Everything that is wrong at sight, in the order of the fields.
pub fn check(pasted: &Pasted, login: &str, logins: &[&str]) -> Result<Setup, Vec<Fault>> {
    let name = bare(&pasted.name);
    let (tenant, client_id) = (bare(&pasted.tenant), bare(&pasted.client_id));
    let (endpoint, secret) = (bare(&pasted.endpoint), bare(pasted.secret.expose_secret()));
    let mut faults = Vec::new();
    let mut wrong = |field, cause| faults.push(Fault { field, cause });
    if !is_name(name) {
        wrong(Field::Name, Cause::NameUnfit);
    }
    let is_left_out = tenant.is_empty() && !endpoint.is_empty();
    if !(is_guid(tenant) || is_domain(tenant) || is_left_out) {
        wrong(Field::Tenant, Cause::TenantShape);
    }
    let built = format!("{login}/{tenant}/oauth2/v2.0/token");
    let endpoint = if endpoint.is_empty() { built.as_str() } else { endpoint };
    let of_endpoint = tenant_of(endpoint);
    if !bare(&pasted.endpoint).is_empty() {
        if let Some(cause) = endpoint_fault(endpoint, login, logins) {
            wrong(Field::Endpoint, cause);
        } else if !logins.iter().any(|login| origin(endpoint) == *login) && !is_here(endpoint) {
            wrong(Field::Endpoint, Cause::EndpointStranger);
        } else if is_guid(tenant) && is_guid(of_endpoint) && !tenant.eq_ignore_ascii_case(of_endpoint) {
            wrong(Field::Endpoint, Cause::TenantsDiffer);
        }
    }
    if !is_guid(client_id) {
        wrong(Field::ClientId, Cause::ClientIdShape);
    } else if client_id.eq_ignore_ascii_case(tenant) || client_id.eq_ignore_ascii_case(of_endpoint) {
        wrong(Field::ClientId, Cause::ClientIdIsTenant);
    }
    if secret.is_empty() {
        wrong(Field::Secret, Cause::SecretMissing);
    } else if is_guid(secret) {
        wrong(Field::Secret, Cause::SecretId);
    } else if secret.contains("***") || secret.contains('…') || secret.contains('•') {
        wrong(Field::Secret, Cause::SecretMasked);
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(Setup {
        name: name.to_owned(),
        token_endpoint: endpoint.to_owned(),
        graph_url: is_here(endpoint).then(|| origin(endpoint).to_owned()),
        client_id: client_id.to_ascii_lowercase(),
        secret: SecretString::from(secret.to_owned()),
    })
}

/// The field in which a cause is mended that only Microsoft's answer showed; none if it is in no field.
pub fn field_of(cause: Cause) -> Option<Field> {
    Some(match cause {
        Cause::TenantUnknown | Cause::EndpointShared => Field::Tenant,
        Cause::EntraStranger | Cause::EndpointCloud | Cause::ScopeWrong => Field::Endpoint,
        Cause::ApplicationUnknown
        | Cause::ApplicationDisabled
        | Cause::ApplicationPublic
        | Cause::ConsentMissing => Field::ClientId,
        Cause::SecretWrong | Cause::SecretId | Cause::SecretExpired | Cause::CredentialMissing => {
            Field::Secret
        }
        _ => return None,
    })
}

fn origin(endpoint: &str) -> &str {
    let host = endpoint.find("://").map_or(0, |at| at + 3);
    endpoint[host..].find('/').map_or(endpoint, |end| &endpoint[..host + end])
}

fn tenant_of(endpoint: &str) -> &str {
    endpoint[origin(endpoint).len()..].split('/').nth(1).unwrap_or_default()
}

fn is_here(endpoint: &str) -> bool {
    origin(endpoint).split_once("://").is_some_and(|(_, host)| is_this_machine(host))
}

/// Whether it is a name that people read: one line, something in it, at most 100 characters.
pub fn is_name(text: &str) -> bool {
    let name = text.trim();
    !name.is_empty() && name.chars().count() <= 100 && !name.chars().any(char::is_control)
}

/// Reads addresses, one a line or with commas or semicolons between.
///
/// # Errors
/// The first that is none.
pub fn read_addresses(text: &str) -> Result<Vec<EmailAddress>, String> {
    let mut addresses: Vec<EmailAddress> = Vec::new();
    let between = |c: char| c.is_whitespace() || matches!(c, ',' | ';' | '、');
    for word in text.split(between).map(bare).filter(|word| !word.is_empty()) {
        let word = word.trim_start_matches('<').trim_end_matches('>');
        let read = word.parse::<EmailAddress>().ok().filter(|address| {
            is_domain(address.domain()) && !address.as_str().contains(['<', '>', '"', '(', ')'])
        });
        let Some(address) = read else { return Err(word.to_owned()) };
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

/// Mailboxes that are to be connected, and where their mail goes.
#[derive(Debug, Clone)]
pub struct NewMailboxes {
    /// The integration through which they are reached.
    pub integration: String,
    /// Their addresses.
    pub addresses: Vec<EmailAddress>,
    /// The queue in which their mail waits; made if it is not there.
    pub queue: String,
    /// Who serves the queue beside those who do already.
    pub members: BTreeSet<EmailAddress>,
    /// With which codes conversations of a new queue end.
    pub wrap_up_codes: Vec<String>,
    /// From when on mails are taken.
    pub take_from: TakeFrom,
}

/// Mailboxes can't be connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinFault {
    /// No address was given.
    NoAddress,
    /// The queue has no name.
    NoQueue,
    /// A mailbox is connected through another integration.
    Elsewhere {
        /// Which mailbox.
        address: EmailAddress,
        /// Through which integration.
        integration: String,
    },
}

/// How long agents of a new queue are alerted.
const ALERTING_TIMEOUT: SignedDuration = SignedDuration::from_secs(60);

/// The organisation with these mailboxes, their domains, routes and queue. What is there already stays as
/// it is, a route of another queue included.
///
/// # Errors
/// See [`JoinFault`].
pub fn join(present: &Organization, new: &NewMailboxes) -> Result<Organization, JoinFault> {
    if new.addresses.is_empty() {
        return Err(JoinFault::NoAddress);
    }
    if !is_name(&new.queue) {
        return Err(JoinFault::NoQueue);
    }
    let mut organization = present.clone();
    let queue_name = new.queue.trim();
    match organization.queues.iter_mut().find(|queue| queue.name == queue_name) {
        Some(queue) => queue.members.extend(new.members.iter().cloned()),
        None => organization.queues.push(Queue {
            name: queue_name.to_owned(),
            alerting_timeout: ALERTING_TIMEOUT,
            members: new.members.clone(),
            wrap_up_codes: new.wrap_up_codes.clone(),
        }),
    }
    for address in &new.addresses {
        match organization.mailboxes.iter().find(|mailbox| mailbox.address == *address) {
            Some(known) if known.integration != new.integration => {
                return Err(JoinFault::Elsewhere {
                    address: address.clone(),
                    integration: known.integration.clone(),
                });
            }
            Some(_) => {}
            None => organization.mailboxes.push(Mailbox {
                address: address.clone(),
                integration: new.integration.clone(),
                folders: BTreeSet::from(["inbox".to_owned()]),
                take_from: new.take_from,
                after_taking: AfterTaking::MarkRead,
                opened: Opened::Take,
            }),
        }
        let domain = address.domain();
        if !organization.domains.iter().any(|known| known.name == domain) {
            organization.domains.push(Domain {
                name: domain.to_owned(),
                kind: DomainKind::Inbound,
                integration: new.integration.clone(),
            });
        }
        if !organization.routes.iter().any(|route| route.address == *address) {
            organization.routes.push(Route {
                address: address.clone(),
                queue: queue_name.to_owned(),
                skills: BTreeSet::new(),
                language: None,
                priority: 0,
                from_name: None,
            });
        }
    }
    Ok(organization)
}

/// What the organisation file would say of an integration, its domains, routes and queues, in its own
/// form; credentials aside.
pub fn declaration(organization: &Organization, integration: &str) -> String {
    let mut text = String::new();
    let mut line = |words: &str| {
        text.push_str(words);
        text.push('\n');
    };
    line("integrations:");
    for one in organization.integrations.iter().filter(|one| one.name == integration) {
        line(&format!("  - name: {}", quoted(&one.name)));
        line(&format!("    kind: {}", one.kind));
        line(&format!("    token_endpoint: {}", quoted(&one.token_endpoint)));
        line(&format!("    client_id: {}", quoted(&one.client_id)));
        line(&format!("    cloud: {}", one.cloud));
        if let Some(url) = &one.graph_url {
            line(&format!("    graph_url: {}", quoted(url)));
        }
        line("    mailboxes:");
        for mailbox in organization.mailboxes.iter().filter(|mailbox| mailbox.integration == integration) {
            let from = match mailbox.take_from {
                TakeFrom::Activation => String::new(),
                TakeFrom::Date(at) => format!(", take_from: {}", at.strftime("%Y-%m-%d")),
            };
            line(&format!("      - {{ address: {}{from} }}", quoted(mailbox.address.as_str())));
        }
    }
    line("domains:");
    let name = quoted(integration);
    for domain in organization.domains.iter().filter(|domain| domain.integration == integration) {
        line(&format!(
            "  - {{ name: {}, kind: {}, integration: {name} }}",
            quoted(&domain.name),
            domain.kind
        ));
    }
    let is_own = |route: &&Route| {
        let of = |mailbox: &&Mailbox| mailbox.address == route.address;
        organization.mailboxes.iter().find(of).is_some_and(|mailbox| mailbox.integration == integration)
    };
    let routes: Vec<&Route> = organization.routes.iter().filter(is_own).collect();
    line("routes:");
    for route in &routes {
        line(&format!(
            "  - {{ address: {}, queue: {} }}",
            quoted(route.address.as_str()),
            quoted(&route.queue)
        ));
    }
    line("queues:");
    for queue in
        organization.queues.iter().filter(|queue| routes.iter().any(|route| route.queue == queue.name))
    {
        let members: Vec<_> = queue.members.iter().map(|member| quoted(member.as_str())).collect();
        let codes: Vec<_> = queue.wrap_up_codes.iter().map(|code| quoted(code)).collect();
        line(&format!(
            "  - {{ name: {}, members: [{}], wrap_up_codes: [{}] }}",
            quoted(&queue.name),
            members.join(", "),
            codes.join(", ")
        ));
    }
    text
}

/// A text of one line as YAML takes it whatever is in it (<https://yaml.org/spec/1.2.2/#731-double-quoted-style>).
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGIN: &str = "https://login.microsoftonline.com";
    const LOGINS: [&str; 2] = [LOGIN, "https://login.microsoftonline.us"];
    const TENANT: &str = "11111111-1111-1111-1111-111111111111";
    const CLIENT: &str = "22222222-2222-2222-2222-222222222222";

    fn pasted() -> Pasted {
        Pasted {
            name: "Contoso".into(),
            tenant: TENANT.into(),
            endpoint: String::new(),
            client_id: CLIENT.into(),
            secret: SecretString::from("a~secret.value"),
        }
    }

    fn faults(pasted: &Pasted) -> Vec<(Field, Cause)> {
        check(pasted, LOGIN, &LOGINS).err().unwrap_or_default().iter().map(|f| (f.field, f.cause)).collect()
    }

    #[test]
    fn what_is_right_is_cleaned_of_what_was_copied_along() {
        let setup = check(
            &Pasted {
                tenant: format!(" {TENANT}\n"),
                client_id: format!("\u{feff}\"{}\"", CLIENT.to_uppercase()),
                secret: SecretString::from(" a~secret.value\u{200b}"),
                ..pasted()
            },
            LOGIN,
            &LOGINS,
        )
        .unwrap();
        assert_eq!(setup.token_endpoint, format!("{LOGIN}/{TENANT}/oauth2/v2.0/token"));
        assert_eq!((setup.client_id.as_str(), setup.graph_url), (CLIENT, None));
        assert_eq!(setup.secret.expose_secret(), "a~secret.value");
    }

    #[test]
    fn an_endpoint_alone_is_enough_and_a_simulator_of_this_machine_is_graph_as_well() {
        let endpoint = format!("http://127.0.0.1:8099/{TENANT}/oauth2/v2.0/token");
        let setup = check(&Pasted { tenant: String::new(), endpoint, ..pasted() }, LOGIN, &LOGINS).unwrap();
        assert_eq!(setup.graph_url.as_deref(), Some("http://127.0.0.1:8099"));
    }

    #[test]
    fn each_wrong_paste_is_named_at_its_field() {
        use Cause::*;
        let endpoint = |endpoint: &str| Pasted { endpoint: endpoint.to_owned(), ..pasted() };
        let secret = |text: &str| Pasted { secret: SecretString::from(text.to_owned()), ..pasted() };
        let client = |text: &str| Pasted { client_id: text.to_owned(), ..pasted() };
        let tenant = |text: &str| Pasted { tenant: text.to_owned(), ..pasted() };
        for (pasted, field, cause) in [
            (Pasted { name: " ".into(), ..pasted() }, Field::Name, NameUnfit),
            (tenant(""), Field::Tenant, TenantShape),
            (tenant("Contoso Ltd"), Field::Tenant, TenantShape),
            (endpoint(&format!("{LOGIN}/{TENANT}/oauth2/token")), Field::Endpoint, EndpointV1),
            (endpoint(&format!("{LOGIN}/{TENANT}")), Field::Endpoint, EndpointPath),
            (endpoint(&format!("{LOGIN}/common/oauth2/v2.0/token")), Field::Endpoint, EndpointShared),
            (
                endpoint(&format!("https://login.microsoftonline.us/{TENANT}/oauth2/v2.0/token")),
                Field::Endpoint,
                EndpointCloud,
            ),
            (endpoint(&format!("{LOGIN}/{CLIENT}/oauth2/v2.0/token")), Field::Endpoint, TenantsDiffer),
            (
                endpoint(&format!("https://login.evil.example/{TENANT}/oauth2/v2.0/token")),
                Field::Endpoint,
                EndpointStranger,
            ),
            (
                endpoint(&format!("https://[2001:db8::1]/{TENANT}/oauth2/v2.0/token")),
                Field::Endpoint,
                EndpointStranger,
            ),
            (client("Postroom"), Field::ClientId, ClientIdShape),
            (client(TENANT), Field::ClientId, ClientIdIsTenant),
            (secret(""), Field::Secret, SecretMissing),
            (secret("33333333-3333-3333-3333-333333333333"), Field::Secret, SecretId),
            (secret("abc*****************"), Field::Secret, SecretMasked),
        ] {
            assert_eq!(faults(&pasted).first(), Some(&(field, cause)), "{pasted:?}");
        }
        assert_eq!(faults(&Pasted::default()).len(), 4, "everything is said at once");
    }

    #[test]
    fn addresses_come_as_people_paste_them() {
        let read =
            read_addresses("support@contoso.example; <Sales@contoso.example>\n\nsupport@contoso.example")
                .unwrap();
        assert_eq!(
            read.iter().map(EmailAddress::as_str).collect::<Vec<_>>(),
            ["support@contoso.example", "sales@contoso.example"]
        );
        assert_eq!(read_addresses("support@contoso.example, Support"), Err("Support".into()));
        assert_eq!(read_addresses("a@localhost"), Err("a@localhost".into()));
    }

    #[test]
    fn joining_adds_what_is_missing_and_changes_nothing_else() {
        let new = NewMailboxes {
            integration: "contoso".into(),
            addresses: vec!["support@contoso.example".parse().unwrap()],
            queue: " Support ".into(),
            members: BTreeSet::from(["ann@contoso.example".parse().unwrap()]),
            wrap_up_codes: vec!["Solved".into()],
            take_from: TakeFrom::Activation,
        };
        let once = join(&Organization::default(), &new).unwrap();
        assert_eq!(
            (once.queues[0].name.as_str(), once.domains[0].name.as_str()),
            ("Support", "contoso.example")
        );
        assert_eq!((once.mailboxes.len(), once.routes[0].queue.as_str()), (1, "Support"));
        assert_eq!(join(&once, &new).unwrap(), once);
        let other = NewMailboxes { integration: "other".into(), ..new.clone() };
        assert!(matches!(join(&once, &other), Err(JoinFault::Elsewhere { .. })));
        assert_eq!(
            join(&once, &NewMailboxes { addresses: vec![], ..new.clone() }),
            Err(JoinFault::NoAddress)
        );
        assert_eq!(join(&once, &NewMailboxes { queue: String::new(), ..new }), Err(JoinFault::NoQueue));
    }
}
