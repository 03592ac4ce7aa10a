use clap::Parser as _;
use latchkey_csi::operations::{Outcome, Release, VolumeName, VolumeReport};

use super::table::{of_releases, of_volumes};
use super::{Format, NodeCommand};
use crate::args::{Cli, Command};

fn parse(arguments: &[&str]) -> Result<NodeCommand, String> {
    let all = ["latchkey", "node"].iter().chain(arguments);
    match Cli::try_parse_from(all) {
        Ok(Cli {
            command: Command::Node(args),
        }) => Ok(args.command),
        Ok(_) => panic!("another command"),
        Err(error) => Err(crate::args::one_line(&error)),
    }
}

fn name(namespace: &str, pod: &str) -> VolumeName {
    VolumeName {
        namespace: namespace.to_owned(),
        pod: pod.to_owned(),
        volume: String::from("v"),
        pod_uid: String::from("0a-1"),
        target: String::from("/x"),
    }
}

#[test]
fn what_to_release_must_be_said() {
    for (arguments, part) in [
        (&["release"][..], "--all"),
        (&["release", "--all", "--pod=a/b"][..], "--all"),
        (&["release", "--pod=web"][..], "NAMESPACE/NAME"),
        (&["release", "--pod=a/b/c"][..], "NAMESPACE/NAME"),
        (&["release", "--pod=a/b", "--uninstall"][..], "--uninstall"),
        (&["volumes", "-o", "xml"][..], "table"),
        (&["volumes", "--kubelet-root=x"][..], "absolute"),
    ] {
        let error = parse(arguments).unwrap_err();
        assert!(error.contains(part), "{arguments:?}: {error}");
    }
    let Ok(NodeCommand::Release(args)) = parse(&["release", "--pod=shop/web-0", "--force"]) else {
        panic!("refused");
    };
    assert_eq!(args.pod, Some(("shop".to_owned(), "web-0".to_owned())));
    assert!(args.force && !args.all && !args.uninstall);
    let Ok(NodeCommand::Volumes(args)) = parse(&["volumes"]) else {
        panic!("refused");
    };
    assert_eq!(args.place.format, Format::Table);
    let socket = args.place.config().admin_socket();
    let expected = "/var/lib/kubelet/plugins/csi.latchkey.dev/admin.sock";
    assert_eq!(socket.to_str(), Some(expected));
}

#[test]
fn volumes_are_columns_that_no_text_can_break() {
    let report = |name: VolumeName, age, next, error: Option<&str>| VolumeReport {
        name,
        source: String::from("ExternalSecret/db"),
        state: String::from("ok"),
        age_seconds: age,
        generation: Some(String::from("..2026_1")),
        next_refresh_seconds: next,
        last_error: error.map(str::to_owned),
        bytes: 4096,
    };
    let text = of_volumes(&[
        report(name("shop", "web-0"), Some(59), Some(7199), None),
        report(
            name("", ""),
            Some(200_000),
            None,
            Some("down\u{1b}[2J\nand out"),
        ),
    ]);
    let expected = "\
NAMESPACE   POD     VOLUME   SOURCE              STATE   AGE   NEXT   GENERATION   LAST ERROR
shop        web-0   v        ExternalSecret/db   ok      59s   119m   ..2026_1     -
-           0a-1    v        ExternalSecret/db   ok      2d    -      ..2026_1     down [2J and out
";
    assert_eq!(text, expected);
    assert_eq!(of_volumes(&[]), "no volumes\n");
}

#[test]
fn releases_tell_what_was_done_and_why_not() {
    let release = |outcome, reason: Option<&str>| Release {
        name: name("shop", "web-0"),
        outcome,
        reason: reason.map(str::to_owned),
    };
    let text = of_releases(&[
        release(Outcome::Released, None),
        release(Outcome::Kept, Some("use --force")),
    ]);
    let expected = "\
OUTCOME    NAMESPACE   POD     VOLUME   REASON
released   shop        web-0   v        -
kept       shop        web-0   v        use --force
";
    assert_eq!(text, expected);
    assert_eq!(of_releases(&[]), "nothing to release\n");
}
