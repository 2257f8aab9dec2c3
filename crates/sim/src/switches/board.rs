//! Which switches count for which mailbox.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{SwitchError, Switches};

/// The switches of the tenant and what single mailboxes have of their own. A mailbox's own value
/// counts; everything else is the tenant's.
#[derive(Debug, Default)]
pub(crate) struct Board {
    tenant: Switches,
    own: BTreeMap<String, Own>,
}

#[derive(Debug, Default)]
struct Own {
    values: Map<String, Value>,
    /// The tenant's switches with the values put over them.
    all: Switches,
}

impl Board {
    pub(crate) fn new(tenant: Switches) -> Self {
        Self { tenant, own: BTreeMap::new() }
    }

    /// The tenant's switches.
    pub(crate) fn tenant(&self) -> &Switches {
        &self.tenant
    }

    /// The switches of the mailbox with this primary address.
    pub(crate) fn of(&self, mailbox: &str) -> &Switches {
        self.own.get(mailbox).map_or(&self.tenant, |own| &own.all)
    }

    /// What the mailbox has of its own.
    pub(crate) fn own(&self, mailbox: &str) -> Map<String, Value> {
        self.own.get(mailbox).map(|own| own.values.clone()).unwrap_or_default()
    }

    /// Replaces the tenant's switches.
    pub(crate) fn replace(&mut self, tenant: Switches) {
        self.tenant = tenant;
        self.refresh();
    }

    /// Sets a switch of the tenant.
    pub(crate) fn set(&mut self, name: &str, value: Value) -> Result<(), SwitchError> {
        self.tenant.set(name, value)?;
        self.refresh();
        Ok(())
    }

    /// Sets a switch of one mailbox; `null` gives it the tenant's again.
    pub(crate) fn set_own(&mut self, mailbox: &str, name: &str, value: Value) -> Result<(), SwitchError> {
        if !value.is_null() {
            self.tenant.clone().set(name, value.clone())?;
        } else if let Err(unknown @ SwitchError::Unknown { .. }) = self.tenant.clone().set(name, Value::Null)
        {
            return Err(unknown);
        }
        let own = self.own.entry(mailbox.to_owned()).or_default();
        if value.is_null() {
            own.values.remove(name);
        } else {
            own.values.insert(name.to_owned(), value);
        }
        if own.values.is_empty() {
            self.own.remove(mailbox);
        }
        self.refresh();
        Ok(())
    }

    /// Puts the switches back that are thrown rather than set.
    pub(crate) fn put_back(&mut self) {
        for name in Switches::THROWN {
            // A boolean takes false.
            let _set = self.tenant.set(name, Value::Bool(false));
            self.own.values_mut().for_each(|own| drop(own.values.remove(name)));
        }
        self.own.retain(|_, own| !own.values.is_empty());
        self.refresh();
    }

    fn refresh(&mut self) {
        for own in self.own.values_mut() {
            own.all = self.tenant.clone();
            for (name, value) in &own.values {
                // Each value was tried when it was set.
                let _tried = own.all.set(name, value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_mailbox_s_own_value_counts_and_the_rest_is_the_tenant_s() {
        let mut board = Board::default();
        board.set_own("a@x", "notify.outage", json!(true)).unwrap();
        board.set("latency_ms", json!(7)).unwrap();
        board.set("notify.outage", json!(false)).unwrap();
        let of = |board: &Board, mailbox: &str| {
            let switches = board.of(mailbox);
            (switches.notify_outage, switches.latency.0)
        };
        assert_eq!((of(&board, "a@x"), of(&board, "b@x")), ((true, 7), (false, 7)));
        board.set_own("a@x", "notify.outage", Value::Null).unwrap();
        assert_eq!(of(&board, "a@x"), (false, 7));
        assert!(board.own("a@x").is_empty());
    }

    #[test]
    fn what_a_switch_does_not_take_changes_nothing() {
        let mut board = Board::default();
        assert!(board.set_own("a@x", "latency_ms", json!("long")).is_err());
        assert!(board.set_own("a@x", "no such", Value::Null).is_err());
        assert!(board.own("a@x").is_empty());
    }
}
