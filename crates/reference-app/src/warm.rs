use crate::app::App;
use crate::args::{SeedData, WarmArgs};
use crate::error::AppError;
use cache_layer::Strategy;
use cache_layer::warm::WarmStatus;

/// Fills the cache that the instances of the app share. Returns the status of the plans when they are done or `stop` ends.
///
/// # Errors
/// As [`crate::serve`]; an unknown plan; or the cache is not shared.
pub async fn warm(mut args: WarmArgs, stop: impl Future<Output = ()>) -> Result<WarmStatus, AppError> {
    // Only existing rows are warmed; none are added.
    args.app.load = SeedData::NONE;
    let app = App::build(&args.app).await?;
    let strategy = app.cache().strategy();
    if matches!(strategy, Strategy::Memory | Strategy::None) {
        app.close().await;
        return Err(AppError::CacheNotShared(strategy));
    }
    let names: Vec<&str> = args.plans.iter().map(String::as_str).collect();
    let warmed = tokio::select! {
        warmed = app.warmer().run(&names) => warmed,
        () = stop => Ok(app.warmer().status()),
    };
    app.close().await;
    Ok(warmed?)
}
