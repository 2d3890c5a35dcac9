//! Signing without a key of one's own, by the binary, against the in-process Sigstore over loopback.

#[path = "support/cli.rs"]
mod cli;
#[path = "support/image.rs"]
mod image;
#[path = "support/registry.rs"]
mod registry;
#[path = "support/stage.rs"]
mod stage;
#[path = "support/mod.rs"]
mod support;

use cli::{Desk, Run};
use serde_json::json;
use stage::Stage;
use support::sigstore::Sigstore;
use support::sigstore::services::{Services, token};

const WHO: [&str; 4] = ["--identity", "somebody@example.test", "--issuer", "https://issuer.test"];

/// Somebody with an image in a layout, a token, and what the services say of themselves.
struct Scene {
    stage: Stage,
    services: Services,
    layout: String,
}

impl Scene {
    fn new() -> Self {
        let stage = Stage::attested();
        let services = Services::start(Sigstore::new());
        let desk = &stage.desk;
        desk.write("work/root.json", services.world.trusted_root_json());
        desk.write("work/token", token(&json!({})));
        for rekor in [1, 2] {
            desk.write(&format!("work/config{rekor}.json"), services.signing_config(rekor));
        }
        let layout = stage.layout("work/image.oci", "base:1", &[]);
        Self { stage, services, layout }
    }

    fn desk(&self) -> &Desk {
        &self.stage.desk
    }

    fn sign(&self, config: &str, more: &[&str]) -> Run {
        let by = ["sign", &self.layout, "--keyless", "--signing-config", config, "--trusted-root", "root.json"];
        self.desk().run(&[&by[..], more].concat())
    }

    fn verify(&self, more: &[&str]) -> Run {
        self.desk().run(&[&["verify", &self.layout, "--require", "signature"], more].concat())
    }
}

#[test]
fn what_is_signed_without_a_key_is_admitted_by_its_identity() {
    for config in ["config1.json", "config2.json"] {
        let scene = Scene::new();
        scene.verify(&[&WHO[..], &["--trusted-root", "root.json"]].concat()).ends(1);
        let run = scene.sign(config, &["--identity-token", "@token"]).ends(0);
        assert!(run.stderr.contains("attached"), "{run:?}");
        scene.verify(&[&WHO[..], &["--trusted-root", "root.json"]].concat()).ends(0);
        // Another root, another person, another issuer: each is somebody else.
        scene.verify(&WHO).ends(1);
        let other =
            ["--identity", "other@example.test", "--issuer", "https://issuer.test", "--trusted-root", "root.json"];
        scene.verify(&other).ends(1);
        let other = ["--identity", WHO[1], "--issuer", "https://issuer.test/", "--trusted-root", "root.json"];
        scene.verify(&other).ends(1);
        let asked = scene.services.requests();
        assert_eq!(asked.len(), 3, "a certificate, an entry, a timestamp: {asked:?}");
    }
}

#[test]
fn attestations_are_made_without_a_key_too() {
    let scene = Scene::new();
    let predicate = scene.desk().write("work/p.json", stage::predicate(stage::SLSA).to_string());
    let by = ["attest", &scene.layout, "--keyless", "--signing-config", "config2.json", "--trusted-root", "root.json"];
    let what = ["--type", "slsa-v1", "--predicate", &predicate];
    let mut command = scene.desk().command(&[&by[..], &what].concat());
    cli::finish(command.env("SIGSTORE_ID_TOKEN", token(&json!({}))), b"").ends(0);
    let run = scene.desk().run(
        &[&["verify", &scene.layout, "--require", "provenance", "--trusted-root", "root.json"], &WHO[..]].concat(),
    );
    run.ends(0);
}

#[test]
fn l07_a_token_is_never_shown_and_goes_to_the_certificate_authority_alone() {
    let scene = Scene::new();
    let secret = token(&json!({}));
    let expired = token(&json!({ "exp": 1 }));
    let foreign = scene.desk().write("work/foreign.json", Sigstore::new().trusted_root_json());
    let config = |text: &str| scene.desk().write("work/config.json", text);
    let good = scene.services.signing_config(2);
    for (run, code) in [
        (scene.sign("config2.json", &["--identity-token", &secret]), 0),
        (scene.sign("config2.json", &["--identity-token", &expired]), 3),
        (scene.sign("config2.json", &["--identity-token", "not-a-token"]), 3),
        (scene.sign("config2.json", &["--identity-token", "@nowhere"]), 2),
        (scene.sign("config2.json", &["--identity-token", &secret, "--offline"]), 2),
        (scene.sign("config2.json", &["--identity-token", &secret, "--key", "k"]), 2),
        (scene.sign(&config("{}"), &["--identity-token", &secret]), 2),
        (
            scene
                .sign(&config(&good.replace("http://127.0.0.1", "http://fulcio.test")), &["--identity-token", &secret]),
            2,
        ),
        (scene.desk().run(&["sign", &scene.layout]), 2),
        (scene.desk().run(&["sign", &scene.layout, "--identity-token", &secret]), 2),
        (scene.desk().run(&["sign", &scene.layout, "--keyless", "--signing-config", "config2.json"]), 2),
    ] {
        for hidden in [&secret, &expired] {
            let part = hidden.split('.').nth(2).unwrap();
            assert!(!run.stderr.contains(part) && !run.stdout.contains(part), "{run:?}");
        }
        run.ends(code);
    }
    // What another root does not believe is not attached.
    let before = scene.desk().files();
    let by = ["sign", &scene.layout, "--keyless", "--signing-config", "config2.json", "--identity-token", "@token"];
    let run = scene.desk().run(&[&by[..], &["--trusted-root", &foreign]].concat());
    assert!(run.stderr.contains("own-signature-invalid"), "{run:?}");
    assert_eq!(scene.desk().files(), before);
}

#[test]
fn services_that_do_not_answer_leave_nothing_behind() {
    for path in ["/api/v2/signingCert", "/log/entries", "/timestamp"] {
        for status in [500, 403, 200] {
            let scene = Scene::new();
            let before = scene.desk().files();
            *scene.services.broken.lock().unwrap() = Some((path.to_owned(), status));
            let run = scene.sign("config2.json", &["--identity-token", "@token"]).ends(3);
            assert!(run.stderr.contains("[NET signing-services]"), "{run:?}");
            assert_eq!(scene.desk().files(), before);
        }
    }
}

#[test]
fn a_ci_system_is_asked_for_a_token() {
    let scene = Scene::new();
    let by = ["sign", &scene.layout, "--keyless", "--signing-config", "config1.json", "--trusted-root", "root.json"];
    let run = scene.desk().run(&by).ends(3);
    assert!(run.stderr.contains("no CI system"), "{run:?}");
    let mut command = scene.desk().command(&by);
    let url = format!("{}/token?x=y", scene.services.url());
    // GitHub's own address is https; this one must not go through the proxies that every desk has.
    command.env("NO_PROXY", "127.0.0.1").env("GITHUB_ACTIONS", "true").env("ACTIONS_ID_TOKEN_REQUEST_URL", url);
    cli::finish(command.env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "planted-canary"), b"").ends(0);
    assert!(scene.services.requests()[0].starts_with("GET /token?x=y&audience=sigstore"));
    scene.verify(&[&WHO[..], &["--trusted-root", "root.json"]].concat()).ends(0);
}
