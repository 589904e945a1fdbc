//! The reference app with one planted defect, to show that cacheproof catches it.
//!
//! `defective-app DEFECT [flags of cacheproof serve]`; `none` is the healthy app.

use axum::body::{Body, to_bytes};
use axum::http::Request;
use clap::Parser;
use defective_app::Defect;
use reference_app::{App, AppError, ServeArgs, router, serve_on};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tower::ServiceExt as _;
use tracing_subscriber::EnvFilter;

#[derive(Parser)]
#[command(version, about, after_help = defective_app::help())]
struct Arguments {
    /// The defect to plant
    #[arg(value_parser = defective_app::find)]
    defect: &'static Defect,
    #[command(flatten)]
    serve: ServeArgs,
    /// File for the last /metrics, so that a test can compare a run's numbers with the app's
    #[arg(long, value_name = "FILE")]
    metrics_file: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let arguments = Arguments::parse();
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(3)
        }
    }
}

async fn run(Arguments { defect, serve: mut args, metrics_file }: Arguments) -> Result<(), AppError> {
    let listen = |source| AppError::Listen { address: args.listen, source };
    let listener = TcpListener::bind(args.listen).await.map_err(listen)?;
    let wrap = defect.install(&mut args);
    let app = App::build(&args.app).await?;
    let routes = wrap(app.clone(), router(app.clone()));
    let served = serve_on(listener, routes, shutdown_signal()).await;
    if let Some(file) = metrics_file {
        write_metrics_file(&app, &file).await;
    }
    app.close().await;
    served
}

/// Writes what the healthy routes answer to /metrics into a file.
async fn write_metrics_file(app: &App, file: &Path) {
    let request = Request::get("/metrics").body(Body::empty()).unwrap_or_default();
    let Ok(answer) = router(app.clone()).oneshot(request).await;
    let text = to_bytes(answer.into_body(), usize::MAX).await.unwrap_or_default();
    if let Err(error) = std::fs::write(file, text) {
        tracing::error!("can't write {}: {error}", file.display());
    }
}

async fn shutdown_signal() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
