//! The crash points that one test passes: tests may share a process, and each has a runtime of its own.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, RwLock};

use logsinkfs::spool::crash_point;
use tokio::runtime::{Handle, Id};

type Watcher = Arc<dyn Fn(&'static str) + Send + Sync>;

static WATCHERS: LazyLock<RwLock<HashMap<Id, Watcher>>> = LazyLock::new(|| {
    crash_point::watch(pass);
    RwLock::default()
});

/// Has every crash point reported that this test's runtime passes from now on, on the thread that passes it.
pub fn watch(watcher: impl Fn(&'static str) + Send + Sync + 'static) {
    WATCHERS.write().unwrap().insert(Handle::current().id(), Arc::new(watcher));
}

fn pass(point: &'static str) {
    let Ok(runtime) = Handle::try_current() else { return };
    // Not locked while it watches: it may take as long as the test.
    let watcher = WATCHERS.read().unwrap().get(&runtime.id()).cloned();
    if let Some(watcher) = watcher {
        watcher(point);
    }
}
