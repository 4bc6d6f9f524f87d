//! Typed calls about what only our daemon has: time-outs of the table,
//! connection synchronisation, persistence engines, encapsulation.

use super::Client;
use crate::error::CtlError;
use crate::id;
use crate::msg::{DestExt, ServiceExt, SyncDaemon, TableTimeouts};
use crate::wire::{Tail, Wire, decode_counted};

impl Client {
    /// The time-outs of established connections, after a FIN, and of UDP.
    ///
    /// # Errors
    /// See [`CtlError`]; `ShortReply` without a byte from a C daemon.
    pub fn timeouts(&self) -> Result<TableTimeouts, CtlError> {
        self.get_as(id::GET_TIMEOUTS, &[])
    }

    /// Changes time-outs; 0 leaves one as it is.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn set_timeouts(&self, timeouts: &TableTimeouts) -> Result<(), CtlError> {
        self.set(id::SET_TIMEOUTS, &timeouts.encode())
    }

    /// The daemons that synchronise connections.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn sync_daemons(&self) -> Result<Vec<SyncDaemon>, CtlError> {
        self.ext_list(id::GET_SYNC)
    }

    /// Starts a synchronisation daemon.
    ///
    /// # Errors
    /// See [`CtlError`]; `EXIST` if one of that role runs, `NODEV` without the device.
    pub fn start_sync(&self, daemon: &SyncDaemon) -> Result<(), CtlError> {
        self.set(id::SET_SYNC_START, &daemon.encode())
    }

    /// Stops the synchronisation daemon of a role.
    ///
    /// # Errors
    /// See [`CtlError`]; `NOTEXIST` if none runs.
    pub fn stop_sync(&self, daemon: &SyncDaemon) -> Result<(), CtlError> {
        self.set(id::SET_SYNC_STOP, &daemon.encode())
    }

    /// Adds a service with a persistence engine.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn add_service_ext(&self, service: &ServiceExt) -> Result<(), CtlError> {
        self.set(id::SET_SERVICE_ADD_EXT, &service.encode())
    }

    /// Changes a service with a persistence engine.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn edit_service_ext(&self, service: &ServiceExt) -> Result<(), CtlError> {
        self.set(id::SET_SERVICE_EDIT_EXT, &service.encode())
    }

    /// Adds a dest with its encapsulation.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn add_dest_ext(&self, dest: &DestExt) -> Result<(), CtlError> {
        self.set(id::SET_DEST_ADD_EXT, &dest.encode())
    }

    /// Changes a dest with its encapsulation.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn edit_dest_ext(&self, dest: &DestExt) -> Result<(), CtlError> {
        self.set(id::SET_DEST_EDIT_EXT, &dest.encode())
    }

    /// The services that have a persistence engine.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn service_exts(&self) -> Result<Vec<ServiceExt>, CtlError> {
        self.ext_list(id::GET_SERVICE_EXTS)
    }

    /// The dests that have an encapsulation of their own.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn dest_exts(&self) -> Result<Vec<DestExt>, CtlError> {
        self.ext_list(id::GET_DEST_EXTS)
    }

    fn ext_list<T: Wire>(&self, id: u32) -> Result<Vec<T>, CtlError> {
        let reply = self.get(id, &[])?;
        decode_counted(&reply, Tail::Exact).map_err(|e| super::malformed(id, e))
    }
}
