//! `cacheproof doctor`: what this machine has and lacks, with what to do about it.

use super::{CommandResult, Exit, Failure};
use crate::stack::{DoctorReport, check_machine};

/// Looks and tells. [`Exit::Pass`] when at least one provider can run both servers, else [`Exit::Environment`].
///
/// # Errors
/// When cacheproof can't even look.
pub fn doctor() -> CommandResult {
    let cant = |error: std::io::Error| Failure::environment(miette::miette!("can't look around: {error}"));
    let program = std::env::current_exe().map_err(cant)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(cant)?;
    let report = runtime.block_on(check_machine(&program));
    print!("{}", render(&report));
    if let Some(open) = super::recover::open_ledgers_notice() {
        println!("\n! {open}");
    }
    Ok(if report.local || report.container { Exit::Pass } else { Exit::Environment })
}

fn render(report: &DoctorReport) -> String {
    let mut text = String::new();
    for check in &report.checks {
        let mark = if check.passed { '✓' } else { '✗' };
        text.push_str(&format!("{mark} {}\n", check.found));
        if let Some(advice) = &check.advice {
            text.push_str(&format!("    {advice}\n"));
        }
    }
    text.push('\n');
    text.push_str(match (report.local, report.container) {
        (true, true) => "Redis and Postgres can run in containers and as local processes.\n",
        (true, false) => "Redis and Postgres can run as local processes; provider = \"auto\" takes them.\n",
        (false, true) => "Redis and Postgres can run in containers; provider = \"auto\" takes them.\n",
        (false, false) => {
            "Neither containers nor local processes can run both servers: mend one of the lines with ✗, or use servers \
             of your own with provider = \"external\".\n"
        }
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::Check;

    #[test]
    fn a_machine_that_lacks_something_is_told_what_to_do() {
        let checks = vec![
            Check { passed: true, found: "redis-server 7.0.15".into(), advice: None },
            Check { passed: false, found: "postgres is not installed".into(), advice: Some("install it".into()) },
        ];
        let text = render(&DoctorReport { checks, local: false, container: false });
        assert!(text.starts_with("✓ redis-server 7.0.15\n✗ postgres is not installed\n    install it\n\nNeither"));
    }
}
