//! Inbound routes in declared order, as the choice of a route needs them.

use std::collections::BTreeMap;

use postroom_model::{RouteId, SkillId, routing::RouteRule};

use crate::{Db, DbError, Stmt, args, parse};

/// All routes in declared order.
///
/// # Errors
/// When the engine can't be reached.
pub async fn list(db: &Db) -> Result<Vec<RouteRule>, DbError> {
    let mut skills: BTreeMap<RouteId, Vec<SkillId>> = BTreeMap::new();
    let asked = Stmt::new("SELECT route_id, skill_id FROM route_skills ORDER BY skill_id", args![]);
    for row in db.query(asked).await? {
        let mut c = row.columns();
        skills.entry(c.next()?).or_default().push(c.next()?);
    }
    let stmt = Stmt::new(
        "SELECT id, address, queue_id, language, priority, from_name FROM routes ORDER BY position, id",
        args![],
    );
    let mut routes = Vec::new();
    for row in db.query(stmt).await? {
        let mut c = row.columns();
        let id: RouteId = c.next()?;
        routes.push(RouteRule {
            id,
            address: parse(&c.next::<String>()?)?,
            queue: c.next()?,
            skills: skills.remove(&id).unwrap_or_default(),
            language: c.next()?,
            priority: c.next()?,
            from_name: c.next()?,
        });
    }
    Ok(routes)
}
