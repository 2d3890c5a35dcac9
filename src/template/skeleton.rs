//! What `bulla init` begins a template with: a manifest and a Dockerfile that lock and build as they are.

use std::collections::BTreeMap;

use super::{Template, TemplateError, TemplateManifest};

const MANIFEST: &str = include_str!("skeleton/template.toml");
const DOCKERFILE: &str = include_str!("skeleton/Dockerfile");

/// A template of this name on another one: the same platforms, archives and user, and no package more.
pub fn template(name: &str, base: &TemplateManifest) -> Result<Template, TemplateError> {
    let quoted = |words: Vec<String>| words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
    let archives: String = base
        .deb
        .archives
        .iter()
        .map(|archive| {
            let (suites, components) = (quoted(archive.suites.clone()), quoted(archive.components.clone()));
            format!(
                "\n[[deb.archive]]\nname = \"{}\"\nsuites = [{suites}]\ncomponents = [{components}]\n",
                archive.name
            )
        })
        .collect();
    // In this order: no value holds a word that is still to be filled in, as these are in upper case.
    let filled = |text: &str| {
        text.replace("PLATFORMS", &quoted(base.platforms.iter().map(ToString::to_string).collect()))
            .replace("ARCHIVES", &archives)
            .replace("HOMEDIR", &base.user.home)
            .replace("DISTRO", &base.deb.distro)
            .replace("\"USER\"", &format!("\"{}\"", base.user.name))
            .replace("UID", &base.user.uid.to_string())
            .replace("GID", &base.user.gid.to_string())
            .replace("\"BASE\"", &format!("\"{}\"", base.name))
            .replace("BASE", &base.name)
            .replace("NAME", name)
    };
    let files = [("template.toml", filled(MANIFEST)), ("Dockerfile", filled(DOCKERFILE))];
    let files = files.map(|(path, text)| (path.to_owned(), text.into_bytes()));
    Template::from_files(name, BTreeMap::from(files))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile::Dockerfile;

    #[test]
    fn makes_a_template_that_every_engine_may_build() {
        for base in Template::bundled_names() {
            let base = Template::bundled(base).unwrap();
            let made = template("mine", &base.manifest).unwrap();
            assert_eq!(made.manifest.base.as_ref(), Some(&base.name));
            assert_eq!(made.manifest.user, base.manifest.user);
            assert_eq!(made.manifest.deb.archives, base.manifest.deb.archives);
            Dockerfile::scan(made.dockerfile()).check("Dockerfile", &[]).unwrap();
        }
    }

    #[test]
    fn refuses_names_that_no_template_has() {
        let base = Template::bundled("base").unwrap().manifest;
        for name in ["", "../x", "A", "a b", "base"] {
            assert!(template(name, &base).is_err(), "{name}");
        }
    }
}
