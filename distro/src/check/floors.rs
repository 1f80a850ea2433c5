//! Crates depend downwards only, and use only the foreign crates that their floor allows.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Package;
use crate::error::{Context, Result};
use crate::workspace::Workspace;

/// From the ground up.
const FLOORS: &[&str] = &[
    "facts",
    "models",
    "mechanisms",
    "devices",
    "kernel",
    "runtime",
    "interfaces",
    "servers",
    "programs",
    "host",
];
/// Floors that only host tools may depend on: the kernel is reached by system calls, a server by
/// its interface.
const REACHED_OTHERWISE: &[&str] = &["kernel", "servers", "programs"];

/// What each floor may use from outside: crate name to reason (`distro/floors.toml`).
pub type Rules = BTreeMap<String, BTreeMap<String, String>>;

/// Reads the rules.
///
/// # Errors
///
/// When the file is missing or has another form.
pub fn rules(workspace: &Workspace) -> Result<Rules> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        floor: Rules,
    }
    let path = workspace.root().join("distro/floors.toml");
    let text = std::fs::read_to_string(&path).context(path.display())?;
    let file: File = toml::from_str(&text).context(path.display())?;
    Ok(file.floor)
}

/// Complaints about dependencies.
pub fn dependencies(packages: &[Package], rules: &Rules) -> Vec<String> {
    let floors: BTreeMap<_, _> = packages
        .iter()
        .map(|package| (package.name.as_str(), package.floor()))
        .collect();
    let mut complaints = Vec::new();
    for package in packages {
        let Some(own) = package.floor().and_then(level) else {
            complaints.push(format!("{} states no known floor", package.name));
            continue;
        };
        for dependency in package.used() {
            let complaint = match floors.get(dependency.name.as_str()) {
                Some(floor) => inside(own, *floor),
                None => outside(own, &dependency.name, rules),
            };
            if let Some(reason) = complaint {
                let (name, needs) = (&package.name, &dependency.name);
                complaints.push(format!("{name} ({}) uses {needs}: {reason}", FLOORS[own]));
            }
        }
    }
    complaints
}

/// Complaints about the order of the workspace's members.
pub fn order(packages: &[Package]) -> Vec<String> {
    let known: Vec<_> = packages
        .iter()
        .filter_map(|p| Some((&p.name, level(p.floor()?)?)))
        .collect();
    known
        .windows(2)
        .filter(|pair| pair[0].1 > pair[1].1)
        .map(|pair| {
            let [(high, above), (low, below)] = [pair[0], pair[1]];
            format!(
                "{low} ({}) is listed after {high} ({})",
                FLOORS[below], FLOORS[above]
            )
        })
        .collect()
}

fn level(floor: &str) -> Option<usize> {
    FLOORS.iter().position(|name| *name == floor)
}

fn inside(own: usize, floor: Option<&str>) -> Option<String> {
    let floor = floor?;
    let above = level(floor)? > own;
    if above {
        return Some(format!("{floor} is above"));
    }
    let reached_otherwise = REACHED_OTHERWISE.contains(&floor) && FLOORS[own] != "host";
    reached_otherwise.then(|| format!("nothing but host tools is built on {floor}"))
}

/// The host's tools may use what deny.toml lets through.
fn outside(own: usize, name: &str, rules: &Rules) -> Option<String> {
    let floor = FLOORS[own];
    let allowed = floor == "host"
        || rules
            .get(floor)
            .is_some_and(|crates| crates.contains_key(name));
    (!allowed).then(|| "distro/floors.toml gives no reason for it".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        let facts = BTreeMap::from([("bitflags".to_string(), "sets of rights".to_string())]);
        BTreeMap::from([("facts".to_string(), facts)])
    }

    fn complaints(packages: &[Package]) -> Vec<String> {
        dependencies(packages, &rules())
    }

    #[test]
    fn downwards_and_sideways_are_fine() {
        let packages = [
            Package::sample("abi", "facts", &["bitflags"]),
            Package::sample("cap", "models", &["abi", "ipc"]),
            Package::sample("ipc", "models", &["abi"]),
            Package::sample("tool", "host", &["cap", "anything", "kernel"]),
            Package::sample("kernel", "kernel", &["cap"]),
        ];
        assert_eq!(complaints(&packages), Vec::<String>::new());
    }

    #[test]
    fn upwards_is_not() {
        let packages = [
            Package::sample("abi", "facts", &["cap"]),
            Package::sample("cap", "models", &["serde"]),
            Package::sample("fsd", "servers", &["kernel"]),
            Package::sample("sh", "programs", &["fsd"]),
            Package::sample("kernel", "kernel", &[]),
            Package::sample("stray", "attic", &[]),
        ];
        let found = complaints(&packages);
        assert_eq!(found.len(), 5, "{found:?}");
        assert_eq!(found[0], "abi (facts) uses cap: models is above");
    }

    #[test]
    fn members_go_from_low_to_high() {
        let sorted = [
            Package::sample("a", "facts", &[]),
            Package::sample("b", "kernel", &[]),
        ];
        assert!(order(&sorted).is_empty());
        let found = order(&[sorted[1].clone(), sorted[0].clone()]);
        assert_eq!(found, ["a (facts) is listed after b (kernel)"]);
    }
}
