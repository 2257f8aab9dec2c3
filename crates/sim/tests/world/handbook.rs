//! The handbook, `docs/simulator.md`, keeps up with the simulator.

use http::Request;
use http_body_util::BodyExt as _;
use postroom_sim::{Profile, Switches};
use serde_json::Value;
use tower::ServiceExt as _;

use crate::client::world;

const HANDBOOK: &str = include_str!("../../../../docs/simulator.md");

#[test]
fn it_tells_of_every_switch_and_profile() {
    let names = Switches::LIST.iter().map(|facts| facts.name).chain(Profile::ALL.map(Profile::name));
    for name in names {
        assert!(HANDBOOK.contains(&format!("`{name}`")), "docs/simulator.md does not tell of {name}");
    }
}

#[test]
fn it_tells_of_no_switch_that_is_not_there() {
    for line in HANDBOOK.lines().filter(|line| line.starts_with("| `") && line.matches(" | ").count() == 3) {
        let name = line.split('`').nth(1).unwrap();
        assert!(Switches::LIST.iter().any(|facts| facts.name == name), "there is no switch {name}");
    }
}

#[tokio::test(start_paused = true)]
async fn it_tells_of_every_operation_of_the_control_api() {
    let router = world().await.simulator.control_router();
    let answer = router.oneshot(Request::get("/openapi.json").body(String::new()).unwrap()).await.unwrap();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    let document: Value = serde_json::from_slice(&bytes).unwrap();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            let operation = format!("`{} {path}`", method.to_uppercase());
            assert!(HANDBOOK.contains(&operation), "docs/simulator.md does not tell of {operation}");
        }
    }
}
