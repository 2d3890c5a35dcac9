//! Launching, on a real engine.

#[path = "support/dockerd.rs"]
mod dockerd;

#[test]
fn a_daemon_of_our_own_answers() {
    let Some(daemon) = dockerd::Dockerd::start() else { return };
    assert!(daemon.docker(&["version"]).output().unwrap().status.success());
}
