//! What the harness assumes of the reference app.

#[test]
fn the_reference_app_loads_every_table_that_is_asked_of_it() {
    for table in cacheproof::target::REFERENCE_TABLES {
        assert!(format!("{table}=1").parse::<reference_app::SeedData>().is_ok(), "{table}");
    }
}
