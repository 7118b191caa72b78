//! Crash points: named places between two steps whose order matters. A program that dies at any of them must lose
//! nothing; the comment at each says what the next start finds. Tests take an image of the disk at each. A release
//! build does not have them.

#[cfg(debug_assertions)]
use parking_lot::RwLock;

/// Is told of each place that is passed, on the thread that passes it.
#[cfg(debug_assertions)]
pub type Watcher = Box<dyn Fn(&'static str) + Send + Sync>;

#[cfg(debug_assertions)]
static WATCHER: RwLock<Option<Watcher>> = RwLock::new(None);

/// A place where the order of the steps before and behind it matters. Names are unique in the program.
#[inline]
pub fn crash_point(name: &'static str) {
    #[cfg(debug_assertions)]
    if let Some(watcher) = &*WATCHER.read() {
        watcher(name);
    }
    #[cfg(not(debug_assertions))]
    let _ = name;
}

/// Has every place reported that this process passes from now on.
#[cfg(debug_assertions)]
pub fn watch(watcher: impl Fn(&'static str) + Send + Sync + 'static) {
    *WATCHER.write() = Some(Box::new(watcher));
}
