//! Where things are: the sources, the target directory, the images.

use std::path::{Path, PathBuf};

use crate::error::{Context, Result};

/// The folders of one checkout.
#[derive(Clone, Debug)]
pub struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// Finds the checkout that this program was built from.
    ///
    /// # Errors
    ///
    /// When the folder is gone.
    pub fn find() -> Result<Self> {
        let package = std::env::var_os("CARGO_MANIFEST_DIR")
            .map(PathBuf::from)
            .filter(|dir| dir.ends_with("distro"))
            .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
        let root = package
            .join("..")
            .canonicalize()
            .context(format!("the sources in {}", package.display()))?;
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(dir) => root.join(dir),
            None => root.join("target"),
        };
        Ok(Self { root, target })
    }

    /// The top folder of the checkout.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The manifest of the image.
    pub fn manifest(&self) -> PathBuf {
        self.root.join("distro/manifest.toml")
    }

    /// Cargo's target directory for the bare-metal targets, kept between runs.
    pub fn bare_target(&self) -> PathBuf {
        self.target.join("bare")
    }

    /// The folder of everything that is made for QEMU.
    pub fn images(&self) -> PathBuf {
        self.target.join("viperos")
    }
}

/// Writes `bytes` to `path` unless they are there already, by way of a temporary file.
///
/// Says whether the file changed.
///
/// # Errors
///
/// When the file cannot be written.
pub fn write_if_changed(path: &Path, bytes: &[u8]) -> Result<bool> {
    if std::fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(false);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let written =
        std::fs::write(&temporary, bytes).and_then(|()| std::fs::rename(&temporary, path));
    written.context(format!("cannot write {}", path.display()))?;
    Ok(true)
}
