//! Ctrl-C and SIGTERM, for the whole program.

use std::sync::OnceLock;

use tokio::sync::watch;

static STOP: OnceLock<watch::Sender<bool>> = OnceLock::new();

/// Turns true at the first SIGINT or SIGTERM. Must be called before goose starts, which would otherwise take
/// SIGINT for itself.
pub fn on_signal() -> watch::Receiver<bool> {
    let sender = STOP.get_or_init(|| {
        let (sender, _) = watch::channel(false);
        let handler = sender.clone();
        // Fails only where a handler is installed already, which is ours.
        let _installed = ctrlc::set_handler(move || {
            handler.send_replace(true);
        });
        sender
    });
    sender.subscribe()
}
