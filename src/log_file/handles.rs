//! Who has a log file open, by count. No I/O and no lock.

/// Open handles of a log file.
#[derive(Debug, Default)]
pub struct Handles {
    open: u32,
    writers: u32,
    /// Writers for which the kernel writes: nobody is told of what they append.
    unseen: u32,
    /// Whether one handle, writer and unseen writer stands for programs that write through a mount whose daemon is
    /// dead.
    orphaned: bool,
    /// Whether somebody had it open beside another for longer than a close takes.
    shared: bool,
}

impl Handles {
    /// All of a local file that becomes a log: any of them may write.
    pub fn of_local_file(count: u32) -> Handles {
        Handles { open: count, writers: count, ..Handles::default() }
    }

    /// Open handles.
    pub fn open(&self) -> u32 {
        self.open
    }

    /// Those that may write.
    pub fn writers(&self) -> u32 {
        self.writers
    }

    /// Whether there are any.
    pub fn is_open(&self) -> bool {
        self.open > 0
    }

    /// Whether there is exactly one.
    pub fn is_alone(&self) -> bool {
        self.open == 1
    }

    /// Whether somebody may append of whom nobody is told.
    pub fn has_unseen(&self) -> bool {
        self.unseen > 0
    }

    /// Whether programs write through a mount whose daemon is dead.
    pub fn is_orphaned(&self) -> bool {
        self.orphaned
    }

    /// Whether somebody had it open beside another for long.
    pub fn is_shared(&self) -> bool {
        self.shared
    }

    /// One more.
    pub fn add(&mut self, write: bool) {
        self.open += 1;
        self.writers += u32::from(write);
    }

    /// One less.
    pub fn remove(&mut self, write: bool) {
        self.open = self.open.saturating_sub(1);
        self.writers = self.writers.saturating_sub(u32::from(write));
        self.shared &= self.open > 0;
    }

    /// For one of the writers the kernel writes.
    pub(super) fn add_unseen(&mut self) {
        self.unseen += 1;
    }

    /// One of those less.
    pub fn remove_unseen(&mut self) {
        self.unseen = self.unseen.saturating_sub(1);
    }

    /// Others were waited for: those that are left share it.
    pub(super) fn waited_for(&mut self) {
        self.shared = self.open > 1;
    }

    /// Whether programs of a dead mount still write, who count as one.
    pub(super) fn set_orphaned(&mut self, orphaned: bool) {
        if std::mem::replace(&mut self.orphaned, orphaned) == orphaned {
            return;
        }
        for count in [&mut self.open, &mut self.writers, &mut self.unseen] {
            *count = if orphaned { *count + 1 } else { count.saturating_sub(1) };
        }
    }
}
