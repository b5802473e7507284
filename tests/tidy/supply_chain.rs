//! Cargo.lock and the licences of its packages keep to deny.toml. `cargo deny` reads the same file and also
//! knows the advisories; this needs no further program.

use std::collections::BTreeSet;

use serde_json::Value;
use toml::Table;

/// A package of Cargo.lock.
#[derive(Debug, Clone)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) source: Option<String>,
}

/// The packages that a Cargo.lock lists.
pub(crate) fn packages(lock: &str) -> Vec<Package> {
    let lock: Table = lock.parse().expect("Cargo.lock is TOML");
    let text = |package: &toml::Value, key| package.get(key).and_then(toml::Value::as_str).map(str::to_owned);
    let listed = lock["package"].as_array().expect("a list of packages");
    let package = |listed: &toml::Value| {
        let (name, version) = (text(listed, "name")?, text(listed, "version")?);
        Some(Package { name, version, source: text(listed, "source") })
    };
    listed.iter().map(|listed| package(listed).expect("a name and a version")).collect()
}

/// The faults of `packages` against the bans and sources of deny.toml.
pub(crate) fn banned(rules: &str, packages: &[Package]) -> Vec<String> {
    let rules: Table = rules.parse().expect("deny.toml is TOML");
    let mut faults = Vec::new();
    for ban in rules["bans"]["deny"].as_array().expect("a list of bans") {
        let text = |key: &str| ban.get(key).and_then(toml::Value::as_str).unwrap_or_default();
        let (name, least) = text("crate").split_once(":>=").unwrap_or((text("crate"), "0"));
        let least: u64 = least.parse().expect("a major version");
        if text("reason").is_empty() {
            faults.push(format!("deny.toml: the ban of {name} has no reason"));
        }
        let major =
            |package: &Package| package.version.split('.').next().and_then(|major| major.parse().ok());
        let hits = packages.iter().filter(|package| package.name == name && major(package) >= Some(least));
        faults.extend(hits.map(|hit| format!("{} {}: {}", hit.name, hit.version, text("reason"))));
    }
    let ignored = rules.get("advisories").and_then(|advisories| advisories.get("ignore"));
    for advisory in ignored.and_then(toml::Value::as_array).into_iter().flatten() {
        let reason = advisory.get("reason").and_then(toml::Value::as_str).unwrap_or_default();
        if reason.is_empty() {
            let id = advisory.get("id").unwrap_or(advisory).as_str().unwrap_or("without an id");
            faults.push(format!("deny.toml: the ignored advisory {id} has no reason"));
        }
    }
    let registry = Some("registry+https://github.com/rust-lang/crates.io-index");
    let foreign =
        packages.iter().filter(|package| package.source.is_some() && package.source.as_deref() != registry);
    faults.extend(foreign.map(|package| format!("{}: not from crates.io", package.name)));
    faults
}

/// The packages of `cargo metadata` for whose licence deny.toml has no permission. Of "A OR B" and "A/B" one
/// is enough, of "A AND B" both are needed.
pub(crate) fn unlicensed(rules: &str, metadata: &Value) -> Vec<String> {
    let rules: Table = rules.parse().expect("deny.toml is TOML");
    let allowed: BTreeSet<&str> = rules["licenses"]["allow"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(toml::Value::as_str)
        .collect();
    let is_allowed = |licence: &str| {
        let plain = licence.replace(['(', ')'], "").replace('/', " OR ");
        plain.split(" AND ").all(|part| part.split(" OR ").any(|one| allowed.contains(one.trim())))
    };
    let packages = metadata["packages"].as_array().expect("a list of packages");
    let text = |package: &Value, key: &str| package[key].as_str().unwrap_or_default().to_owned();
    let refused = packages.iter().filter(|package| !is_allowed(&text(package, "license")));
    refused
        .map(|package| format!("{}: licence `{}`", text(package, "name"), text(package, "license")))
        .collect()
}
