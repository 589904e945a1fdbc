//! What the harness assumes about the reference app.

#[test]
fn the_reference_app_has_every_table_that_the_harness_asks_for() {
    for table in cacheproof::target::REFERENCE_TABLES {
        assert!(format!("{table}=1").parse::<reference_app::SeedData>().is_ok(), "{table}");
    }
}
