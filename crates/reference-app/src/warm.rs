use crate::app::App;
use crate::args::{SeedData, WarmArgs};
use crate::error::AppError;
use cache_layer::Strategy;
use cache_layer::warm::WarmStatus;

/// Puts what will be read into the cache that instances of the app share, and returns how far it got when that is done or `stop` ends.
///
/// # Errors
/// As [`crate::serve`]; there is no plan of a name; or nobody else would see what is warmed.
pub async fn warm(mut args: WarmArgs, stop: impl Future<Output = ()>) -> Result<WarmStatus, AppError> {
    // Of what is there; no rows are added to it.
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
