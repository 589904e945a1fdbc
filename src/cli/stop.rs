//! Ctrl-C and SIGTERM.

use std::sync::OnceLock;

use tokio::sync::watch;

static STOP: OnceLock<watch::Sender<bool>> = OnceLock::new();

/// Turns true at the first SIGINT or SIGTERM. Must be called before goose starts, which installs its own handler if there
/// is none.
pub fn on_signal() -> watch::Receiver<bool> {
    let sender = STOP.get_or_init(|| {
        let (sender, _) = watch::channel(false);
        let handler = sender.clone();
        // Fails only if a handler is installed already, which is this one.
        let _installed = ctrlc::set_handler(move || {
            handler.send_replace(true);
        });
        sender
    });
    sender.subscribe()
}
