//! The reference app with one planted defect, for showing that cacheproof catches it.
//!
//! `defective-app DEFECT [flags of cacheproof serve]`; `none` is the healthy app.

mod defects;

use clap::Parser;
use defects::{DEFECTS, Defect};
use reference_app::{App, AppError, ServeArgs, router, serve_on};
use std::process::ExitCode;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[derive(Parser)]
#[command(version, about, after_help = defects::help())]
struct Arguments {
    /// What to plant
    #[arg(value_parser = defects::find)]
    defect: &'static Defect,
    #[command(flatten)]
    serve: ServeArgs,
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

async fn run(Arguments { defect, serve: mut args }: Arguments) -> Result<(), AppError> {
    debug_assert!(DEFECTS.iter().any(|known| known.name == defect.name));
    let listen = |source| AppError::Listen { address: args.listen, source };
    let listener = TcpListener::bind(args.listen).await.map_err(listen)?;
    let wrap = (defect.plant)(&mut args);
    let app = App::build(&args).await?;
    let routes = wrap(app.clone(), router(app.clone()));
    let served = serve_on(listener, routes, told_to_stop()).await;
    app.close().await;
    served
}

async fn told_to_stop() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
