//! On which machine, and on which boot of it, a ledger was written: elsewhere its commands would change something else, and after
//! a restart its process numbers belong to others.

use serde::{Deserialize, Serialize};

/// A machine, and one boot of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Its machine id, or its host name where it has none.
    pub id: String,
    /// Its host name, for messages.
    pub host: String,
    /// Changes with every start of the machine. Empty where the system does not say.
    pub boot: String,
}

impl Machine {
    /// This machine, now.
    pub fn here() -> Self {
        let host = host_name();
        let id = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
        let id = Some(id.trim()).filter(|id| !id.is_empty() && *id != "uninitialized");
        Self { id: id.map_or_else(|| format!("host {host}"), str::to_owned), host, boot: boot_id() }
    }
}

/// The boot of this machine. Empty where the system does not say.
pub(crate) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let asked =
        || std::process::Command::new("hostname").output().ok().and_then(|said| String::from_utf8(said.stdout).ok());
    name.or_else(asked).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_the_same_machine_twice() {
        let here = Machine::here();
        assert_eq!(here, Machine::here());
        assert!(!here.id.is_empty() && !here.id.contains('\n'), "{here:?}");
    }
}
