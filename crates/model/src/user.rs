//! People who sign in, and whether they take conversations.

use crate::words::words;

words! {
    /// What a person may do.
    pub enum Role {
        /// Handles conversations.
        Agent = "agent",
        /// Watches queues.
        Supervisor = "supervisor",
        /// Connects mailboxes and reads the ledger.
        Admin = "admin",
    }
}

words! {
    /// Whether distribution may alert an agent.
    pub enum RoutingStatus {
        /// Takes nothing.
        OffQueue = "off_queue",
        /// Takes what fits.
        OnQueue = "on_queue",
        /// Did not answer the last alert and takes nothing until back on queue.
        NotResponding = "not_responding",
    }
}
