//! The table client × capability, as text for people.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::Line;

/// One row for each capability of each client, what failed with its reason, and what was left out.
pub(super) fn render(lines: &[Line], left_out: &[&str]) -> String {
    let wide = |head: &str, text: fn(&Line) -> &str| {
        lines.iter().map(|line| text(line).chars().count()).fold(head.len(), usize::max)
    };
    let client = wide("client", |line| &line.client);
    let capability = wide("capability", |line| &line.capability);
    let mut text = String::new();
    let mut row = |first: &str, second: &str, third: &str| {
        let _infallible = writeln!(text, "{first:client$}  {second:capability$}  {third}");
    };
    row("client", "capability", "result");
    for line in lines {
        row(&line.client, &line.capability, if line.passed { "pass" } else { "FAIL" });
    }
    let clients: BTreeSet<&str> = lines.iter().map(|line| line.client.as_str()).collect();
    let passed = lines.iter().filter(|line| line.passed).count();
    let _infallible = writeln!(text, "{passed} of {} passed, with {} clients.", lines.len(), clients.len());
    for line in lines.iter().filter(|line| !line.passed) {
        let _infallible = writeln!(text, "FAIL {}, {}: {}", line.client, line.capability, line.why);
    }
    for script in left_out {
        let _infallible = writeln!(
            text,
            "CI leaves out {script}: Python's msgraph-sdk takes 470 MB; `cargo xtask conformance` runs it."
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_stands_with_its_reason_and_what_was_left_out_is_said() {
        let line = |capability: &str, passed: bool, why: &str| Line {
            client: "msal".into(),
            capability: capability.into(),
            passed,
            why: why.into(),
        };
        let lines = [line("token", true, ""), line("certificate", false, "404")];
        let text = render(&lines, &["msgraph_sdk.py"]);
        assert!(text.contains("msal    token        pass\n"), "{text}");
        assert!(text.contains("1 of 2 passed, with 1 clients."), "{text}");
        assert!(text.contains("FAIL msal, certificate: 404\n"), "{text}");
        assert!(text.contains("CI leaves out msgraph_sdk.py"), "{text}");
    }
}
