//! What keeps the steps of a build apart from the machine, where the engine does not see to it.
//!
//! buildah's chroot isolation works wherever buildah does, in containers too, and is a `chroot` and no more: steps have
//! the machine's processes, devices and shared memory, and with `CAP_SYS_CHROOT` a way out. So buildah itself is
//! started apart, and no step has a capability that installing packages does not need. podman and docker isolate by
//! themselves.

use std::ffi::OsString;
use std::path::Path;

/// Capabilities that steps do not get, whatever the machine's configuration says: all but CHOWN, DAC_OVERRIDE, FOWNER,
/// FSETID, KILL, SETGID, SETUID and SETFCAP. Engines refuse names that the kernel does not know, so the three youngest
/// (PERFMON, BPF, CHECKPOINT_RESTORE) are missing; no engine gives them unless told to.
const DROPPED: [&str; 30] = [
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "DAC_READ_SEARCH",
    "IPC_LOCK",
    "IPC_OWNER",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "SETPCAP",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

/// The variable in which [`words`] have their script, so that it does not fill every message: what it gives the program
/// after it is a `/dev` of its own, and a folder for its work in which no file is a device.
pub(super) const SCRIPT: (&str, &str) = ("APART", include_str!("apart.sh"));

/// `--cap-drop` of everything that steps do not need.
pub(super) fn dropped() -> OsString {
    format!("--cap-drop=CAP_{}", DROPPED.join(",CAP_")).into()
}

/// Arguments of `unshare` by which the program after them has no network but an idle loopback, sees no process, mount,
/// device or shared memory of the machine, and ends with `unshare`. It needs [`SCRIPT`] in its environment. `work` and
/// `runtime` are folders of one build.
pub(super) fn words(work: &Path, runtime: &Path) -> Vec<OsString> {
    let namespaces = ["--net", "--mount", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc", "--"];
    let mut words: Vec<OsString> = namespaces.map(Into::into).into();
    words.extend(["sh", "-c", "eval \"$APART\"", "sh"].map(Into::into));
    words.extend([runtime.join("dev").into(), work.into()]);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_keep_what_installing_packages_needs_and_nothing_else() {
        // Numbers of capabilities 0 to 37, as in linux/capability.h.
        const ALL: &str = "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE \
            NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT \
            SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE \
            AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ";
        let kept: Vec<_> = ALL.split(' ').filter(|name| !DROPPED.contains(name)).collect();
        assert_eq!(kept, ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETFCAP"]);
        assert_eq!(DROPPED.len() + kept.len(), 38, "a name that is no capability is dropped");
        let word = dropped().into_string().unwrap();
        assert!(word.starts_with("--cap-drop=CAP_AUDIT_CONTROL,CAP_") && word.contains(",CAP_SYS_CHROOT,"), "{word}");
    }

    #[test]
    fn a_program_is_started_in_namespaces_of_its_own_by_a_fixed_script() {
        let words = words(Path::new("/w"), Path::new("/r"));
        let seen: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        let namespaces = ["--net", "--mount", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc", "--"];
        assert_eq!(seen[..8], namespaces);
        assert_eq!(seen[8..], ["sh", "-c", "eval \"$APART\"", "sh", "/r/dev", "/w"]);
    }
}
