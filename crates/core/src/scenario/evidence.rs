//! How much evidence a pass needs, as the other crates see it.

/// How much of what a rule speaks about must have been judged, unless `[evidence]` says otherwise.
const DEFAULT_COVERAGE: f64 = 0.95;

/// How often something must have had the opportunity to happen before "it never happened" says anything, unless
/// `[evidence]` says otherwise. With none seen in 300, its true share is below 1 % with 95 % confidence (rule of three).
const DEFAULT_OPPORTUNITIES: u64 = 300;

/// What a pass needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EvidenceSpec {
    /// The share of what a rule speaks about that must have been judged, 0 to 1.
    pub coverage: f64,
    /// How many samples a rule needs that allows no event at all.
    pub opportunities: u64,
}

impl Default for EvidenceSpec {
    fn default() -> Self {
        Self { coverage: DEFAULT_COVERAGE, opportunities: DEFAULT_OPPORTUNITIES }
    }
}
