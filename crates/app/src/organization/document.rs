//! The records of the organisation file. Their doc comments are what `apply
//! --schema` prints and what editors show.

use postroom_model::{
    mailbox::Opened,
    organization::{DomainKind, IntegrationKind},
    user::Role,
};

use super::{
    read::{AtLeastOne, Located, Named, record},
    values::{
        Address, Afterwards, AlertingTimeout, Capacity, ClientId, CloudWord, Concurrency, Day, DomainName,
        GraphUrl, Language, Name, Priority, Proficiency, Requests, SecretReference, Start, TokenEndpoint,
        UploadMib, Word,
    },
};

record! {
    /// The organisation file of Postroom: everything about an organisation except passwords.
    Document, "the file":
    required {
        /// What the organisation is called, and its languages.
        organization: Identity,
    }
    optional {
        /// Microsoft tenants and the mailboxes that are connected in each.
        integrations: Vec<Integration>,
        /// The domains whose mail comes in.
        domains: Vec<Domain>,
        /// Where mail goes. The first route among a mail's addresses wins, in this order.
        routes: Vec<Route>,
        /// Skills that routes may ask for and users may have.
        skills: Vec<Located<Name>>,
        /// Where conversations wait for agents.
        queues: Vec<Queue>,
        /// Everybody who signs in. Passwords are set by `postroom user add`.
        users: Vec<User>,
    }
}

record! {
    /// The organisation itself.
    Identity, "the organization":
    required {
        /// Its name, shown to people.
        name: Located<Name>,
    }
    optional {
        /// Its languages (BCP 47), the default first; `[en]` where it is left out.
        languages: AtLeastOne<Located<Language>>,
    }
}

record! {
    /// Credentials and settings for one Microsoft tenant.
    Integration, "an integration":
    required {
        /// Its name.
        name: Located<Name>,
        /// What it connects to.
        kind: Located<Word<IntegrationKind>>,
        /// The tenant's token endpoint, version 2.0, with the tenant's id.
        token_endpoint: Located<TokenEndpoint>,
        /// The application (client) id from Microsoft Entra.
        client_id: Located<ClientId>,
    }
    optional {
        /// What it signs in with, the preferred first. Give the next one before the last one ends. May be
        /// left out where `postroom integration add-credential` keeps them.
        credentials: AtLeastOne<Credential>,
        /// Microsoft's cloud; `global` where it is left out.
        cloud: Located<CloudWord>,
        /// Where Graph is, if not where the cloud says: a simulator or a proxy.
        graph_url: Located<GraphUrl>,
        /// How much is asked of each mailbox; Microsoft's own limits where it is left out.
        limits: Limits,
        /// Mailboxes that the application must not reach: `postroom doctor` proves that they are refused.
        scope_probe: Vec<Located<Address>>,
        /// The mailboxes that are connected through it.
        mailboxes: Vec<Mailbox>,
    }
}

record! {
    /// How much is asked of a mailbox. Microsoft changes its limits; these are the present ones.
    Limits, "a limit":
    required {}
    optional {
        /// Requests at one time, from 1 to 16; 4 where it is left out.
        concurrency: Located<Concurrency>,
        /// Requests in ten minutes, from 100 to 1000000; 10000 where it is left out.
        requests: Located<Requests>,
        /// Mebibytes sent to Microsoft in five minutes, from 1 to 10000; 150 where it is left out.
        upload_mib: Located<UploadMib>,
    }
}

record! {
    /// What an application signs in with: one of `secret`, `certificate` and `federated_token_file`.
    Credential, "a credential":
    required {
        /// Its name.
        name: Located<Name>,
    }
    optional {
        /// Where the certificate's private key is, if it is not beside it.
        key: Located<SecretReference>,
        /// The day from which it is good; a certificate says it itself.
        starts: Located<Day>,
        /// The day on which it ends; a certificate says it itself.
        expires: Located<Day>,
    }
    one_of {
        /// Where the client secret is: `file:/run/secrets/name` or `env:NAME`. Never the secret itself.
        secret: Located<SecretReference>,
        /// Where the certificate is, in PEM form, with its RSA private key or without: `file:` or `env:`.
        certificate: Located<SecretReference>,
        /// The path of a file with a token of an identity provider outside, as Kubernetes mounts it. It is read
        /// anew for each request.
        federated_token_file: Located<Name>,
    }
}

record! {
    /// A connected mailbox.
    Mailbox, "a mailbox":
    required {
        /// Its address.
        address: Located<Address>,
    }
    optional {
        /// The folders whose mail is taken: well-known names, paths such as `Inbox/Orders`, or ids; `[inbox]` where it is left out.
        folders: AtLeastOne<Located<Name>>,
        /// From when on mails are taken: `activation` (the moment it is first connected), which is the default, or a date.
        take_from: Located<Start>,
        /// What is done to a mail in the mailbox once it is stored: `mark-read` (where it is left out), `nothing`, `category:NAME` or `move:FOLDER` (a well-known name, or a path such as `Inbox/Done`).
        after_taking: Located<Afterwards>,
        /// What becomes of mails that a person opened before they were taken: `take` (where it is left out), or `leave`, which costs one more request for each mail.
        opened: Located<Word<Opened>>,
    }
}

record! {
    /// A domain whose mail comes in.
    Domain, "a domain":
    required {
        /// Its name.
        name: Located<DomainName>,
        /// What it is for.
        kind: Located<Word<DomainKind>>,
        /// The integration that reaches its mailboxes.
        integration: Located<Name>,
    }
    optional {}
}

record! {
    /// One of the organisation's addresses, and where its mail goes.
    Route, "a route":
    required {
        /// The address.
        address: Located<Address>,
        /// The queue in which its mail waits.
        queue: Located<Name>,
    }
    optional {
        /// Skills that an agent must have for it.
        skills: Vec<Located<Name>>,
        /// The language that an agent must speak for it (BCP 47).
        language: Located<Language>,
        /// Higher is served first; 0 where it is left out.
        priority: Located<Priority>,
        /// The display name under which it is answered.
        from_name: Located<Name>,
    }
}

record! {
    /// A queue, in which conversations wait for agents.
    Queue, "a queue":
    required {
        /// Its name.
        name: Located<Name>,
    }
    optional {
        /// How long an agent is alerted, from 5s to 1h; `60s` where it is left out.
        alerting_timeout: Located<AlertingTimeout>,
        /// The agents who serve it, by their addresses.
        members: Vec<Located<Address>>,
        /// With which codes its conversations end, in the order in which they are offered.
        wrap_up_codes: Vec<Located<Name>>,
    }
}

record! {
    /// A person who signs in.
    User, "a user":
    required {
        /// The address with which they sign in.
        email: Located<Address>,
        /// Their name.
        name: Located<Name>,
        /// What they may do; empty for somebody who has left.
        roles: Vec<Located<Word<Role>>>,
    }
    optional {
        /// What they are good at, from 0 to 5.
        skills: Named<Name, Proficiency>,
        /// What they speak (BCP 47), from 0 to 5.
        languages: Named<Language, Proficiency>,
        /// How much they may have at once.
        capacity: Capacities,
    }
}

record! {
    /// How much a person may have at once.
    Capacities, "a capacity":
    required {}
    optional {
        /// Mail conversations; 1 where it is left out.
        email: Located<Capacity>,
    }
}
