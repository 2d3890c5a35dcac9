//! Where the host's own npm and pip go for packages: their environment, their configuration files, else their own word
//! for their default. Asked only when something is wanted and nobody named a mirror.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::Mirror;
use crate::adapters::process::{Invocation, find_program};
use crate::adapters::state;
use crate::content::limits;

/// The host's clients, as this process's environment shows them.
#[derive(Debug, Clone, Default)]
pub struct HostClients {
    npm_registry: Option<OsString>,
    index_url: Option<OsString>,
    home: Option<PathBuf>,
    config_home: Option<PathBuf>,
    pip_config: Option<PathBuf>,
    npm_config: Option<PathBuf>,
    path: OsString,
    asked: Arc<[OnceLock<Option<Mirror>>; 2]>,
}

impl HostClients {
    /// Reads the environment; `var` gives one of its variables.
    pub fn from_env(var: impl Fn(&str) -> Option<OsString>) -> Self {
        let any = |names: [&str; 2]| names.iter().find_map(|name| var(name)).filter(|value| !value.is_empty());
        Self {
            npm_registry: any(["npm_config_registry", "NPM_CONFIG_REGISTRY"]),
            npm_config: any(["npm_config_userconfig", "NPM_CONFIG_USERCONFIG"]).map(PathBuf::from),
            index_url: var("PIP_INDEX_URL"),
            pip_config: var("PIP_CONFIG_FILE").map(PathBuf::from),
            home: var("HOME").map(PathBuf::from),
            config_home: var("XDG_CONFIG_HOME").map(PathBuf::from),
            path: var("PATH").unwrap_or_default(),
            asked: Arc::default(),
        }
    }

    /// The registry of an archive, if it is one of theirs and they know one.
    pub(in crate::adapters) fn of(&self, archive: &str) -> Option<Mirror> {
        match archive {
            "npm" => self.asked[0].get_or_init(|| self.npm()).clone(),
            "pypi" => self.asked[1].get_or_init(|| self.pypi()).clone(),
            _ => None,
        }
    }

    fn npm(&self) -> Option<Mirror> {
        if let Some(mirror) = self.npm_registry.as_deref().and_then(parse) {
            return Some(mirror);
        }
        let users = self.npm_config.clone().or_else(|| Some(self.home.as_ref()?.join(".npmrc")));
        let files = users.into_iter().chain([PathBuf::from("/usr/local/etc/npmrc"), PathBuf::from("/etc/npmrc")]);
        let said = files.filter_map(|file| setting(&file, None, "registry")).find_map(|value| Mirror::parse(&value));
        // Away from any project: its own .npmrc is not the host's set-up.
        said.or_else(|| {
            self.answer("npm", &["config", "get", "registry"]).lines().find_map(|line| Mirror::parse(line.trim()))
        })
    }

    fn pypi(&self) -> Option<Mirror> {
        if let Some(mirror) = self.index_url.as_deref().and_then(parse) {
            return Some(mirror);
        }
        let users = self.config_home.clone().or_else(|| Some(self.home.as_ref()?.join(".config")));
        let old = self.home.as_ref().map(|home| home.join(".pip/pip.conf"));
        let files = self.pip_config.clone().into_iter().chain(users.map(|folder| folder.join("pip/pip.conf")));
        let mut files =
            files.chain(old).chain([PathBuf::from("/etc/pip.conf"), PathBuf::from("/etc/xdg/pip/pip.conf")]);
        let said = files.find_map(|file| Mirror::parse(&setting(&file, Some("global"), "index-url")?));
        said.or_else(|| {
            // pip says its default nowhere but in its help.
            let page = ["pip3", "pip"]
                .iter()
                .map(|pip| self.answer(pip, &["install", "--help"]))
                .find(|page| !page.is_empty());
            default_index(&page.unwrap_or_default())
        })
    }

    /// What a client prints, run in an empty folder; nothing if it is not there or fails.
    fn answer(&self, program: &str, args: &[&str]) -> String {
        let (Some(program), Ok(folder)) = (find_program(program, &self.path), tempfile::tempdir()) else {
            return String::new();
        };
        let mut invocation = Invocation::new(program, args).env("PATH", self.path.clone()).dir(folder.path());
        if let Some(home) = &self.home {
            invocation = invocation.env("HOME", home);
        }
        String::from_utf8_lossy(&invocation.output().unwrap_or_default()).into_owned()
    }
}

fn parse(address: &std::ffi::OsStr) -> Option<Mirror> {
    Mirror::parse(address.to_str()?)
}

/// A setting of an INI file, in a section or before any.
fn setting(file: &Path, section: Option<&str>, key: &str) -> Option<String> {
    let text = state::read_file(file, limits::OWN_FILE).ok()?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let mut current = None;
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            current = Some(name.trim());
            continue;
        }
        let named = |(name, _): &(&str, &str)| current == section && name.trim().replace('_', "-") == key;
        if let Some((_, value)) = line.split_once(['=', ':']).filter(named) {
            return Some(value.trim().trim_matches(['"', '\'']).to_owned());
        }
    }
    None
}

/// `--index-url <url>  Base URL of … (default https://…/simple).`
fn default_index(page: &str) -> Option<Mirror> {
    let words: Vec<_> = page.split_whitespace().collect();
    let at = words.iter().position(|word| word.starts_with("--index-url"))?;
    let at = at + words[at..].iter().position(|word| *word == "(default")?;
    let address = words.get(at + 1)?.split(')').next()?;
    Mirror::parse(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(files: &[(&str, &str)], env: &[(&str, &str)]) -> (tempfile::TempDir, HostClients) {
        let home = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = home.path().join(path);
            state::write_file(&path, text.as_bytes()).unwrap();
        }
        let path = home.path().as_os_str().to_owned();
        let clients = HostClients::from_env(|name| match name {
            "HOME" => Some(path.clone()),
            _ => env.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value)),
        });
        (home, clients)
    }

    fn addresses(clients: &HostClients) -> [Option<String>; 2] {
        ["npm", "pypi"].map(|archive| clients.of(archive).map(|mirror| mirror.address().to_owned()))
    }

    #[test]
    fn the_environment_comes_before_files() {
        let files = [
            (".npmrc", "; note\nfund=false\n@acme:registry=http://acme.test\nregistry = \"http://rc.test/npm/\"\n"),
            (
                ".config/pip/pip.conf",
                "[install]\nindex-url = http://no.test\n[global]\n# x\nindex_url: http://rc.test/simple/\n",
            ),
        ];
        let (_home, clients) = host(&files, &[]);
        assert_eq!(addresses(&clients), [Some("http://rc.test/npm".into()), Some("http://rc.test/simple".into())]);
        let env = [("npm_config_registry", "http://env.test/"), ("PIP_INDEX_URL", "http://env.test/simple")];
        let (_home, clients) = host(&files, &env);
        assert_eq!(addresses(&clients), [Some("http://env.test".into()), Some("http://env.test/simple".into())]);
        assert_eq!(clients.of("debian"), None);
    }

    #[test]
    fn reads_pip_s_default_from_its_help() {
        let page = "  -i, --index-url <url>       Base URL of the Package\n      Index (default\n   https://index.test/simple). This\n";
        assert_eq!(default_index(page).unwrap().address(), "https://index.test/simple");
        assert_eq!(default_index("--index-url"), None);
        assert_eq!(default_index(""), None);
    }
}
