//! Where the CNI plugin is installed, for the agent and for `weir uninstall` alike.
//!
//! Entry point: [`CniArgs`].

use std::path::PathBuf;

use clap::Args;

use crate::cni::{STATE, install::Directories};

/// `--cni-…`.
#[derive(Clone, Debug, Args)]
pub struct CniArgs {
    /// The container runtime's directory of networks: the agent's CNI plugin is put at the end of the chain there, so that
    /// enrolled pods are captured before they start, and do not start without [default: no plugin]
    #[arg(long, env = "WEIR_CNI_CONF_DIR", value_name = "DIR", requires = "cni_bin_dir")]
    pub cni_conf_dir: Option<PathBuf>,
    /// The container runtime's directory of CNI plugins
    #[arg(long, env = "WEIR_CNI_BIN_DIR", value_name = "DIR", requires = "cni_conf_dir")]
    pub cni_bin_dir: Option<PathBuf>,
    /// Directory for what the CNI plugin goes by while no agent answers; one that a start of the machine does not empty
    #[arg(long, env = "WEIR_CNI_STATE_DIR", value_name = "DIR", default_value = STATE)]
    pub cni_state_dir: PathBuf,
}

impl CniArgs {
    /// The directories, if there is to be a plugin.
    pub fn directories(&self) -> Option<Directories> {
        let (conf, bin) = self.cni_conf_dir.clone().zip(self.cni_bin_dir.clone())?;
        Some(Directories { conf, bin, state: self.cni_state_dir.clone() })
    }
}
