//! Which test covers which row. Rows that need a kubelet, the API server or the whole agent are in `tests/nodes/tests/node_path` and
//! in the agent's tests of volumes: subPath (CVE-2021-25741, CVE-2017-1002101), tokens that an agent may mint, throttling
//! (SSCSID#1483, AKV#1609) and one read a pod (VCP#149). Templates cannot do I/O at all: `agent/templating`.

use crate::conformance::cites;

const AUTH: &str = include_str!("authority.rs");
const CANARY: &str = include_str!("../conformance/canary.rs");
const ESCAPE: &str = include_str!("escape.rs");
const PEERS: &str = include_str!("../peers.rs");
const REG: &str = include_str!("../registration.rs");
const ROTATION: &str = include_str!("../conformance/rotation.rs");
const WIRE: &str = include_str!("../conformance/wire.rs");

/// csi-peers.md 3 and 4 in their order: the row's identifier, the test that names it, its file.
const ROWS: [(&str, &str, &str); 27] = [
    (
        "SSCSID#1051",
        "sscsid_1051_an_ok_after_a_timeout_is_never_an_empty_volume",
        PEERS,
    ),
    (
        "ARO-HCP#5355",
        "sscsid_1051_an_ok_after_a_timeout_is_never_an_empty_volume",
        PEERS,
    ),
    (
        "csi-driver#636",
        "csi_driver_636_a_joined_publish_that_fails_fails_for_both",
        PEERS,
    ),
    (
        "csi-lib PR#211",
        "csi_driver_636_a_joined_publish_that_fails_fails_for_both",
        PEERS,
    ),
    (
        "csi-lib#74",
        "csi_lib_74_a_running_container_sees_new_content_after_failures",
        PEERS,
    ),
    (
        "csi-lib#18",
        "csi_lib_18_a_wiped_state_directory_harms_no_volume",
        PEERS,
    ),
    (
        "csi-driver#78",
        "csi_lib_18_a_wiped_state_directory_harms_no_volume",
        PEERS,
    ),
    (
        "SSCSID 1.6 rotation gate",
        "sscsid_1_6_an_hour_of_republishes_fetches_nothing",
        PEERS,
    ),
    (
        r#"SSCSID 1.6, "rotation failure invisible""#,
        "sscsid_1_6_a_failed_refresh_is_seen",
        PEERS,
    ),
    (
        "kubelet#121271",
        "kubelet_121271_an_error_of_a_republish_removes_nothing",
        PEERS,
    ),
    (
        "STK#169",
        "stk_169_an_unpublish_goes_on_after_a_kill_in_its_middle",
        PEERS,
    ),
    (
        "STK publish",
        "stk_publish_stacks_no_mount_and_leaves_no_tail",
        PEERS,
    ),
    (
        "spiffe-csi 0.2.12",
        "spiffe_csi_restarts_of_kubelet_add_no_mounts",
        PEERS,
    ),
    ("kubelet atomic writer", "leftover_data_tmp", ROTATION),
    (
        "kubernetes#123604",
        "kubernetes_123604_old_generations_are_removed",
        PEERS,
    ),
    (
        "SSCSID#895",
        "sscsid_895_an_unpublish_after_an_absence_needs_nobody",
        PEERS,
    ),
    ("SSCSID#1131", "registration_socket_deleted_replaced", WIRE),
    (
        "AKS/Azure#699",
        "a_refused_registration_is_tried_again_after_5_30_and_120_seconds",
        REG,
    ),
    (
        "SSCSID 4 MiB",
        "sscsid_4_mib_an_answer_that_is_too_large_is_told_clearly",
        PEERS,
    ),
    (
        "h2/tonic#243",
        "k_k_112597_authorities_of_kubelets_old_and_new",
        AUTH,
    ),
    (
        "k/k#112597",
        "k_k_112597_authorities_of_kubelets_old_and_new",
        AUTH,
    ),
    (
        "CVE-2020-8567",
        "cve_2020_8567_no_name_leads_out_of_the_volume",
        ESCAPE,
    ),
    (
        "CVE-2020-8568",
        "cve_2020_8568_a_tampered_state_file_is_refused",
        ESCAPE,
    ),
    (
        "CVE-2023-2878",
        "canary_never_in_logs_panics_errors_core",
        CANARY,
    ),
    (
        "CVE-2024-3744",
        "canary_never_in_logs_panics_errors_core",
        CANARY,
    ),
    (
        "CVE-2017-1002102",
        "cve_2017_1002102_links_of_a_container_are_not_followed",
        ESCAPE,
    ),
    (
        "podInfoOnMount false",
        "pod_info_on_mount_false_a_spoofed_identity_is_refused",
        PEERS,
    ),
];

#[test]
fn every_row_of_this_crate_is_named_by_a_test() {
    for (row, test, file) in ROWS {
        assert!(cites(file, test, row), "{test} is no test that names {row}");
    }
}
