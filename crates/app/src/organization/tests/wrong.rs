//! What is said of wrong files: the place, what is wrong, what to do.

use super::{CONTOSO, environment, parse};

/// What is said of the manual's file with one part replaced.
fn told_of(part: &str, other: &str) -> String {
    assert!(CONTOSO.contains(part), "{part}");
    told(&CONTOSO.replacen(part, other, 1))
}

fn told(text: &str) -> String {
    let problems = parse(text, &environment).expect_err("the file is wrong");
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

macro_rules! stories {
    ($($name:ident: $part:literal => $other:literal, $said:literal;)*) => {
        $(
            #[test]
            fn $name() {
                assert_eq!(told_of($part, $other), $said);
            }
        )*
    };
}

stories! {
    an_unknown_field_is_named_with_the_one_that_was_meant:
        "alerting_timeout: 90s" => "alerting_timout: 90s",
        "21:22: a queue has no field \"alerting_timout\"; did you mean \"alerting_timeout\"?";
    a_field_that_nobody_could_mean_gets_the_list_of_those_there_are:
        "skills: [invoices, hardware]" => "skills: [invoices, hardware]\ncolour: blue",
        "20:1: the file has no field \"colour\"; it has: organization, integrations, domains, routes, skills, queues, users";
    a_missing_field_is_named:
        "{ name: Billing, members" => "{ members",
        "16:48: there is no queue \"Billing\"; declare it under `queues`, where there is Sales, Support\n22:5: a queue needs the field \"name\"; add it";
    a_text_where_a_list_belongs:
        "members: [agent2@contoso.example] }" => "members: agent2@contoso.example }",
        "22:31: a text stands here where a list like [first, second] is expected";
    a_list_where_a_text_belongs:
        "queue: Sales" => "queue: [Sales]",
        "18:46: a list stands here where a name is expected";
    a_text_where_a_record_belongs:
        "capacity: { email: 3 }" => "capacity: 3",
        "25:135: a text stands here where a capacity like { email: … } is expected";
    a_queue_that_stands_twice:
        "{ name: Sales, members" => "{ name: Billing, members",
        "18:46: there is no queue \"Sales\"; declare it under `queues`, where there is Billing, Support\n23:13: queue \"Billing\" stands here twice, first at line 22; keep one of them";
    a_mailbox_that_stands_twice_in_other_letters:
        "{ address: sales@contoso.example }" => "{ address: Support@Contoso.example }",
        "12:20: mailbox \"support@contoso.example\" stands here twice, first at line 11; keep one of them";
    a_user_that_stands_twice:
        "email: admin@" => "email: agent2@",
        "27:14: user \"agent2@contoso.example\" stands here twice, first at line 26; keep one of them";
    a_bad_address:
        "email: admin@contoso.example" => "email: admin",
        "27:14: \"admin\" is not an e-mail address; write it like name@example.com";
    a_queue_that_is_not_there:
        "queue: Sales" => "queue: Selas",
        "18:46: there is no queue \"Selas\"; did you mean \"Sales\"?";
    a_member_who_is_not_there:
        "{ name: Billing, members: [agent2@" => "{ name: Billing, members: [agent7@",
        "22:32: there is no user \"agent7@contoso.example\"; did you mean \"agent1@contoso.example\"?";
    a_member_who_is_no_agent:
        "{ name: Billing, members: [agent2@" => "{ name: Billing, members: [admin@",
        "22:32: admin@contoso.example is no agent and can't serve a queue; add agent to the user's roles";
    a_skill_that_is_not_there:
        "skills: { hardware: 4 }" => "skills: { plumbing: 4 }",
        "25:81: there is no skill \"plumbing\"; declare it under `skills`, where there is hardware, invoices";
    an_integration_that_is_not_there:
        "integration: contoso-graph" => "integration: contoso",
        "14:58: there is no integration \"contoso\"; declare it under `integrations`, where there is contoso-graph";
    a_mailbox_outside_of_every_domain:
        "{ address: sales@contoso.example }" => "{ address: sales@fabrikam.example }",
        "12:20: there is no domain \"fabrikam.example\"; declare it under `domains`, where there is contoso.example";
    a_bad_duration:
        "90s" => "90",
        "21:40: \"90\" is not a duration; write a number and s, m or h, like 60s or 2m";
    a_duration_out_of_bounds:
        "90s" => "3h",
        "21:40: agents can't be alerted for 3h; write a duration from 5s to 1h";
    a_bad_date:
        "2027-03-31" => "31.03.2027",
        "9:56: \"31.03.2027\" is not a date; write it like 2027-03-31";
    a_proficiency_out_of_bounds:
        "hardware: 4" => "hardware: 6",
        "25:91: 6 is not a proficiency; write a whole number from 0 to 5";
    a_number_in_quotes:
        "hardware: 4" => "hardware: \"4\"",
        "25:91: a proficiency stands without quotes; write 4";
    a_capacity_of_nothing:
        "email: 3 }" => "email: 0 }",
        "25:144: 0 is not a capacity; write a whole number from 1 to 25";
    an_unknown_role:
        "roles: [admin]" => "roles: [administrator]",
        "27:66: \"administrator\" is not a role; write agent or supervisor or admin";
    a_language_that_is_no_tag:
        "language: en" => "language: English",
        "16:87: \"English\" is not a language tag; write it like en, ja or pt-br";
    a_token_endpoint_without_encryption:
        "https://login.microsoftonline.com" => "http://login.microsoftonline.com",
        "5:21: \"http://login.microsoftonline.com/11111111-1111-1111-1111-111111111111/oauth2/v2.0/token\" is not encrypted; write https:// (http:// only for this machine itself)";
    a_token_endpoint_of_version_one:
        "oauth2/v2.0/token" => "oauth2/token",
        "5:21: \"https://login.microsoftonline.com/11111111-1111-1111-1111-111111111111/oauth2/token\" is the endpoint of version 1.0; write it like https://login.microsoftonline.com/TENANT/oauth2/v2.0/token";
    a_token_endpoint_without_tenant:
        "11111111-1111-1111-1111-111111111111/oauth2" => "common/oauth2",
        "5:21: \"https://login.microsoftonline.com/common/oauth2/v2.0/token\" names no tenant; write the directory (tenant) id in place of \"common\"";
    a_cloud_that_does_not_exist:
        "cloud: global" => "cloud: us-gov",
        "7:12: \"us-gov\" is not a cloud; did you mean \"usgov\"?";
    a_cloud_that_signs_in_elsewhere:
        "cloud: global" => "cloud: usgov",
        "5:21: login.microsoftonline.com signs in to cloud global, but the integration says usgov; make them agree";
    a_literal_secret_is_not_repeated:
        "env:SPRING" => "hunter2-hunter2",
        "9:33: a secret never stands in this file; write where it is, as file:/run/secrets/name or env:NAME, and renew it if this was one";
    a_secret_that_is_not_in_the_environment:
        "env:SPRING" => "env:AUTUMN",
        "9:33: the environment has no variable AUTUMN; set it where `postroom apply` runs";
    an_empty_secret:
        "env:SPRING" => "env:EMPTY",
        "9:33: the variable EMPTY is empty; write the secret into it";
    a_secret_file_that_is_not_there:
        "env:SPRING" => "file:/absent/secret",
        "9:33: the secret file /absent/secret can't be read (No such file or directory (os error 2)); check the path and who may read it";
    a_credential_without_anything_to_sign_in_with:
        "{ name: spring, secret: \"env:SPRING\", expires" => "{ name: spring, expires",
        "9:9: a credential needs one of the fields \"secret\", \"certificate\", \"federated_token_file\"; add it";
    a_credential_of_two_kinds:
        "secret: \"env:SPRING\"" => "secret: \"env:SPRING\", federated_token_file: /run/token",
        "9:9: a credential has \"secret\" and \"federated_token_file\"; keep one of them";
    a_certificate_that_is_none:
        "secret: \"env:SPRING\"" => "certificate: \"env:SPRING\"",
        "9:38: the certificate can't be used: the PEM text holds no certificate; add the part from BEGIN CERTIFICATE to END CERTIFICATE";
    a_key_beside_a_secret:
        "secret: \"env:SPRING\"" => "secret: \"env:SPRING\", key: \"env:SPRING\"",
        "9:52: only a certificate has a private key; leave the key out";
    no_credentials:
        "credentials:\n      - { name: spring, secret: \"env:SPRING\", expires: 2027-03-31 }" => "credentials: []",
        "8:18: this list is empty; write at least one entry";
    a_key_that_stands_twice:
        "skills: [invoices, hardware]" => "skills: [invoices, hardware]\nskills: []",
        "20:1: \"skills\" stands here twice, first at line 19; keep one of them";
    broken_yaml_is_the_only_problem:
        "roles: [admin] }" => "roles: [admin }",
        "27:65: this is not YAML: mismatched bracket '[' closed by '}'; correct it and apply again";
}

#[test]
fn everything_that_is_wrong_is_told_at_once_in_the_order_of_the_file() {
    let text = CONTOSO
        .replace("cloud: global", "cloud: moon")
        .replace("queue: Sales", "queue: Nobody")
        .replace("90s", "soon")
        .replace("roles: [admin]", "role: [admin]");
    let said = told(&text);
    assert_eq!(
        said.lines().collect::<Vec<_>>(),
        [
            "7:12: \"moon\" is not a cloud; write global or usgov or dod or china",
            "18:46: there is no queue \"Nobody\"; declare it under `queues`, where there is Billing, Sales, Support",
            "21:40: \"soon\" is not a duration; write a number and s, m or h, like 60s or 2m",
            "27:5: a user needs the field \"roles\"; add it",
            "27:58: a user has no field \"role\"; did you mean \"roles\"?",
        ]
    );
}

#[test]
fn a_thing_with_one_wrong_field_can_still_be_named_by_others() {
    // Support's timeout is wrong; the route that names Support is not.
    assert_eq!(told_of("90s", "soon").lines().count(), 1);
}

#[test]
fn an_empty_file_says_what_it_needs() {
    assert_eq!(told(""), "1:1: the file needs the field \"organization\"; add it");
    assert_eq!(told("# later\nqueues: []\n"), "2:1: the file needs the field \"organization\"; add it");
}
