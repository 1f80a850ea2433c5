//! The workspace's packages, as far as the checks need them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::child::output_of;
use crate::error::{Context, Result};
use crate::toolchain::clean;
use crate::workspace::Workspace;

/// A package of the workspace.
#[derive(Clone, Debug, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// What it depends on.
    #[serde(default)]
    pub dependencies: Vec<Dependency>,
    /// Its manifest.
    pub manifest_path: PathBuf,
    #[serde(default)]
    id: String,
    #[serde(default)]
    metadata: Option<Metadata>,
}

/// A dependency.
#[derive(Clone, Debug, Deserialize)]
pub struct Dependency {
    /// The package's name.
    pub name: String,
    /// The condition under which it is used, such as `cfg(loom)`.
    #[serde(default)]
    pub target: Option<String>,
    /// `None` for a normal one, otherwise `dev` or `build`.
    #[serde(default)]
    pub kind: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    viper: Viper,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Viper {
    floor: Option<String>,
    #[serde(default)]
    public: BTreeSet<String>,
}

impl Package {
    /// The floor that it states.
    pub fn floor(&self) -> Option<&str> {
        self.metadata.as_ref()?.viper.floor.as_deref()
    }

    /// Foreign crates whose types may be in its public items.
    pub fn public(&self) -> impl Iterator<Item = &str> {
        self.metadata
            .iter()
            .flat_map(|metadata| &metadata.viper.public)
            .map(String::as_str)
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(Path::new("."))
    }

    /// Dependencies of the code itself: those for tests are free, and loom is one of them.
    pub fn used(&self) -> impl Iterator<Item = &Dependency> {
        self.dependencies.iter().filter(|dependency| {
            let tests = dependency.kind.as_deref() == Some("dev");
            !tests && dependency.target.as_deref() != Some("cfg(loom)")
        })
    }

    /// All Rust files of the library and the binaries.
    ///
    /// # Errors
    ///
    /// When a folder cannot be read.
    pub fn sources(&self) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        collect(&self.dir().join("src"), &mut files)?;
        files.sort();
        Ok(files)
    }

    #[cfg(test)]
    pub fn sample(name: &str, floor: &str, needs: &[&str]) -> Self {
        let needs: Vec<_> = needs
            .iter()
            .map(|need| serde_json::json!({ "name": need }))
            .collect();
        serde_json::from_value(serde_json::json!({
            "name": name, "manifest_path": "x/Cargo.toml", "dependencies": needs,
            "metadata": { "viper": { "floor": floor } },
        }))
        .expect("a package")
    }
}

/// The packages in the order in which the workspace lists them.
///
/// # Errors
///
/// When cargo cannot read the workspace.
pub fn read(workspace: &Workspace) -> Result<Vec<Package>> {
    #[derive(Deserialize)]
    struct Answer {
        packages: Vec<Package>,
        workspace_members: Vec<String>,
    }

    let mut command = clean(Command::new("cargo"));
    command
        .current_dir(workspace.root())
        .args(["metadata", "--no-deps", "--format-version=1"]);
    let mut answer: Answer =
        serde_json::from_str(&output_of(command)?).context("cargo metadata")?;
    let place = |package: &Package| {
        answer
            .workspace_members
            .iter()
            .position(|id| *id == package.id)
    };
    answer.packages.sort_by_key(place);
    Ok(answer.packages)
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in dir.read_dir().context(dir.display())? {
        let path = entry.context(dir.display())?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}
