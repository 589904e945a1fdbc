//! `[evidence]`: how much of it a pass needs.

use super::problem::Problem;
use super::reader::Section;
use super::{EvidenceSpec, Quantity, schema};

/// Fewer opportunities than this show nothing: with none seen in 20, one in seven may still be.
const FEWEST_OPPORTUNITIES: u64 = 20;

/// Below this most of what a rule speaks about may be unknown.
const LEAST_COVERAGE: f64 = 0.5;

pub(super) fn evidence(root: &Section<'_>) -> EvidenceSpec {
    let mut spec = EvidenceSpec::default();
    let Some(section) = root.section("evidence", "[evidence]", schema::EVIDENCE) else { return spec };
    if let Some(coverage) = section.string("coverage") {
        match coverage.value.parse() {
            Ok(Quantity::Share(share)) if (LEAST_COVERAGE..=1.0).contains(&share) => spec.coverage = share,
            _ => {
                let help = "write a share from 50% to 100%: coverage = \"95%\"";
                section.problems.add(Problem::new("\"coverage\" is not such a share").at(coverage.span).help(help));
            }
        }
    }
    if let Some(least) = section.integer("opportunities", FEWEST_OPPORTUNITIES..=1_000_000_000, "opportunities = 300") {
        spec.opportunities = least.value;
    }
    spec
}
