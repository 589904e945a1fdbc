use crate::app::{App, router};
use crate::args::ServeArgs;
use crate::error::AppError;
use axum::Router;
use axum::serve::ListenerExt;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// How long requests under way may take to end once the app is told to stop.
const GRACE: Duration = Duration::from_secs(5);

/// Runs the app until `shutdown` ends, then lets requests under way end.
///
/// The port is taken at once, so that a taken one shows before the data is loaded; requests that come early wait. `/health` answers when
/// everything is ready.
///
/// # Errors
/// The port is taken, Postgres cannot be reached, or the settings cannot work.
pub async fn serve(args: ServeArgs, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), AppError> {
    let mut shutdown = Box::pin(shutdown);
    let listen = |source| AppError::Listen { address: args.listen, source };
    let listener = TcpListener::bind(args.listen).await.map_err(listen)?;
    // Loading data takes seconds; whoever stops the app meanwhile does not wait for it. Its transaction is undone.
    let app = tokio::select! {
        built = App::build(&args.app) => built?,
        () = &mut shutdown => return Ok(()),
    };
    let routes = router(app.clone());
    if args.warm {
        app.warmer().start(&[])?;
    }
    let served = serve_on(listener, routes, shutdown).await;
    app.close().await;
    served
}

/// Serves any routes on a listener until `shutdown` ends, then lets requests under way end, for at most five seconds.
///
/// # Errors
/// The listener broke.
pub async fn serve_on(
    listener: TcpListener,
    routes: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), AppError> {
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "listening");
    }
    // Without this an answer may wait 40 ms for the client's acknowledgement of the one before.
    let listener = listener.tap_io(|stream| {
        stream.set_nodelay(true).ok();
    });
    let (stopping, stopped) = oneshot::channel();
    let shutdown = async move {
        shutdown.await;
        stopping.send(()).ok();
    };
    let serving = axum::serve(listener, routes).with_graceful_shutdown(shutdown).into_future();
    tokio::pin!(serving);
    tokio::select! {
        served = &mut serving => served.map_err(AppError::Serve),
        _ = stopped => match timeout(GRACE, serving).await {
            Ok(served) => served.map_err(AppError::Serve),
            Err(_) => Ok(()),
        },
    }
}
