//! What a container may have: limits, folders, variables. Nothing a person adds can weaken it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::LaunchError;
use super::config::{is_harmless_path, steers_the_loader};
use crate::template::{Network, TemplateManifest, Tmpfs};

/// Where the working folder is mounted.
pub const WORKSPACE: &str = "/workspace";

/// Variables that programs take a proxy from. A proxy's address often holds a password.
pub(super) const PROXIES: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
];

/// What a container gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// User and group id for hosts where bulla runs as root; elsewhere the container runs as the host's user.
    pub user: (u32, u32),
    /// Home folder: in memory, and gone with the container.
    pub home: String,
    /// Bound on memory, swap included, in bytes.
    pub memory: u64,
    /// Bound on processes.
    pub pids: u32,
    /// What can be reached.
    pub network: Network,
    /// Folders that can be written to, besides the home and the working folder.
    pub tmpfs: Vec<Tmpfs>,
}

impl Default for Profile {
    /// For images that do not come from a template: no network, and room for a small tool.
    fn default() -> Self {
        Self {
            user: (1000, 1000),
            home: "/home/agent".to_owned(),
            memory: 4 << 30,
            pids: 512,
            network: Network::None,
            tmpfs: vec![
                Tmpfs { path: "/tmp".to_owned(), size: 1 << 30 },
                Tmpfs { path: "/run".to_owned(), size: 64 << 20 },
            ],
        }
    }
}

impl From<&TemplateManifest> for Profile {
    /// As the template says.
    fn from(template: &TemplateManifest) -> Self {
        Self {
            user: (template.user.uid, template.user.gid),
            home: template.user.home.clone(),
            memory: template.launch.memory,
            pids: template.launch.pids,
            network: template.launch.network,
            tmpfs: template.launch.tmpfs.clone(),
        }
    }
}

impl Profile {
    /// Every folder in memory: those listed, and the home, which has room for half of the memory unless it is listed.
    pub(super) fn folders(&self) -> Vec<Tmpfs> {
        let mut folders = self.tmpfs.clone();
        if !folders.iter().any(|tmpfs| tmpfs.path == self.home) {
            folders.push(Tmpfs { path: self.home.clone(), size: self.memory / 2 });
        }
        folders
    }

    /// Refuses a profile that says nothing, or too much: zero means "no limit" to a runtime.
    pub(super) fn check(&self) -> Result<(), LaunchError> {
        let refuse = |reason: String| Err(LaunchError::Profile { reason });
        if self.user.0 == 0 || self.user.1 == 0 {
            return refuse("containers do not run as root".to_owned());
        }
        if self.memory < 8 << 20 || self.pids == 0 || self.pids > 1 << 20 {
            return refuse("memory (at least 8 MiB) and pids (up to 1,048,576) need a bound".to_owned());
        }
        let mut folders: Vec<&str> = self.tmpfs.iter().map(|tmpfs| tmpfs.path.as_str()).collect();
        if !folders.contains(&self.home.as_str()) {
            folders.push(&self.home);
        }
        folders.push(WORKSPACE);
        for (index, folder) in folders.iter().enumerate() {
            let covers = matches!(*folder, "/" | "/bin" | "/etc" | "/lib" | "/lib64" | "/sbin" | "/usr");
            let unwritable = |c: char| !(c.is_ascii_alphanumeric() || "/._-".contains(c));
            if covers || !is_harmless_path(folder) || folder.ends_with('/') || folder.contains(unwritable) {
                return refuse(format!("{folder:?} is not a folder that can be in memory"));
            }
            if folders[..index].contains(folder) {
                return refuse(format!("{folder:?} is there twice"));
            }
        }
        if self.tmpfs.iter().any(|tmpfs| tmpfs.size == 0) {
            return refuse("a folder in memory needs a size".to_owned());
        }
        Ok(())
    }
}

/// A person's home folder and the places in it that hold credentials and settings, each under every name it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    folders: Vec<PathBuf>,
    private: Vec<PathBuf>,
}

impl Home {
    /// The home at this path. `real` follows links: the home may be one, and any place in it.
    pub fn new(home: &Path, real: impl Fn(&Path) -> Option<PathBuf>) -> Self {
        const PRIVATE: [&str; 9] =
            [".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker", ".config", ".local", ".netrc"];
        let mut folders = vec![home.to_owned()];
        folders.extend(real(home));
        let mut private: Vec<PathBuf> =
            folders.iter().flat_map(|folder| PRIVATE.iter().map(|name| folder.join(name))).collect();
        private.extend(PRIVATE.iter().filter_map(|name| real(&home.join(name))));
        Self { folders, private }
    }
}

/// A folder of the host's that the container may write to, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace(String);

impl Workspace {
    /// Takes the real path of a folder. Refuses what would hand over more than a project: the root, the home folder
    /// itself, credentials in it, the system's folders, and any folder with an engine's socket below it.
    pub fn new(real: &Path, home: Option<&Home>, sockets: &[PathBuf]) -> Result<Self, LaunchError> {
        let refuse =
            |reason: &str| Err(LaunchError::Workspace { path: real.display().to_string(), reason: reason.to_owned() });
        let Some(text) = real.to_str().filter(|text| !text.chars().any(|c| c.is_control() || ":,\"".contains(c)))
        else {
            return refuse("its name has a colon, a comma, a quote or a control character");
        };
        if !real.is_absolute() || real.components().any(|part| part.as_os_str() == "..") {
            return refuse("it is not the real path of a folder");
        }
        if real.parent().is_none() {
            return refuse("it is the whole file system");
        }
        const SYSTEM: [&str; 12] =
            ["/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr", "/var/lib"];
        if real == Path::new("/var") || SYSTEM.iter().any(|system| real.starts_with(system)) {
            return refuse("it is part of the system");
        }
        if let Some(home) = home {
            if home.folders.iter().any(|folder| folder.starts_with(real)) {
                return refuse("it is the home folder, or holds it");
            }
            if home.private.iter().any(|place| real.starts_with(place) || place.starts_with(real)) {
                return refuse("it is where programs keep credentials and settings, or holds such a place");
            }
        }
        if sockets.iter().any(|socket| socket.starts_with(real)) {
            return refuse("the socket of a container engine is in it, and who has that has the machine");
        }
        Ok(Self(text.to_owned()))
    }

    /// The path on the host.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Variables of the host's that the container gets, by name; their values never stand on a command line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Variables(Vec<(String, OsString)>);

impl Variables {
    /// Takes the variables of these names that are set. Refuses names that are none, and those that steer the
    /// engine's own program, which gets the values too, or that hold keys of bulla's.
    pub fn take<'a>(
        names: impl IntoIterator<Item = &'a str>,
        var: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, LaunchError> {
        let mut taken = Vec::new();
        for name in names {
            let refuse = |reason| {
                let name = name.chars().take(80).collect();
                Err(LaunchError::Variable { name, reason })
            };
            let starts = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
            if !starts || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                return refuse("write the name alone, letters, digits and _; the value is taken from the environment");
            }
            if PROXIES.iter().any(|proxy| name.eq_ignore_ascii_case(proxy)) {
                return refuse(
                    "the container engine's own program would go through that proxy too, and a proxy's address often \
                     holds a password; containers get no proxy of the host's",
                );
            }
            if steers_the_client(name) || steers_the_loader(name) {
                return refuse(
                    "it would steer the container engine's own program, or hold a key that is not for containers",
                );
            }
            if let Some(value) = var(name)
                && !taken.iter().any(|(known, _)| known == name)
            {
                taken.push((name.to_owned(), value));
            }
        }
        Ok(Self(taken))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &OsString)> {
        self.0.iter().map(|(name, value)| (name, value))
    }
}

/// Whether a variable of this name tells docker's or podman's own program what to do: where its engine, settings,
/// files, certificates and descriptors are. Keys of bulla's and cosign's are not for containers either.
fn steers_the_client(name: &str) -> bool {
    const STEERING: [&str; 16] = [
        "DOCKER_",
        "CONTAINER",
        "_CONTAINERS_",
        "PODMAN_",
        "_PODMAN_",
        "BUILDAH_",
        "_BUILDAH_",
        "STORAGE_",
        "REGISTRY_",
        "XDG_",
        "BULLA_",
        "COSIGN_",
        "DBUS_",
        "SSL_CERT_",
        "LISTEN_",
        "_OCI_",
    ];
    const EXACT: [&str; 11] = [
        "PATH",
        "HOME",
        "TMPDIR",
        "SSH_AUTH_SOCK",
        "GODEBUG",
        "GOTRACEBACK",
        "SHELL",
        "NOTIFY_SOCKET",
        "GCONV_PATH",
        "HOSTALIASES",
        "RES_OPTIONS",
    ];
    EXACT.contains(&name) || STEERING.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class::Classified;

    #[test]
    fn refuses_working_folders_that_hand_over_more_than_a_project() {
        let home = Home::new(Path::new("/home/ann"), |_| None);
        let sockets = [PathBuf::from("/srv/engine/docker.sock")];
        let code = |path: &str| Workspace::new(Path::new(path), Some(&home), &sockets).map_err(|error| error.code());
        for path in [
            "/",
            "/home",
            "/home/ann",
            "/home/ann/.ssh",
            "/home/ann/.docker/x",
            "/etc",
            "/proc/self",
            "/run",
            "/usr/src",
            "/srv",
            "/srv/engine",
            "/srv/engine/docker.sock",
            "relative",
            "",
            "/a:b",
            "/a,b",
            "/a\nb",
            "/a\"b",
            "/a/../etc",
        ] {
            assert_eq!(code(path), Err("unsafe-workspace"), "{path:?}");
        }
        for path in ["/home/ann/project", "/srv/code", "/tmp/x", "/home/ann2", "/home/ann/.sshx"] {
            assert_eq!(code(path), Ok(Workspace(path.to_owned())), "{path:?}");
        }
    }

    #[test]
    fn links_do_not_hide_the_home_or_the_credentials_in_it() {
        // /home/ann is a link to /srv/homes/ann, and .ssh in it one to /srv/keys/ann.
        let real = |path: &Path| match path.to_str() {
            Some("/home/ann") => Some(PathBuf::from("/srv/homes/ann")),
            Some("/home/ann/.ssh") => Some(PathBuf::from("/srv/keys/ann")),
            _ => None,
        };
        let home = Home::new(Path::new("/home/ann"), real);
        let code = |path: &str| Workspace::new(Path::new(path), Some(&home), &[]).map_err(|error| error.code());
        for path in [
            "/srv",
            "/srv/homes",
            "/srv/homes/ann",
            "/srv/homes/ann/.aws",
            "/srv/homes/ann/.config/x",
            "/srv/keys",
            "/srv/keys/ann",
            "/srv/keys/ann/x",
        ] {
            assert_eq!(code(path), Err("unsafe-workspace"), "{path:?}");
        }
        for path in ["/srv/homes/ann/project", "/srv/homes/bob", "/srv/keys/bob"] {
            assert_eq!(code(path), Ok(Workspace(path.to_owned())), "{path:?}");
        }
    }

    #[test]
    fn takes_variables_by_name_and_only_harmless_ones() {
        let var = |name: &str| (name != "UNSET").then(|| OsString::from("secret"));
        let taken = Variables::take(["API_KEY", "UNSET", "API_KEY"], var).unwrap();
        assert_eq!(taken.0, [("API_KEY".to_owned(), OsString::from("secret"))]);
        for name in [
            "",
            "A=1",
            "-A",
            "--privileged",
            "A B",
            "A\n",
            "1A",
            "LD_PRELOAD",
            "DOCKER_HOST",
            "PATH",
            "BULLA_KEY_PASSWORD",
            "_CONTAINERS_USERNS_CONFIGURED",
            "_CONTAINERS_ROOTLESS_UID",
            "CONTAINERS_CONF",
            "LISTEN_FDS",
            "LISTEN_PID",
            "LISTEN_FDNAMES",
            "NOTIFY_SOCKET",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
            "HTTPS_PROXY",
            "https_proxy",
            "Http_Proxy",
            "all_proxy",
            "NO_PROXY",
        ] {
            assert!(Variables::take([name], var).is_err(), "{name:?}");
        }
        assert!(Variables::take(["http_proxy"], var).unwrap_err().to_string().contains("proxy's address"));
        assert!(Variables::take(["LISTENER", "MY_PROXY", "CONTACT", "NOTIFY"], var).is_ok());
    }

    #[test]
    fn the_home_is_in_memory_once_listed_or_not() {
        let listed = Tmpfs { path: "/home/agent".to_owned(), size: 7 };
        let profile = Profile { memory: 64 << 20, tmpfs: vec![listed.clone()], ..Profile::default() };
        assert!(profile.check().is_ok());
        assert_eq!(profile.folders(), [listed]);
        let profile = Profile { tmpfs: Vec::new(), ..profile };
        assert_eq!(profile.folders(), [Tmpfs { path: "/home/agent".to_owned(), size: 32 << 20 }]);
    }

    #[test]
    fn bundled_templates_have_profiles_that_can_be_launched() {
        for name in crate::template::Template::bundled_names() {
            let template = crate::template::Template::bundled(name).unwrap();
            assert!(Profile::from(&template.manifest).check().is_ok(), "{name}");
        }
    }

    #[test]
    fn refuses_profiles_without_bounds() {
        assert!(Profile::default().check().is_ok());
        let tmpfs =
            |path: &str, size| Profile { tmpfs: vec![Tmpfs { path: path.to_owned(), size }], ..Profile::default() };
        let bad = [
            Profile { memory: 0, ..Profile::default() },
            Profile { pids: 0, ..Profile::default() },
            Profile { user: (0, 1000), ..Profile::default() },
            Profile { home: "/".to_owned(), ..Profile::default() },
            Profile { home: WORKSPACE.to_owned(), ..Profile::default() },
            tmpfs("/tmp", 0),
            tmpfs("/etc", 1),
            tmpfs("/tmp:exec", 1),
            tmpfs("/proc/x", 1),
            tmpfs("tmp", 1),
        ];
        for profile in bad {
            assert!(profile.check().is_err(), "{profile:?}");
        }
    }
}
