//! The conformance suite of csi.md 11.4 beyond csi-sanity: each name there is the name of a test here. The fifteen rules of csi.md 0
//! have a test each as well, which cites its rule.
//!
//! All of them run on real mounts: as root, in a mount namespace of their own.

mod boundary;
mod canary;
mod publish;
mod recovery;
mod rotation;
mod wire;

const BOUNDARY: &str = include_str!("conformance/boundary.rs");
const CANARY: &str = include_str!("conformance/canary.rs");
const CRASH: &str = include_str!("volumes/crash.rs");
const PUBLISH: &str = include_str!("conformance/publish.rs");
const RECOVERY: &str = include_str!("conformance/recovery.rs");
const ROTATION: &str = include_str!("conformance/rotation.rs");
const WIRE: &str = include_str!("conformance/wire.rs");

/// csi.md 11.4 in its order: the words there, the test, its file.
const SUITE: [(&str, &str, &str); 40] = [
    (
        "idempotent publish x10 same target",
        "idempotent_publish_x10_same_target",
        PUBLISH,
    ),
    (
        "publish/unpublish/publish",
        "publish_unpublish_publish",
        PUBLISH,
    ),
    ("unpublish unknown", "unpublish_unknown", PUBLISH),
    (
        "unpublish twice in parallel",
        "unpublish_twice_in_parallel",
        PUBLISH,
    ),
    (
        "publish during publish (join)",
        "publish_during_publish_join",
        PUBLISH,
    ),
    (
        "publish with changed spec (ALREADY_EXISTS)",
        "publish_with_changed_spec_already_exists",
        PUBLISH,
    ),
    (
        "unpublish during publish",
        "unpublish_during_publish",
        PUBLISH,
    ),
    (
        "client cancel at each stage",
        "client_cancel_at_each_stage",
        PUBLISH,
    ),
    ("deadline 1 ms, 100 ms", "deadline_1_ms_100_ms", PUBLISH),
    (
        "1 000 volumes in parallel",
        "one_thousand_volumes_in_parallel",
        PUBLISH,
    ),
    ("target is symlink", "target_is_symlink", BOUNDARY),
    ("target is file", "target_is_file", BOUNDARY),
    (
        "target is non-empty dir",
        "target_is_non_empty_dir",
        BOUNDARY,
    ),
    (
        "target is foreign mount",
        "target_is_foreign_mount",
        BOUNDARY,
    ),
    (
        "target is stacked tmpfs x3",
        "target_is_stacked_tmpfs_x3",
        BOUNDARY,
    ),
    (
        "target under another pod's uid",
        "target_under_another_pods_uid",
        WIRE,
    ),
    ("`..` in every position", "dot_dot_in_every_position", WIRE),
    ("107/108-byte socket path", "socket_path_107_108_byte", WIRE),
    (
        "gid 0, max, overflow, negative, text",
        "gid_0_max_overflow_negative_text",
        WIRE,
    ),
    (
        "tokens in context vs secrets vs both vs spoofed",
        "tokens_in_context_vs_secrets_vs_both_vs_spoofed",
        WIRE,
    ),
    (
        "republish with failing backend stays OK 100 times",
        "republish_with_failing_backend_stays_ok_100_times",
        PUBLISH,
    ),
    (
        "final error leaves no mount (mountinfo diff)",
        "final_error_leaves_no_mount_mountinfo_diff",
        BOUNDARY,
    ),
    (
        "kill -9 at each syscall boundary then restart and re-run",
        "kill_9_at_each_syscall_boundary_then_restart_and_re_run",
        CRASH,
    ),
    ("noswap refused", "noswap_refused", BOUNDARY),
    ("size exceeded", "size_exceeded", BOUNDARY),
    (
        "rotation under 8 readers (pair consistency)",
        "rotation_under_8_readers_pair_consistency",
        ROTATION,
    ),
    ("key added", "key_added", ROTATION),
    ("key removed", "key_removed", ROTATION),
    ("key renamed dir<->file", "key_renamed_dir_file", ROTATION),
    (
        "crash between symlink and rename",
        "crash_between_symlink_and_rename",
        ROTATION,
    ),
    ("leftover `..data_tmp`", "leftover_data_tmp", ROTATION),
    (
        "inotify sequence as in 6.2",
        "inotify_sequence_as_in_6_2",
        ROTATION,
    ),
    (
        "state file corrupt/newer",
        "state_file_corrupt_newer",
        RECOVERY,
    ),
    (
        "mount present without state",
        "mount_present_without_state",
        RECOVERY,
    ),
    ("state without mount", "state_without_mount", RECOVERY),
    ("kubelet double GetInfo", "kubelet_double_get_info", WIRE),
    (
        "GetInfo under load < 100 ms",
        "get_info_under_load_100_ms",
        WIRE,
    ),
    (
        "registration socket deleted, replaced",
        "registration_socket_deleted_replaced",
        WIRE,
    ),
    ("SELinux option parsing", "selinux_option_parsing", BOUNDARY),
    (
        "canary never in logs, panics, errors, core (PR_SET_DUMPABLE 0)",
        "canary_never_in_logs_panics_errors_core",
        CANARY,
    ),
];

#[test]
fn every_name_of_the_suite_is_a_test() {
    for (words, test, file) in SUITE {
        let found = file.contains(&format!("#[test]\nfn {test}() {{"));
        assert!(found, "{words:?} has no test {test}");
    }
}

/// csi.md 0: the rule, the test that cites it, the file of the test.
const RULES: [(&str, &str, &str); 15] = [
    (
        "R1",
        "sscsid_1051_an_ok_after_a_timeout_is_never_an_empty_volume",
        include_str!("peers.rs"),
    ),
    ("R2", "final_error_leaves_no_mount_mountinfo_diff", BOUNDARY),
    (
        "R3",
        "republish_with_failing_backend_stays_ok_100_times",
        PUBLISH,
    ),
    ("R4", "client_cancel_at_each_stage", PUBLISH),
    ("R5", "unpublish_unknown", PUBLISH),
    (
        "R6",
        "sscsid_895_an_unpublish_after_an_absence_needs_nobody",
        include_str!("peers.rs"),
    ),
    (
        "R7",
        "without_pod_info_nothing_is_believed",
        include_str!("publish/tests.rs"),
    ),
    ("R8", "canary_never_in_logs_panics_errors_core", CANARY),
    (
        "R9",
        "mount_what_is_attached_reaches_the_host_read_only_and_what_is_staged_does_not",
        include_str!("mount/tests.rs"),
    ),
    (
        "R10",
        "planted_links_are_not_followed",
        include_str!("layout/writer/tests.rs"),
    ),
    ("R11", "other_shapes_are_refused", include_str!("target.rs")),
    ("R12", "rotation_under_8_readers_pair_consistency", ROTATION),
    (
        "R13",
        "bounds_hold_before_anything_is_written",
        include_str!("layout.rs"),
    ),
    (
        "R14",
        "a_rolling_restart_changes_nothing_that_a_container_sees",
        RECOVERY,
    ),
    (
        "R15",
        "mount_publish_uses_an_empty_directory_and_touches_nothing_else",
        include_str!("volumes/tests.rs"),
    ),
];

#[test]
fn every_rule_is_cited_by_a_test() {
    for (index, (rule, test, file)) in RULES.into_iter().enumerate() {
        assert_eq!(rule, format!("R{}", index + 1));
        assert!(
            cites(file, test, rule),
            "{test} is no test that cites {rule}"
        );
    }
}

/// Whether `test` is a test of `file` whose documentation has the word `citation`.
pub(crate) fn cites(file: &str, test: &str, citation: &str) -> bool {
    let Some(start) = file.find(&format!("fn {test}(")) else {
        return false;
    };
    let head = file[..start].rfind('\n').unwrap_or_default();
    let above = file[..head].lines().rev().map(str::trim);
    let above = above.take_while(|line| line.starts_with("///") || line.starts_with("#["));
    let above = above.collect::<Vec<_>>();
    let documentation = above
        .iter()
        .rev()
        .filter_map(|line| line.strip_prefix("///"));
    let documentation = documentation.collect::<String>();
    let ends = |place: usize| {
        let next = documentation[place + citation.len()..].chars().next();
        next.is_none_or(|next| !next.is_ascii_alphanumeric())
    };
    let is_test = |line: &&str| line.starts_with("#[test]") || line.starts_with("#[tokio::test");
    let mut places = documentation.match_indices(citation);
    above.iter().any(is_test) && places.any(|(place, _)| ends(place))
}

#[test]
fn a_citation_is_a_whole_word_above_a_test() {
    let file =
        "    /// csi.md R11,\n    /// X#12.\n    #[test]\n    fn a() {}\n\n/// R2\nfn b() {}\n";
    assert!(cites(file, "a", "R11") && cites(file, "a", "X#12"));
    for (test, citation) in [("a", "R1"), ("a", "X#1"), ("b", "R2"), ("c", "R11")] {
        assert!(!cites(file, test, citation), "{test} {citation}");
    }
}
