//! A folder for one run, gone when the run is over.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::{Context, Result};
use crate::workspace::Workspace;

/// The folder; removed with its contents when dropped.
#[derive(Debug)]
pub struct Scratch {
    dir: PathBuf,
}

impl Scratch {
    /// Makes a folder that no other run uses, and clears those of runs that died.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn new(workspace: &Workspace) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        clear_dead(&workspace.images());
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = workspace
            .images()
            .join(format!("run-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir).context(format!("cannot make {}", dir.display()))?;
        Ok(Self { dir })
    }

    /// The path of a file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left, if anything, is cleared by a later run.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Removes folders of processes that are gone.
fn clear_dead(images: &Path) {
    let Ok(entries) = images.read_dir() else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name
            .to_str()
            .and_then(|name| name.strip_prefix("run-")?.split('-').next());
        if owner.is_some_and(|owner| !Path::new("/proc").join(owner).exists())
            && Path::new("/proc/self").exists()
        {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
