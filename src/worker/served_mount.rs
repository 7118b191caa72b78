//! A mount as seen by the process that serves it: the descriptor, the state of the session, and who holds the mount
//! (the keeper, or this process itself with `--no-keeper`).

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::error::DaemonError;
use super::signals::{Direct, Signals};
use super::supervisor_client::{Probe, Questions, SupervisorClient};
use crate::fuse;
use crate::settings::writer::Settings;
use crate::spool::backing::{BackingError, Backings};
use crate::supervisor::{Device, Registry};
use crate::sys::launch;
use crate::types::ids::SessionId;

/// What a daemon serves.
pub struct ServedMount {
    /// /dev/fuse.
    pub fuse: OwnedFd,
    /// Where the mount is, as people are told.
    pub point: PathBuf,
    /// The session that the kernel has negotiated already, and its FUSE_INIT.
    pub session: Option<(SessionId, Vec<u8>)>,
    /// A worker served before.
    pub resumed: bool,
    /// How many served before.
    pub restarts: u64,
    /// Who holds the mount.
    pub holder: Holder,
}

/// Who holds a mount.
pub enum Holder {
    /// This process.
    Own(Device, Arc<Registry>),
    /// The keeper.
    Keeper(Arc<SupervisorClient>),
}

impl ServedMount {
    /// A mount that this process makes and serves alone.
    pub fn alone(settings: &Settings, spool: OwnedFd, owner: u32) -> Result<ServedMount, DaemonError> {
        let device = Device::new(settings.into())?;
        let registry = Registry::alone(device.fuse.try_clone()?, spool, owner);
        Ok(ServedMount {
            fuse: device.fuse.try_clone()?,
            point: device.point.clone(),
            session: None,
            resumed: false,
            restarts: 0,
            holder: Holder::Own(device, Arc::new(registry)),
        })
    }

    /// Begins the session, or takes it over.
    pub fn session(&self, adapter: fuse::Adapter, threads: usize) -> io::Result<fuse::Session> {
        match &self.session {
            Some((_, init)) => fuse::take_over(adapter, self.fuse.as_fd(), init, threads),
            None => fuse::begin(adapter, self.fuse.try_clone()?, threads),
        }
    }

    /// Says to whom it concerns that the mount serves, by the tasks of this runtime and for as long as `probe` returns.
    pub fn announce(&self, runtime: &Handle, probe: Probe) -> io::Result<()> {
        match &self.holder {
            Holder::Own(..) => launch::announce(&self.point),
            Holder::Keeper(keeper) => {
                keeper.serving(runtime, probe)?;
                // The keeper tells who started it; an attached worker was started by somebody else.
                if keeper.attached {
                    launch::announce(&self.point);
                }
            }
        }
        Ok(())
    }

    /// Listens to the signals that count here. To be called once.
    pub fn signals(&self) -> io::Result<Signals> {
        match &self.holder {
            Holder::Own(..) => Signals::new(None, Direct::Stops),
            Holder::Keeper(keeper) => {
                let direct = if keeper.attached { Direct::Leaves } else { Direct::IsLeftToTheKeeper };
                Signals::new(keeper.signals(), direct)
            }
        }
    }

    /// What people ask of the mount, where there is a keeper to ask. To be called once.
    pub fn questions(&self) -> Option<Questions> {
        match &self.holder {
            Holder::Own(..) => None,
            Holder::Keeper(keeper) => keeper.questions(),
        }
    }

    /// Takes the mount out of sight.
    pub fn detach(&self) {
        match &self.holder {
            Holder::Own(device, _) => device.detach(),
            Holder::Keeper(keeper) => keeper.detach(),
        }
    }

    /// The mount is stopped, with this exit code.
    pub fn stopped(&self, code: u8) {
        if let Holder::Keeper(keeper) = &self.holder {
            keeper.stopped(code);
        }
    }

    /// Whether the kernel can be told to write into spool files itself; why not, if not.
    pub fn probe(&self) -> Result<(), BackingError> {
        match &self.holder {
            Holder::Own(_, registry) => registry.probe(),
            Holder::Keeper(keeper) => keeper.probe(),
        }
    }

    /// Who registers spool files for that.
    pub fn backings(&self) -> Arc<dyn Backings> {
        match &self.holder {
            Holder::Own(_, registry) => registry.clone(),
            Holder::Keeper(keeper) => keeper.clone(),
        }
    }
}
