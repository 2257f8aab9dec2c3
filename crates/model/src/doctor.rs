//! What the doctor asks about an integration and its mailboxes, what it can find,
//! and the causes that it knows by name.
//!
//! The engine's `doctor` fills this in; commands and pages show it, each cause with what it means
//! and what to do, from the catalogue. Rule kept: nothing counts as well that was not seen to be.

use serde::Serialize;

use crate::words::words;

words! {
    /// One question about a set-up, in the order in which they are asked.
    pub enum Check {
        /// The token endpoint is a v2 one of one tenant in the right cloud.
        TokenEndpoint = "token_endpoint",
        /// Entra ID answers at it.
        EntraReached = "entra_reached",
        /// A credential gets a token.
        Credential = "credential",
        /// Our clock and Microsoft's agree.
        Clock = "clock",
        /// Delegated `User.Read`, which the original product asks for.
        UserRead = "user_read",
        /// Secrets, certificates and mails can be sealed, written and read.
        Storage = "storage",
        /// There is room where the store lies.
        Space = "space",
        /// Our address is one that Microsoft can call, and this server answers there.
        PublicUrl = "public_url",
        /// A mailbox that the application must not reach is refused to it.
        Scope = "scope",
        /// The mailbox is there, licensed, and may be used.
        Mailbox = "mailbox",
        /// A watched folder is found.
        Folder = "folder",
        /// Mails can be read.
        Read = "read",
        /// Mails can be marked as read.
        MarkRead = "mark_read",
        /// The mailbox answers for the address under which it is connected.
        Address = "address",
        /// Whose mailbox it is.
        Kind = "kind",
        /// Microsoft's own handshake with our address.
        Handshake = "handshake",
        /// A new message is announced to us and arrives.
        Notification = "notification",
        /// Mails can be sent.
        Send = "send",
    }
}

words! {
    /// What came of a question.
    pub enum Verdict {
        /// It is well.
        Yes = "yes",
        /// It is not; the cause says why.
        No = "no",
        /// It could not be seen; the cause says why.
        CantTell = "cant_tell",
    }
}

words! {
    /// Why something is not well, or can't be told.
    pub enum Cause {
        /// The token endpoint is not a URL.
        EndpointUnreadable = "endpoint_unreadable",
        /// It is an endpoint of version 1.
        EndpointV1 = "endpoint_v1",
        /// It is the page where people sign in.
        EndpointAuthorize = "endpoint_authorize",
        /// It leads to something else.
        EndpointPath = "endpoint_path",
        /// It names no tenant of its own (`common`, `organizations`, `consumers`).
        EndpointShared = "endpoint_shared",
        /// What should be the tenant is neither an id nor a domain.
        EndpointTenant = "endpoint_tenant",
        /// It belongs to another cloud than the one that is set.
        EndpointCloud = "endpoint_cloud",
        /// It would be asked without TLS.
        EndpointInsecure = "endpoint_insecure",
        /// It is not an address of Microsoft's.
        EndpointStranger = "endpoint_stranger",
        /// It names another tenant than the one that was given.
        TenantsDiffer = "tenants_differ",
        /// What should be a tenant is neither an id nor a domain.
        TenantShape = "tenant_shape",
        /// What should be a name is empty, too long, or not one line.
        NameUnfit = "name_unfit",
        /// The name is taken.
        NameTaken = "name_taken",
        /// What should be a client id is no id.
        ClientIdShape = "client_id_shape",
        /// What should be the client id is the tenant's id.
        ClientIdIsTenant = "client_id_is_tenant",
        /// There is no secret.
        SecretMissing = "secret_missing",
        /// What was entered is how the portal shows a secret that it hides.
        SecretMasked = "secret_masked",
        /// Its name has no address.
        EntraName = "entra_name",
        /// Nobody listens there, or a firewall says no.
        EntraRefused = "entra_refused",
        /// Its certificate is not trusted here.
        EntraCertificate = "entra_certificate",
        /// No answer comes.
        EntraSilent = "entra_silent",
        /// Something else than Entra ID answers.
        EntraStranger = "entra_stranger",
        /// Entra ID has trouble of its own.
        EntraTrouble = "entra_trouble",
        /// There is no such tenant in this cloud.
        TenantUnknown = "tenant_unknown",
        /// The client id is that of no application of the tenant.
        ApplicationUnknown = "application_unknown",
        /// The application is disabled.
        ApplicationDisabled = "application_disabled",
        /// The application has no service principal in the tenant: nobody consented.
        ConsentMissing = "consent_missing",
        /// The application is registered as a public client.
        ApplicationPublic = "application_public",
        /// There is no credential.
        CredentialMissing = "credential_missing",
        /// The secret is wrong.
        SecretWrong = "secret_wrong",
        /// What was entered is the secret's id, not its value.
        SecretId = "secret_id",
        /// The secret has expired.
        SecretExpired = "secret_expired",
        /// The certificate is not one of the application's.
        CertificateUnknown = "certificate_unknown",
        /// The certificate has expired.
        CertificateExpired = "certificate_expired",
        /// The assertion is outside its time.
        AssertionTime = "assertion_time",
        /// The assertion is not valid.
        AssertionInvalid = "assertion_invalid",
        /// No federated credential of the application fits the token file.
        FederationUnknown = "federation_unknown",
        /// The token file can't be read.
        TokenFile = "token_file",
        /// The scope is not one of this cloud.
        ScopeWrong = "scope_wrong",
        /// Conditional access blocks the application.
        ConditionalAccess = "conditional_access",
        /// Entra ID saw too many identical requests.
        TokenLoop = "token_loop",
        /// Entra ID refused for another reason.
        TokenRefused = "token_refused",
        /// Our clock is wrong.
        ClockWrong = "clock_wrong",
        /// Graph does not accept the token.
        GraphRejects = "graph_rejects",
        /// Graph's name has no address.
        GraphName = "graph_name",
        /// Nobody listens at Graph's address, or a firewall says no.
        GraphRefused = "graph_refused",
        /// Graph's certificate is not trusted here.
        GraphCertificate = "graph_certificate",
        /// Graph does not answer.
        GraphSilent = "graph_silent",
        /// Graph has trouble of its own.
        GraphTrouble = "graph_trouble",
        /// Graph asks for patience.
        Throttled = "throttled",
        /// Neither consent nor a role in Exchange lets the application read mails.
        ReadMissing = "read_missing",
        /// Mails can be listed, but their content is not to be read.
        ContentMissing = "content_missing",
        /// Mails can be read, but not changed.
        WriteMissing = "write_missing",
        /// An application access policy keeps the application from this mailbox.
        PolicyBlocks = "policy_blocks",
        /// Nobody has this address.
        MailboxUnknown = "mailbox_unknown",
        /// The mailbox has no licence, or lies outside Exchange Online.
        MailboxUnlicensed = "mailbox_unlicensed",
        /// The mailbox is full.
        MailboxFull = "mailbox_full",
        /// The mailbox has another address of its own.
        AddressDiffers = "address_differs",
        /// There is no folder of this name.
        FolderMissing = "folder_missing",
        /// Our address is without TLS.
        PublicInsecure = "public_insecure",
        /// Our address can only be reached from inside.
        PublicPrivate = "public_private",
        /// Our address's name has no address.
        PublicName = "public_name",
        /// Nobody listens at our address.
        PublicRefused = "public_refused",
        /// The certificate at our address is not trusted.
        PublicCertificate = "public_certificate",
        /// Nothing answers at our address.
        PublicSilent = "public_silent",
        /// Something else answers at our address.
        PublicStranger = "public_stranger",
        /// Microsoft could not shake hands with our address.
        HandshakeFailed = "handshake_failed",
        /// Graph refused the subscription for another reason.
        SubscriptionRefused = "subscription_refused",
        /// The message was not announced in time.
        NotAnnounced = "not_announced",
        /// The mailbox is paused, or not activated yet.
        NotActive = "not_active",
        /// No server is running.
        ServerNotRunning = "server_not_running",
        /// The application reaches a mailbox that it should not.
        ScopeOpen = "scope_open",
        /// The mailbox that should be refused is none.
        ScopeUnknown = "scope_unknown",
        /// The application may not send.
        SendMissing = "send_missing",
        /// A mail that Microsoft took did not arrive in time.
        NotArrived = "not_arrived",
        /// A disk is nearly full.
        SpaceLow = "space_low",
        /// How much room there is can't be seen.
        SpaceUntold = "space_untold",
        /// Entra ID did not tell its time.
        ClockUntold = "clock_untold",
        /// Graph did not tell the address of the message that was made.
        AddressUntold = "address_untold",
        /// The storage fails.
        StorageFails = "storage_fails",
        /// It is not tried.
        NotTried = "not_tried",
        /// It takes a permission that is not needed otherwise.
        PermissionNotNeeded = "permission_not_needed",
        /// Only an administrator's own sign-in would show it, and nothing needs it.
        SignInNeeded = "sign_in_needed",
        /// Something before it failed.
        NeedsEarlier = "needs_earlier",
    }
}

/// One line of what the doctor says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was asked.
    pub check: Check,
    /// The mailbox concerned, if it is about one.
    pub mailbox: Option<String>,
    /// Which credential, folder or mailbox beyond that.
    pub about: Option<String>,
    /// What came of it.
    pub verdict: Verdict,
    /// Why, unless it is well.
    pub cause: Option<Cause>,
    /// What Microsoft or the system answered, word for word but without addresses.
    pub answer: Option<String>,
    /// What else is worth knowing: a date, a kind, a list of roles.
    pub detail: Option<String>,
}

impl Finding {
    /// It is well.
    pub fn yes(check: Check) -> Self {
        Self::new(check, Verdict::Yes, None)
    }

    /// It is not well.
    pub fn no(check: Check, cause: Cause) -> Self {
        Self::new(check, Verdict::No, Some(cause))
    }

    /// It could not be seen.
    pub fn cant_tell(check: Check, cause: Cause) -> Self {
        Self::new(check, Verdict::CantTell, Some(cause))
    }

    fn new(check: Check, verdict: Verdict, cause: Option<Cause>) -> Self {
        Self { check, mailbox: None, about: None, verdict, cause, answer: None, detail: None }
    }

    /// Whether it says no more than its verdict.
    pub fn is_bare(&self) -> bool {
        self.about.is_none() && self.cause.is_none() && self.answer.is_none() && self.detail.is_none()
    }

    /// The same about this mailbox.
    pub fn of_mailbox(self, address: &str) -> Self {
        Self { mailbox: Some(address.to_owned()), ..self }
    }

    /// The same about this thing.
    pub fn about(self, name: &str) -> Self {
        Self { about: Some(name.to_owned()), ..self }
    }

    /// The same with what was answered.
    pub fn answered(self, answer: impl Into<String>) -> Self {
        Self { answer: Some(answer.into()), ..self }
    }

    /// The same with what else is worth knowing.
    pub fn with_detail(self, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }
}

/// What is wrong with a token endpoint before anybody is asked; `own_login` is the sign-in host of the
/// cloud that is set, `logins` those of all clouds.
/// <https://learn.microsoft.com/en-us/entra/identity-platform/v2-oauth2-client-creds-grant-flow>
pub fn endpoint_fault(endpoint: &str, own_login: &str, logins: &[&str]) -> Option<Cause> {
    let Some((scheme, rest)) = endpoint.trim().split_once("://") else {
        return Some(Cause::EndpointUnreadable);
    };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if host.split(':').next().is_none_or(str::is_empty) || endpoint.contains(char::is_whitespace) {
        return Some(Cause::EndpointUnreadable);
    }
    if scheme != "https" && !is_this_machine(host) {
        return Some(Cause::EndpointInsecure);
    }
    let own = own_login.trim_start_matches("https://");
    if host != own && logins.iter().any(|login| login.trim_start_matches("https://") == host) {
        return Some(Cause::EndpointCloud);
    }
    let (tenant, kind) = path.split_once('/').unwrap_or((path, ""));
    match kind.trim_end_matches('/') {
        "oauth2/v2.0/token" => {}
        "oauth2/token" => return Some(Cause::EndpointV1),
        "oauth2/v2.0/authorize" | "oauth2/authorize" => return Some(Cause::EndpointAuthorize),
        _ => return Some(Cause::EndpointPath),
    }
    match tenant.to_ascii_lowercase().as_str() {
        "common" | "organizations" | "consumers" => Some(Cause::EndpointShared),
        tenant if is_guid(tenant) || is_domain(tenant) => None,
        _ => Some(Cause::EndpointTenant),
    }
}

/// Whether a host, with or without a port, is this machine itself.
pub fn is_this_machine(host: &str) -> bool {
    let name = match host.split_once(']') {
        Some((ip, _)) => ip.trim_start_matches('['),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost" || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

/// Whether a text has the shape of an id of Entra ID, as secrets never have.
pub fn is_guid(text: &str) -> bool {
    uuid::Uuid::try_parse(text).is_ok() && text.len() == 36
}

/// Whether a text has the shape of a domain on the internet.
pub(crate) fn is_domain(text: &str) -> bool {
    let is_label =
        |label: &str| !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    text.contains('.') && text.split('.').all(is_label)
}

/// What a refusal of Entra ID means; `looks_like_id` if the secret has the shape of an id.
/// <https://learn.microsoft.com/en-us/entra/identity-platform/reference-error-codes>
pub fn cause_of_aadsts(code: u32, looks_like_id: bool) -> Cause {
    match code {
        7_000_215 if looks_like_id => Cause::SecretId,
        7_000_215 => Cause::SecretWrong,
        7_000_222 => Cause::SecretExpired,
        700_016 => Cause::ApplicationUnknown,
        7_000_112 => Cause::ApplicationDisabled,
        7_000_229 | 65_001 | 90_094 | 90_008 => Cause::ConsentMissing,
        90_002 | 900_023 => Cause::TenantUnknown,
        50_194 | 9_001_023 => Cause::EndpointShared,
        700_027 => Cause::CertificateUnknown,
        700_024 => Cause::AssertionTime,
        50_013 => Cause::AssertionInvalid,
        70_021 | 700_211 | 700_212 | 700_213 => Cause::FederationUnknown,
        7_000_218 => Cause::CredentialMissing,
        700_025 => Cause::ApplicationPublic,
        70_011 | 1_002_012 | 500_011 | 28_000 => Cause::ScopeWrong,
        53_003 | 530_034 | 530_035 => Cause::ConditionalAccess,
        50_196 => Cause::TokenLoop,
        90_033 | 90_012 | 90_055 | 90_006 | 90_024 | 50_012 => Cause::EntraTrouble,
        _ => Cause::TokenRefused,
    }
}

/// A text as PowerShell takes it whatever is in it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The older PowerShell that limits an application to these mailboxes while its organisation-wide consent
/// stays, and tests it: a group that holds them, and an access policy.
/// <https://learn.microsoft.com/en-us/exchange/permissions-exo/application-access-policies>
pub fn policy_commands(client_id: &str, mailboxes: &[String]) -> Vec<String> {
    let app = quoted(client_id);
    let members: Vec<String> = mailboxes.iter().map(|mailbox| quoted(mailbox)).collect();
    let mut lines = vec![
        "Connect-ExchangeOnline".to_owned(),
        format!("New-DistributionGroup -Name 'Postroom' -Type Security -Members {}", members.join(",")),
        format!(
            "New-ApplicationAccessPolicy -AppId {app} -PolicyScopeGroupId 'Postroom' -AccessRight RestrictAccess \
             -Description 'Postroom'"
        ),
    ];
    lines.extend(
        members
            .iter()
            .map(|mailbox| format!("Test-ApplicationAccessPolicy -AppId {app} -Identity {mailbox}")),
    );
    lines
}

/// The PowerShell for Exchange Online that limits an application to these mailboxes, and tests it.
/// <https://learn.microsoft.com/en-us/exchange/permissions-exo/application-rbac>
pub fn scoping_commands(client_id: &str, object_id: &str, mailboxes: &[String]) -> Vec<String> {
    let (app, object) = (quoted(client_id), quoted(object_id));
    let mut lines = vec![
        "Connect-ExchangeOnline".to_owned(),
        format!("New-ServicePrincipal -AppId {app} -ObjectId {object} -DisplayName 'Postroom'"),
    ];
    lines.extend(
        mailboxes
            .iter()
            .map(|mailbox| format!("Set-Mailbox {} -CustomAttribute15 'postroom'", quoted(mailbox))),
    );
    lines.push(
        "New-ManagementScope -Name 'Postroom' -RecipientRestrictionFilter \"CustomAttribute15 -eq 'postroom'\""
            .to_owned(),
    );
    for role in ["Application Mail.ReadWrite", "Application Mail.Send"] {
        lines.push(format!(
            "New-ManagementRoleAssignment -App {object} -Role '{role}' -CustomResourceScope 'Postroom'"
        ));
    }
    lines.extend(mailboxes.iter().map(|mailbox| {
        format!("Test-ServicePrincipalAuthorization -Identity {object} -Resource {}", quoted(mailbox))
    }));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_endpoint_that_can_not_work_is_named_before_anybody_is_asked() {
        const OWN: &str = "https://login.microsoftonline.com";
        const US: &str = "https://login.microsoftonline.us";
        let fault = |endpoint: &str| endpoint_fault(endpoint, OWN, &[OWN, US]);
        let tenant = "11111111-1111-1111-1111-111111111111";
        for (endpoint, expected) in [
            (format!("{OWN}/{tenant}/oauth2/v2.0/token"), None),
            (format!("{OWN}/contoso.onmicrosoft.com/oauth2/v2.0/token"), None),
            (format!("http://127.0.0.1:80/{tenant}/oauth2/v2.0/token"), None),
            (format!("http://[::1]:80/{tenant}/oauth2/v2.0/token"), None),
            (format!("http://[2001:db8::1]/{tenant}/oauth2/v2.0/token"), Some(Cause::EndpointInsecure)),
            (format!("{OWN}/{tenant}/oauth2/token"), Some(Cause::EndpointV1)),
            (format!("{OWN}/{tenant}/oauth2/v2.0/authorize"), Some(Cause::EndpointAuthorize)),
            (format!("{OWN}/{tenant}"), Some(Cause::EndpointPath)),
            (format!("{OWN}/{tenant}/v2.0/.well-known/openid-configuration"), Some(Cause::EndpointPath)),
            (format!("{OWN}/common/oauth2/v2.0/token"), Some(Cause::EndpointShared)),
            (format!("{OWN}/Organizations/oauth2/v2.0/token"), Some(Cause::EndpointShared)),
            (format!("{OWN}/contoso/oauth2/v2.0/token"), Some(Cause::EndpointTenant)),
            (format!("{US}/{tenant}/oauth2/v2.0/token"), Some(Cause::EndpointCloud)),
            (
                format!("http://login.microsoftonline.com/{tenant}/oauth2/v2.0/token"),
                Some(Cause::EndpointInsecure),
            ),
            (tenant.to_owned(), Some(Cause::EndpointUnreadable)),
            (String::new(), Some(Cause::EndpointUnreadable)),
        ] {
            assert_eq!(fault(&endpoint), expected, "{endpoint}");
        }
    }

    #[test]
    fn an_id_in_place_of_a_secret_is_told_from_a_wrong_secret() {
        assert!(is_guid("11111111-1111-1111-1111-111111111111"));
        assert!(!is_guid("sample~secret-of-the-simulator"));
        assert_eq!(cause_of_aadsts(7_000_215, true), Cause::SecretId);
        assert_eq!(cause_of_aadsts(7_000_215, false), Cause::SecretWrong);
        assert_eq!(cause_of_aadsts(1, false), Cause::TokenRefused);
    }

    #[test]
    fn no_name_breaks_out_of_a_command() {
        let lines = policy_commands("app", &["o'hara@contoso.example".to_owned()]);
        assert!(lines[1].ends_with("-Members 'o''hara@contoso.example'"), "{lines:?}");
        let lines = scoping_commands("app", "object", &["o'hara@contoso.example".to_owned()]);
        assert!(
            lines
                .iter()
                .any(|line| line == "Set-Mailbox 'o''hara@contoso.example' -CustomAttribute15 'postroom'")
        );
        assert!(
            lines
                .iter()
                .any(|line| line.ends_with("-Role 'Application Mail.Send' -CustomResourceScope 'Postroom'"))
        );
    }
}
