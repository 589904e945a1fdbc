//! `cacheproof doctor`: lists what this machine has, what is missing, and what to do about it.

use super::{CommandResult, Exit, Failure, terminal};
use crate::stack::{DoctorReport, check_machine};

/// Checks the machine and prints the result. [`Exit::Pass`] if at least one provider can run both servers, else
/// [`Exit::Environment`].
///
/// # Errors
/// The checks could not run.
pub fn doctor() -> CommandResult {
    let failed = |error: std::io::Error| Failure::environment(miette::miette!("can't check this machine: {error}"));
    let program = std::env::current_exe().map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let report = runtime.block_on(check_machine(&program));
    terminal::print(&render(&report));
    if let Some(open) = super::recover::open_ledgers_notice() {
        terminal::print(&format!("\n! {open}\n"));
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
            "Neither containers nor local processes can run both servers: fix one of the lines with ✗, or use your own \
             servers with provider = \"external\".\n"
        }
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::Check;

    #[test]
    fn what_is_missing_is_printed_with_advice() {
        let checks = vec![
            Check { passed: true, found: "redis-server 7.0.15".into(), advice: None },
            Check { passed: false, found: "postgres is not installed".into(), advice: Some("install it".into()) },
        ];
        let text = render(&DoctorReport { checks, local: false, container: false });
        assert!(text.starts_with("✓ redis-server 7.0.15\n✗ postgres is not installed\n    install it\n\nNeither"));
    }
}
