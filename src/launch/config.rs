//! What an image asks of whoever runs it, read with suspicion before anything is started.
//!
//! The image is verified by then, and still: its config steers the programs that set a container up, with the host's
//! rights. Values that have led out of containers (runc's CVE-2024-21626 through the working directory, containerd's
//! CVE-2024-40635 through the user, hooks that inherit the image's `LD_PRELOAD`) are refused whoever signed them.

use std::collections::BTreeMap;

use super::LaunchError;
use crate::oci::ImageConfig;

/// Characters of any one value. Linux stops paths at 4,096.
const MAX_VALUE: usize = 4_096;
/// Characters of one environment variable: Linux takes 128 KiB.
const MAX_VARIABLE: usize = 128 << 10;
/// Variables, volumes, words of a command: real images have a few dozen.
const MAX_COUNT: usize = 1_024;
/// The highest id: above it, signed readers overflow.
const MAX_ID: u32 = (1 << 31) - 1;

/// Refuses an image config that nobody should start a container from.
pub fn check_config(config: &ImageConfig) -> Result<(), LaunchError> {
    let refuse =
        |what, value: &str, reason| Err(LaunchError::Config { what, value: value.chars().take(120).collect(), reason });
    if !is_user(&config.user) {
        return refuse("USER", &config.user, "write a name or number, and a group after a colon");
    }
    if !config.working_dir.is_empty() && !is_harmless_path(&config.working_dir) {
        return refuse("WORKDIR", &config.working_dir, "it is not a plain path inside the container");
    }
    for volume in &config.volumes {
        if volume == "/" || !is_harmless_path(volume) {
            return refuse("VOLUME", volume, "it is not a plain path inside the container");
        }
    }
    for variable in &config.env {
        let name = variable.split_once('=').map_or("", |(name, _)| name);
        if name.is_empty() || variable.len() > MAX_VARIABLE || name.chars().any(|c| c.is_control() || c == ' ') {
            return refuse("ENV", variable, "it is not NAME=value");
        }
        if variable.contains('\0') {
            return refuse("ENV", variable, "it has a zero byte");
        }
        if steers_the_loader(name) {
            return refuse(
                "ENV",
                variable,
                "it steers the dynamic loader of every program, the runtime's hooks included",
            );
        }
    }
    for word in config.entrypoint.iter().chain(&config.cmd) {
        if word.contains('\0') || word.len() > MAX_VARIABLE {
            return refuse("ENTRYPOINT or CMD", word, "it cannot be a program's argument");
        }
    }
    let counts = [config.env.len(), config.volumes.len(), config.entrypoint.len() + config.cmd.len()];
    if counts.iter().any(|count| *count > MAX_COUNT) {
        return refuse("config", "", "it has more than 1,024 variables, volumes or arguments");
    }
    Ok(())
}

/// What annotations may begin with: the vocabularies in which published images say where they come from.
const INFORMATION: [&str; 9] = [
    "org.opencontainers.image.",
    "org.opencontainers.artifact.",
    "org.label-schema.",
    "com.docker.official-images.",
    "com.github.package.",
    "dev.cosignproject.",
    "dev.sigstore.",
    "io.artifacthub.",
    "vnd.docker.reference.",
];

/// Refuses annotations of an image's manifest that somebody could act on.
///
/// podman copies them into the container's own, where they are orders: to crun and runc (`run.oci.…`,
/// `org.systemd.property.…`, `org.criu.…`), to podman (`io.podman.…`), and to every OCI hook that the machine has,
/// each with a pattern of its own. There is no whole list of those, so the list is of what only informs: the keys that
/// the image specification, docker's official images, GitHub and Sigstore put on images. Most images have no others,
/// or none.
pub fn check_annotations(annotations: &BTreeMap<String, String>) -> Result<(), LaunchError> {
    match annotations.keys().find(|key| !INFORMATION.iter().any(|prefix| key.starts_with(prefix))) {
        None => Ok(()),
        Some(key) => Err(LaunchError::Config {
            what: "annotation",
            value: key.chars().take(120).collect(),
            reason: "container runtimes and their hooks may take it for an order; publish the image without it, or \
                     under org.opencontainers.image.*",
        }),
    }
}

/// Whether a variable of this name changes which code programs load.
pub(super) fn steers_the_loader(name: &str) -> bool {
    name.starts_with("LD_") || name == "GLIBC_TUNABLES"
}

/// `name`, `uid`, and each with `:group`: nothing that a reader of numbers could wrap around.
fn is_user(user: &str) -> bool {
    let part = |text: &str| match text.bytes().next() {
        Some(b'0'..=b'9') => {
            let canonical = text == "0" || !text.starts_with('0');
            canonical && text.parse::<u32>().is_ok_and(|id| id <= MAX_ID)
        }
        Some(b'a'..=b'z' | b'A'..=b'Z' | b'_') => {
            text.len() <= 32 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
        }
        _ => false,
    };
    match user.split_once(':') {
        None => user.is_empty() || part(user),
        Some((name, group)) => part(name) && part(group),
    }
}

/// An absolute path in its plainest form that does not lead into the kernel's own file systems.
pub(super) fn is_harmless_path(path: &str) -> bool {
    if path.len() > MAX_VALUE || path.chars().any(char::is_control) {
        return false;
    }
    let Some(rest) = path.strip_prefix('/') else { return false };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let plain = rest.is_empty() || rest.split('/').all(|part| !matches!(part, "" | "." | ".."));
    plain && !matches!(rest.split('/').next(), Some("proc" | "sys" | "dev"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class::{Class, Classified};

    fn refused(config: ImageConfig) -> bool {
        match check_config(&config) {
            Ok(()) => false,
            Err(error) => {
                assert_eq!((error.class(), error.code()), (Class::Format, "unsafe-image-config"));
                true
            }
        }
    }

    #[test]
    fn takes_what_images_have() {
        for user in ["", "1000", "1000:1000", "agent", "www-data:www-data", "_apt:65534", "0:0", "2147483647"] {
            assert!(!refused(ImageConfig { user: user.to_owned(), ..ImageConfig::default() }), "{user}");
        }
        let config = ImageConfig {
            working_dir: "/workspace/".to_owned(),
            volumes: vec!["/var/lib/data".to_owned()],
            env: vec!["PATH=/usr/bin:/bin".to_owned(), "EMPTY=".to_owned(), "LANG=C.UTF-8".to_owned()],
            entrypoint: vec!["/usr/bin/tini".to_owned(), "--".to_owned()],
            ..ImageConfig::default()
        };
        assert!(!refused(config));
    }

    #[test]
    fn i13_refuses_users_that_wrap_around() {
        for user in ["4294967296", "2147483648", "-1", "0x0", "007", "1000:", ":0", ":", "a b", "root\n", "1:2:3", "١٠"]
        {
            assert!(refused(ImageConfig { user: user.to_owned(), ..ImageConfig::default() }), "{user:?}");
        }
        assert!(refused(ImageConfig { user: "9".repeat(100_000), ..ImageConfig::default() }));
    }

    #[test]
    fn i13_refuses_working_directories_that_lead_out() {
        for dir in
            ["/proc/self/fd/8", "/proc", "relative", "/a/../proc/self", "//proc/self", "/./proc", "/a\nb", "/dev/fd/7"]
        {
            assert!(refused(ImageConfig { working_dir: dir.to_owned(), ..ImageConfig::default() }), "{dir:?}");
        }
        assert!(!refused(ImageConfig { working_dir: "/procedures".to_owned(), ..ImageConfig::default() }));
    }

    #[test]
    fn i13_refuses_volumes_over_the_system() {
        for volume in ["/", "/proc", "/sys/fs/cgroup", "", "data", "/a/.."] {
            assert!(refused(ImageConfig { volumes: vec![volume.to_owned()], ..ImageConfig::default() }), "{volume:?}");
        }
    }

    #[test]
    fn i13_refuses_variables_that_steer_the_loader() {
        for variable in
            ["LD_PRELOAD=/x.so", "LD_LIBRARY_PATH=", "GLIBC_TUNABLES=x", "NOVALUE", "=x", "A B=1", "A\n=1", "A=\0"]
        {
            assert!(refused(ImageConfig { env: vec![variable.to_owned()], ..ImageConfig::default() }), "{variable:?}");
        }
        assert!(refused(ImageConfig { env: vec!["A=1".to_owned(); 2_000], ..ImageConfig::default() }));
    }
}
