use crate::app::{App, router};
use crate::args::ServeArgs;
use crate::error::AppError;
use axum::Router;
use axum::serve::ListenerExt;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// How long requests in flight may take to finish after a stop signal.
const GRACE: Duration = Duration::from_secs(5);

/// Runs the app until `shutdown` ends, then waits for requests in flight.
///
/// The port is bound first, so that a port in use is reported before the data is loaded. Early requests wait; `/health` answers when
/// everything is ready.
///
/// # Errors
/// The port is in use, Postgres cannot be reached, or the settings are invalid.
pub async fn serve(args: ServeArgs, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), AppError> {
    let mut shutdown = Box::pin(shutdown);
    let listen = |source| AppError::Listen { address: args.listen, source };
    let listener = TcpListener::bind(args.listen).await.map_err(listen)?;
    // Loading data takes seconds. A stop signal interrupts it, and its transaction is rolled back.
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

/// Serves routes on a listener until `shutdown` ends, then waits at most five seconds for requests in flight.
///
/// # Errors
/// The listener failed.
pub async fn serve_on(
    listener: TcpListener,
    routes: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), AppError> {
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "listening");
    }
    // Without it, an answer can wait 40 ms for the client's TCP acknowledgement of the previous one.
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
