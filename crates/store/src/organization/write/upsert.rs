//! The row of each thing: made at first, changed by id ever after. A person's
//! password, language and routing status are not among what is changed, nor are
//! a mailbox's activation and health.

use postroom_model::{
    EmailAddress, Timestamp,
    mailbox::{MailboxHealth, TakeFrom},
    organization::{Domain, Integration, Mailbox, Queue, Route, User},
    user::{Role, RoutingStatus},
};
use uuid::Uuid;

use crate::{Stmt, args};

pub(super) fn user(id: Uuid, user: &User, position: i64, now: Timestamp) -> Stmt {
    let roles: Vec<&str> = user.roles.iter().copied().map(Role::as_str).collect();
    Stmt::new(
        "INSERT INTO users (id, email, name, roles, email_capacity, position, routing_status, status_since) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO UPDATE SET \
         name = $3, roles = $4, email_capacity = $5, position = $6",
        args![
            id,
            user.email.as_str(),
            user.name.as_str(),
            roles.join(","),
            i64::from(user.capacity),
            position,
            RoutingStatus::OffQueue.as_str(),
            now
        ],
    )
}

pub(super) fn queue(id: Uuid, queue: &Queue, position: i64) -> Stmt {
    let timeout_us = i64::try_from(queue.alerting_timeout.as_micros()).unwrap_or(i64::MAX);
    Stmt::new(
        "INSERT INTO queues (id, name, alerting_timeout_us, position) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (id) DO UPDATE SET alerting_timeout_us = $3, position = $4",
        args![id, queue.name.as_str(), timeout_us, position],
    )
}

pub(super) fn integration(id: Uuid, integration: &Integration, position: i64) -> Stmt {
    let scope_probe: Vec<&str> = integration.scope_probe.iter().map(EmailAddress::as_str).collect();
    Stmt::new(
        "INSERT INTO integrations (id, name, kind, token_endpoint, client_id, cloud, graph_url, position, \
         concurrency, requests, upload_bytes, scope_probe) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
         ON CONFLICT (id) DO UPDATE SET kind = $3, token_endpoint = $4, client_id = $5, cloud = $6, \
         graph_url = $7, position = $8, concurrency = $9, requests = $10, upload_bytes = $11, \
         scope_probe = $12",
        args![
            id,
            integration.name.as_str(),
            integration.kind.as_str(),
            integration.token_endpoint.as_str(),
            integration.client_id.as_str(),
            integration.cloud.as_str(),
            integration.graph_url.as_deref(),
            position,
            integration.limits.concurrency,
            integration.limits.requests,
            i64::try_from(integration.limits.upload_bytes).unwrap_or(i64::MAX),
            scope_probe.join("\n")
        ],
    )
}

pub(super) fn domain(id: Uuid, domain: &Domain, integration: Uuid, position: i64) -> Stmt {
    Stmt::new(
        "INSERT INTO domains (id, name, kind, integration_id, position) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (id) DO UPDATE SET kind = $3, integration_id = $4, position = $5",
        args![id, domain.name.as_str(), domain.kind.as_str(), integration, position],
    )
}

pub(super) fn mailbox(id: Uuid, mailbox: &Mailbox, integration: Uuid, position: i64, now: Timestamp) -> Stmt {
    let take_from = match mailbox.take_from {
        TakeFrom::Activation => None,
        TakeFrom::Date(at) => Some(at),
    };
    Stmt::new(
        "INSERT INTO mailboxes (id, integration_id, address, take_from, after_taking, position, health, \
         health_at, opened) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO UPDATE SET \
         integration_id = $2, take_from = $4, after_taking = $5, position = $6, opened = $9",
        args![
            id,
            integration,
            mailbox.address.as_str(),
            take_from,
            mailbox.after_taking.to_string(),
            position,
            MailboxHealth::Connecting.as_str(),
            now,
            mailbox.opened.as_str()
        ],
    )
}

pub(super) fn route(id: Uuid, route: &Route, queue: Uuid, position: i64) -> Stmt {
    Stmt::new(
        "INSERT INTO routes (id, address, queue_id, language, priority, from_name, position) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO UPDATE SET \
         queue_id = $3, language = $4, priority = $5, from_name = $6, position = $7",
        args![
            id,
            route.address.as_str(),
            queue,
            route.language.as_deref(),
            i64::from(route.priority),
            route.from_name.as_deref(),
            position
        ],
    )
}
