//! Foreign crates' types in public items: their breakage would be ours.
//!
//! A package lists the crates that it shows on purpose in its manifest:
//!
//! ```toml
//! [package.metadata.viper]
//! public = ["bitflags"]
//! ```
//!
//! The check reads the syntax: signatures of public functions, public fields, type aliases, public
//! re-exports, trait bounds and associated types, with names resolved through the file's `use`
//! lines. Items of private modules count when a `pub use` somewhere has their name. Crates of this
//! workspace, `core`, `alloc` and `std` are always fine. It does not see through macros and glob
//! imports; `ci/semver` sees the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use syn::visit::{self, Visit};

use super::Package;
use crate::error::{Context, Result};

/// Public items with types that the package does not mean to show.
///
/// # Errors
///
/// When a file cannot be read or is not Rust.
pub fn complaints(packages: &[Package]) -> Result<Vec<String>> {
    let own: BTreeSet<_> = packages
        .iter()
        .map(|package| identifier(&package.name))
        .collect();
    let mut complaints = Vec::new();
    // Programs have no users in Rust; host tools are programs.
    for package in packages
        .iter()
        .filter(|p| !matches!(p.floor(), Some("host" | "programs")))
    {
        let allowed: BTreeSet<_> = package.public().map(identifier).collect();
        let watched: BTreeSet<_> = package
            .used()
            .map(|dependency| identifier(&dependency.name))
            .filter(|name| !own.contains(name) && !allowed.contains(name))
            .collect();
        let library = Library::read(package.dir())?;
        for (name, shown) in library.shown(&watched) {
            complaints.push(format!("{}: `{name}` shows {shown}", package.name));
        }
    }
    Ok(complaints)
}

fn identifier(package: &str) -> String {
    package.replace('-', "_")
}

/// The modules of a library.
#[derive(Default)]
struct Library {
    /// Syntax, and whether everything public in it can be reached.
    modules: Vec<(syn::File, bool)>,
    /// Names in `pub use` lines.
    re_exported: BTreeSet<String>,
}

impl Library {
    fn read(package: &Path) -> Result<Self> {
        let mut library = Self::default();
        let root = package.join("src/lib.rs");
        if root.exists() {
            library.add(&root, &package.join("src"), true)?;
        }
        Ok(library)
    }

    /// Adds a file and the modules that it declares, which are below `dir`.
    fn add(&mut self, file: &Path, dir: &Path, reachable: bool) -> Result<()> {
        let text = std::fs::read_to_string(file).context(file.display())?;
        let syntax = syn::parse_file(&text).context(file.display())?;
        for item in &syntax.items {
            match item {
                syn::Item::Mod(module) if module.content.is_none() && !is_test(&module.attrs) => {
                    let inner = dir.join(module.ident.to_string());
                    let candidates = [
                        path_attribute(&module.attrs).map(|path| file.with_file_name(path)),
                        Some(inner.with_extension("rs")),
                        Some(inner.join("mod.rs")),
                    ];
                    // The compiler complains about modules without a file.
                    let found = candidates.into_iter().flatten().find(|path| path.exists());
                    if let Some(found) = found {
                        self.add(&found, &inner, reachable && public(&module.vis))?;
                    }
                }
                syn::Item::Use(line) if public(&line.vis) => self.re_export(&line.tree),
                _ => {}
            }
        }
        self.modules.push((syntax, reachable));
        Ok(())
    }

    fn re_export(&mut self, tree: &syn::UseTree) {
        match tree {
            syn::UseTree::Path(path) => self.re_export(&path.tree),
            syn::UseTree::Group(group) => group.items.iter().for_each(|one| self.re_export(one)),
            syn::UseTree::Name(name) => drop(self.re_exported.insert(name.ident.to_string())),
            syn::UseTree::Rename(name) => drop(self.re_exported.insert(name.ident.to_string())),
            syn::UseTree::Glob(_) => {}
        }
    }

    /// Public items and the watched crate that each shows.
    fn shown(&self, watched: &BTreeSet<String>) -> Vec<(String, String)> {
        self.modules
            .iter()
            .flat_map(|(file, reachable)| {
                let found = shown_in(file, watched).into_iter();
                found.filter(|(name, _)| *reachable || self.has(name))
            })
            .collect()
    }

    /// `Type::function` is reached by way of its type.
    fn has(&self, name: &str) -> bool {
        self.re_exported
            .contains(name.split("::").next().unwrap_or(name))
    }
}

/// Public items in a file and the watched crate that each shows.
fn shown_in(file: &syn::File, watched: &BTreeSet<String>) -> Vec<(String, String)> {
    let mut finder = Finder {
        watched,
        imported: BTreeMap::new(),
        item: String::new(),
        found: vec![],
    };
    for item in &file.items {
        if let syn::Item::Use(line) = item {
            finder.import(&line.tree, None);
        }
    }
    finder.items(&file.items);
    finder.found
}

struct Finder<'a> {
    watched: &'a BTreeSet<String>,
    /// Local name to watched crate.
    imported: BTreeMap<String, String>,
    item: String,
    found: Vec<(String, String)>,
}

impl Finder<'_> {
    fn import(&mut self, tree: &syn::UseTree, root: Option<&str>) {
        match tree {
            syn::UseTree::Path(path) => {
                let first = path.ident.to_string();
                let root = root.map_or(first, Into::into);
                if self.watched.contains(&root) {
                    self.import(&path.tree, Some(&root));
                }
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.import(tree, root);
                }
            }
            syn::UseTree::Name(name) => self.remember(name.ident.to_string(), root),
            syn::UseTree::Rename(name) => self.remember(name.rename.to_string(), root),
            syn::UseTree::Glob(_) => {}
        }
    }

    fn remember(&mut self, name: String, root: Option<&str>) {
        if let Some(root) = root {
            self.imported.insert(name, root.into());
        }
    }

    fn items(&mut self, items: &[syn::Item]) {
        for item in items {
            self.item(item);
        }
    }

    fn item(&mut self, item: &syn::Item) {
        match item {
            syn::Item::Fn(function) if public(&function.vis) => {
                self.signature(&function.sig, "");
            }
            syn::Item::Struct(item) if public(&item.vis) => {
                self.item = item.ident.to_string();
                self.visit_generics(&item.generics);
                item.fields
                    .iter()
                    .filter(|f| public(&f.vis))
                    .for_each(|f| self.visit_type(&f.ty));
            }
            syn::Item::Enum(item) if public(&item.vis) => {
                self.item = item.ident.to_string();
                self.visit_generics(&item.generics);
                for field in item.variants.iter().flat_map(|variant| &variant.fields) {
                    self.visit_type(&field.ty);
                }
            }
            syn::Item::Trait(item) if public(&item.vis) => {
                self.item = item.ident.to_string();
                visit::visit_item_trait(self, item);
            }
            syn::Item::Type(item) if public(&item.vis) => {
                self.item = item.ident.to_string();
                self.visit_type(&item.ty);
            }
            syn::Item::Const(item) if public(&item.vis) => {
                self.item = item.ident.to_string();
                self.visit_type(&item.ty);
            }
            syn::Item::Use(item) if public(&item.vis) => self.re_export(&item.tree),
            syn::Item::Impl(item) if item.trait_.is_none() => self.inherent(item),
            syn::Item::Mod(item) if public(&item.vis) && !is_test(&item.attrs) => {
                self.items(
                    item.content
                        .as_ref()
                        .map_or(&[], |(_, items)| items.as_slice()),
                );
            }
            _ => {}
        }
    }

    fn inherent(&mut self, item: &syn::ItemImpl) {
        let of = match item.self_ty.as_ref() {
            syn::Type::Path(path) => path.path.segments.last().map(|s| s.ident.to_string()),
            _ => None,
        };
        let prefix = of.map(|name| format!("{name}::")).unwrap_or_default();
        for item in &item.items {
            if let syn::ImplItem::Fn(function) = item
                && public(&function.vis)
            {
                self.signature(&function.sig, &prefix);
            }
        }
    }

    fn signature(&mut self, signature: &syn::Signature, prefix: &str) {
        self.item = format!("{prefix}{}", signature.ident);
        self.visit_signature(signature);
    }

    fn re_export(&mut self, tree: &syn::UseTree) {
        let syn::UseTree::Path(path) = tree else {
            return;
        };
        let root = path.ident.to_string();
        if self.watched.contains(&root) {
            self.found.push(("pub use".into(), root));
        }
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        if let Some(first) = path
            .segments
            .first()
            .map(|segment| segment.ident.to_string())
        {
            let direct = self.watched.get(&first).filter(|_| path.segments.len() > 1);
            if let Some(shown) = direct.or(self.imported.get(&first)) {
                self.found.push((self.item.clone(), shown.clone()));
            }
        }
        visit::visit_path(self, path);
    }

    /// What a provided method does inside is its own affair.
    fn visit_block(&mut self, _: &'ast syn::Block) {}

    /// Derives and the like are not types.
    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}
}

fn public(visibility: &syn::Visibility) -> bool {
    matches!(visibility, syn::Visibility::Public(_))
}

/// The file of a module, when it says so itself.
fn path_attribute(attributes: &[syn::Attribute]) -> Option<String> {
    let attribute = attributes
        .iter()
        .find(|attribute| attribute.path().is_ident("path"))?;
    let syn::Expr::Lit(literal) = &attribute.meta.require_name_value().ok()?.value else {
        return None;
    };
    match &literal.lit {
        syn::Lit::Str(text) => Some(text.value()),
        _ => None,
    }
}

/// Whether a module exists only for tests.
fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("cfg"))
        .any(|attribute| {
            let condition = attribute.parse_args::<syn::Path>();
            condition.is_ok_and(|path| path.is_ident("test") || path.is_ident("loom"))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let file = syn::parse_file(text).expect("Rust");
        let watched = BTreeSet::from(["spin".to_string(), "elf".to_string()]);
        shown_in(&file, &watched)
            .into_iter()
            .map(|(name, _)| name)
            .collect()
    }

    #[test]
    fn types_in_public_items_are_found() {
        for text in [
            "pub fn f(x: spin::Mutex<u8>) {}",
            "use spin::Mutex; pub fn f() -> Option<Mutex<u8>> { None }",
            "use spin::{mutex::Mutex as M, Once}; pub struct f(pub M<u8>);",
            "use elf::ParseError; pub enum f { A(ParseError) }",
            "pub trait f { type A: spin::RelaxStrategy; }",
            "pub type f = spin::Mutex<u8>;",
            "pub struct f<T: spin::RelaxStrategy> { x: T }",
            "pub mod m { pub fn f(x: elf::X) {} }",
        ] {
            assert_eq!(shown(text), ["f"], "{text}");
        }
        assert_eq!(
            shown("struct S; impl S { pub fn f(x: elf::X) {} }"),
            ["S::f"]
        );
        assert_eq!(shown("pub use elf::ParseError;"), ["pub use"]);
    }

    #[test]
    fn everything_else_is_not() {
        for text in [
            "fn f(x: spin::Mutex<u8>) {}",
            "pub(crate) fn f(x: spin::Mutex<u8>) {}",
            "use spin::Mutex; pub struct S { x: Mutex<u8> }",
            "pub fn f() { let x = spin::Mutex::new(1); }",
            "pub trait T { fn f() { elf::g() } }",
            "#[derive(elf::X)] pub struct S;",
            "pub fn f(spin: u8) -> u8 { spin }",
            "#[cfg(test)] pub mod tests { pub fn f(x: elf::X) {} }",
        ] {
            assert!(shown(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn private_modules_count_only_where_they_are_re_exported() {
        let dir = std::env::temp_dir().join(format!("distro-public-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("src/open")).expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(dir.join("src").join(name), text);
        write(
            "lib.rs",
            "mod hidden; pub mod open; #[cfg(test)] mod gone; pub use hidden::Shown;",
        )
        .expect("written");
        write(
            "hidden.rs",
            "pub struct Shown(pub elf::X); pub struct Kept(pub elf::X);",
        )
        .expect("written");
        write("open/mod.rs", "pub struct Open(pub elf::X);").expect("written");
        let library = Library::read(&dir).expect("read");
        let shown = library.shown(&BTreeSet::from(["elf".to_string()]));
        let names: Vec<_> = shown.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["Shown", "Open"]);
        let _ = std::fs::remove_dir_all(&dir);
    }
}
