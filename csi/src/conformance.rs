//! The conformance suite of csi.md 11.4 beyond csi-sanity: each name there is the name of a test here.
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
