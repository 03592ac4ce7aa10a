//! What the chart lets generic targets be.

use anyhow::{Result, ensure};
use latchkey_e2e::root;
use serde_json::{Value, json};

#[test]
fn sync_has_rights_only_to_what_the_chart_names() -> Result<()> {
    // externalsecret.md 5.1: off by default
    latchkey_cluster::test(async |cx| {
        let chart = root()
            .join("charts/latchkey")
            .to_string_lossy()
            .into_owned();
        let render = async |file: &str, values: Value| {
            let file = format!("--show-only=templates/{file}");
            let values = format!("--set-json=sync.genericTargets={values}");
            cx.helm(&["template", "latchkey", &chart, &file, &values])
                .await
        };
        let rules =
            json!([{ "apiGroups": ["", "example.com"], "resources": ["configmaps", "widgets"] }]);
        let off = render(
            "sync-rbac.yaml",
            json!({ "enabled": false, "resources": rules }),
        )
        .await?;
        ensure!(!off.contains("widgets"));
        let on = json!({ "enabled": true, "resources": rules });
        let text = render("sync-rbac.yaml", on.clone()).await?;
        let rule = [
            "- apiGroups: [\"\",\"example.com\"]",
            "resources: [\"configmaps\",\"widgets\"]",
            "verbs: [get, list, watch, create, update, delete]",
        ];
        let mut lines = text.lines().map(str::trim);
        ensure!(lines.any(|line| line == rule[0]), "{text}");
        ensure!(
            lines.next() == Some(rule[1]) && lines.next() == Some(rule[2]),
            "{text}"
        );
        for (values, flag) in [(on, "true"), (json!({}), "false")] {
            let text = render("daemonset.yaml", values).await?;
            ensure!(text.contains(&format!("--unsafe-allow-generic-targets={flag}")));
        }
        for resources in [json!(["*"]), json!(["pods/exec"]), json!([])] {
            let rules = json!([{ "apiGroups": [""], "resources": resources }]);
            let rendered = render(
                "sync-rbac.yaml",
                json!({ "enabled": true, "resources": rules }),
            )
            .await;
            ensure!(rendered.is_err(), "{resources} is admitted");
        }
        Ok(())
    })
}
