use super::*;

const GOOD: &str = r#"
providers:
  - name: vault
    address: localhost:8443
    tls: {ca: tls/ca.crt, cert: /etc/tls/tls.crt, key: tls/tls.key, serverName: vault.test}
    providerRef: {kind: HashicorpVault, name: vault}
    timeout: 5s
    retry: {maxRetries: 2, retryInterval: 1s}
  - name: shared
    kind: ClusterSecretStore
    address: 10.0.0.1:8443
    tls: {ca: c, cert: d, key: e}
    providerRef: {apiVersion: provider.example.com/v1, kind: Fake, name: f, namespace: team}
entries:
  - name: db
    directory: /run/secrets/db
    spec:
      refreshInterval: 5m
      secretStoreRef: {name: vault}
      data:
        - secretKey: password
          remoteRef: {key: app/db, property: password}
  - name: web
    directory: /run/secrets/web
    tmpfs: 1Mi
    owner: 1000
    group: root
    defaultMode: "0440"
    items: [{key: tls.crt, path: server.crt, mode: "0444"}]
    onChange: {signal: {pidFile: /run/nginx.pid}}
    spec:
      refreshPolicy: CreatedOnce
      secretStoreRef: {name: shared, kind: ClusterSecretStore}
      dataFrom: [{extract: {key: web}}]
      target: {template: {templateFrom: [{literal: "tls.crt: x"}]}}
"#;

fn parse(text: &str) -> Result<Config, Vec<Mistake>> {
    Config::parse(Path::new("/etc/latchkey/files.yaml"), text)
}

#[test]
fn a_file_becomes_providers_and_entries() {
    let config = parse(GOOD).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    let vault = &config.providers[&StoreKey::namespaced("default", "vault")];
    assert_eq!(vault.ca, Path::new("/etc/latchkey/tls/ca.crt"));
    assert_eq!(vault.cert, Path::new("/etc/tls/tls.crt"));
    assert_eq!(vault.timeout, Duration::from_secs(5));
    let usable = policy().check(&vault.store).unwrap();
    assert_eq!(usable.server_name.as_deref(), Some("vault.test"));
    assert_eq!(usable.retry.unwrap().retries, 2);
    assert!(policy().gate(&vault.store), "nobody validates stores here");
    let shared = &config.providers[&StoreKey::cluster("shared")].store;
    assert_eq!(
        shared.provider.provider_ref.namespace.as_deref(),
        Some("team")
    );

    let db = &config.entries["db"];
    assert_eq!(db.directory, Directory::new("/run/secrets/db".into(), None));
    assert_eq!((db.access.default_mode, db.access.is_open), (0o400, false));
    assert_eq!(db.object.spec.refresh_interval.as_deref(), Some("5m"));
    assert_eq!(db.on_change, None);
    // The engine would take an absent version for a store of the older API.
    let reference = db.object.spec.secret_store_ref.as_ref().unwrap();
    assert!(
        reference
            .api()
            .is_ok_and(|api| api == latchkey_crds::external_secret::StoreApi::V2Alpha1)
    );

    let web = &config.entries["web"];
    assert!(web.is_created_once && web.directory.has_own_tmpfs());
    // One file is for everybody, so its directory must be too.
    assert_eq!((web.access.default_mode, web.access.is_open), (0o440, true));
    assert_eq!((web.access.uid, web.access.gid), (1000, 0));
    assert_eq!(web.access.limit, ((1 << 20) - (64 << 10)) / 2);
    assert_eq!(web.object.spec.refresh_interval.as_deref(), Some("0s"));
    let signal = OnChange::Signal {
        pid_file: "/run/nginx.pid".into(),
        signal: 1,
    };
    assert_eq!(web.on_change, Some(signal));
}

/// Each line replaces a part of the good file; the first mistake is at the line and path, with the words.
#[test]
fn mistakes_name_line_path_and_what_was_meant() {
    let cases: &[(&str, &str, &str)] = &[
        (
            "entries:\n  - name: db",
            "entires:\n  - name: db",
            "files.yaml:14: entires: unknown key \"entires\"; did you mean entries?",
        ),
        (
            "    timeout: 5s",
            "    timout: 5s",
            ":7: providers[0].timout: unknown key \"timout\"; did you mean timeout?",
        ),
        (
            "    timeout: 5s",
            "    timeout: 5",
            ":7: providers[0].timeout: must be text; put it in quotes",
        ),
        (
            "    timeout: 5s",
            "    timeout: soon",
            ":7: providers[0].timeout: must be a duration",
        ),
        (
            "maxRetries: 2",
            "maxRetries: 99",
            "providers[0].retry.maxRetries: must be a number from 0 to 10",
        ),
        (
            "    address: localhost:8443",
            "    address: unix:///x",
            "providers[0]: address cannot be used",
        ),
        (
            "    address: localhost:8443\n",
            "",
            "providers[0]: lacks address, which is required",
        ),
        (
            "serverName:",
            "servername:",
            "providers[0].tls.servername: unknown key \"servername\"; did you mean serverName?",
        ),
        (
            "ca: tls/ca.crt, ",
            "",
            "providers[0].tls: lacks ca, which is required",
        ),
        (
            "kind: ClusterSecretStore\n",
            "kind: ClusterStore\n",
            ":10: providers[1].kind: is \"ClusterStore\"; it may be",
        ),
        (
            "name: f, namespace: team",
            "name: f",
            "providers[1]: providerRef.namespace is required",
        ),
        (
            ", name: f, namespace: team}\n",
            ", name: f, namespace: team}\n  - {name: shared, kind: ClusterSecretStore, address: \"a.b:1\", tls: {ca: c, cert: d, key: e}, providerRef: {kind: Fake, name: f, namespace: n}}\n",
            "providers[2]: is a second ClusterSecretStore \"shared\"",
        ),
        (
            "    directory: /run/secrets/db",
            "    directroy: /run/secrets/db",
            ":16: entries[0].directroy: unknown key \"directroy\"; did you mean directory?",
        ),
        (
            "/run/secrets/db",
            "secrets/db",
            ":16: entries[0].directory: must be an absolute path",
        ),
        (
            "/run/secrets/db",
            "/run/../db",
            "entries[0].directory: must be an absolute path",
        ),
        (
            "/run/secrets/db",
            "/",
            "entries[0].directory: must be an absolute path",
        ),
        (
            "/run/secrets/db",
            "/run/secrets",
            "entries[1].directory: is that of entry db, or within it",
        ),
        (
            "  - name: web",
            "  - name: db",
            "entries[1].name: is that of another entry",
        ),
        (
            "  - name: db",
            "  - name: Db_1",
            ":15: entries[0].name: must be lower case",
        ),
        (
            "tmpfs: 1Mi",
            "tmpfs: 1",
            "entries[1].tmpfs: must be true, or a size",
        ),
        (
            "tmpfs: 1Mi",
            "tmpfs: 1Ki",
            "entries[1].tmpfs: must be true, or a size",
        ),
        (
            "owner: 1000",
            "owner: 4294967295",
            "entries[1].owner: must be a number below",
        ),
        (
            "group: root",
            "group: nobody-of-this-name",
            "entries[1].group: \"nobody-of-this-name\" is not in /etc/group",
        ),
        (
            "defaultMode: \"0440\"",
            "defaultMode: 0440",
            "entries[1].defaultMode: must be text; put it in quotes",
        ),
        (
            "defaultMode: \"0440\"",
            "defaultMode: \"256\"",
            "entries[1].defaultMode: looks decimal",
        ),
        (
            "mode: \"0444\"",
            "mode: 0444",
            "entries[1].items: entry 0: mode must be text; put it in quotes",
        ),
        (
            "path: server.crt",
            "path: ../crt",
            "entries[1].items: entry 0: path \"../crt\"",
        ),
        (
            "{signal: {pidFile: /run/nginx.pid}}",
            "{signal: {pidFile: /run/nginx.pid, signal: KILL}}",
            "entries[1].onChange.signal.signal: is \"KILL\"",
        ),
        (
            "{signal: {pidFile: /run/nginx.pid}}",
            "{command: [nginx, -s, reload]}",
            "entries[1].onChange.command: must be a list of texts that begins with the absolute path",
        ),
        (
            "{signal: {pidFile: /run/nginx.pid}}",
            "{command: [/bin/true], signal: {pidFile: /a}}",
            "entries[1].onChange: must have either command or signal",
        ),
        (
            "{signal: {pidFile: /run/nginx.pid}}",
            "{}",
            "entries[1].onChange: must have either command or signal",
        ),
        (
            "secretStoreRef: {name: vault}",
            "secretStoreRef: {name: vaullt}",
            ":19: entries[0].spec.secretStoreRef: no provider stands for",
        ),
        (
            "secretStoreRef: {name: vault}",
            "secretStoreRef: {name: vaullt}",
            "no provider stands for SecretStore \"vaullt\"; did you mean vault?",
        ),
        (
            "secretStoreRef: {name: vault}",
            "secretStoreRef: {name: shared}",
            "there is one of that name and another kind",
        ),
        (
            "      secretStoreRef: {name: vault}\n",
            "",
            "entries[0].spec: names no provider",
        ),
        (
            "refreshInterval: 5m",
            "refreshInterval: 5",
            ":18: entries[0].spec.refreshInterval: must be text; put it in quotes",
        ),
        (
            "refreshInterval: 5m",
            "refreshInterval: 5 days",
            "entries[0].spec.refreshInterval: spec.refreshInterval \"5 days\" is not a duration",
        ),
        (
            "refreshInterval: 5m",
            "refreshInterva: 5m",
            ":18: entries[0].spec.refreshInterva: unknown key \"refreshInterva\"; did you mean refreshInterval?",
        ),
        (
            "refreshPolicy: CreatedOnce",
            "refreshPolicy: Sometimes",
            "entries[1].spec.refreshPolicy: is \"Sometimes\"; it may be CreatedOnce",
        ),
        (
            "        - secretKey: password",
            "        - secretkey: password",
            ":21: entries[0].spec.data[0].secretkey: unknown key \"secretkey\"; did you mean secretKey?",
        ),
        (
            "property: password}",
            "propetry: password}",
            "entries[0].spec.data[0].remoteRef.propetry: unknown key \"propetry\"; did you mean property?",
        ),
        (
            "remoteRef: {key: app/db, property: password}",
            "remoteRef: {}",
            "entries[0].spec.data[0].remoteRef: lacks key, which is required",
        ),
        (
            "      dataFrom: [{extract: {key: web}}]\n",
            "",
            "entries[1].spec: either data or dataFrom should be specified",
        ),
        (
            "extract: {key: web}",
            "sourceRef: {generatorRef: {kind: Password, name: p}}",
            "entries[1].spec.dataFrom[0].sourceRef.generatorRef: generators are not for files",
        ),
        (
            "target: {template",
            "target: {name: x, template",
            "entries[1].spec.target.name: is not for files",
        ),
        (
            "target: {template: {",
            "target: {template: {type: Opaque, ",
            "entries[1].spec.target.template.type: is not for files",
        ),
        (
            "templateFrom: [{literal: \"tls.crt: x\"}]",
            "templateFrom: [{secret: {name: s, items: [{key: k}]}}]",
            "entries[1].spec.target.template.templateFrom[0].secret: there are no such objects",
        ),
        (
            "namespace: team}",
            "namespace: team}\nnamespace: A_b",
            "namespace: must be lower case",
        ),
        ("providers:\n", "providers: [\n", "is not YAML"),
    ];
    for (part, wrong, expected) in cases {
        assert!(GOOD.contains(part), "{part}");
        let text = GOOD.replacen(part, wrong, 1);
        let mistakes = match parse(&text) {
            Ok(_) => panic!("accepted {wrong}"),
            Err(mistakes) => mistakes,
        };
        let lines: Vec<String> = mistakes.iter().map(Mistake::to_string).collect();
        assert!(
            lines.iter().any(|line| line.contains(expected)),
            "{wrong}: {lines:#?}"
        );
        assert!(lines.iter().all(|line| !line.contains('\n')), "{lines:#?}");
    }
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_the_file() {
    let text = GOOD
        .replace("owner: 1000", "ower: 1000")
        .replace("timeout: 5s", "timeout: 0s")
        .replace("refreshInterval: 5m", "refreshInterval: [5m]");
    let mistakes = parse(&text).unwrap_err();
    let lines: Vec<Option<u64>> = mistakes.iter().map(|mistake| mistake.line).collect();
    assert_eq!(lines, [Some(7), Some(18), Some(26)], "{mistakes:#?}");
}

#[test]
fn an_empty_file_says_what_is_needed() {
    for text in ["", "{}", "[]", "providers: []\nentries: []\n"] {
        let mistakes = parse(text).unwrap_err();
        assert!(
            mistakes[0].text.contains("required") || mistakes[0].text.contains("must be a map"),
            "{text:?}: {mistakes:#?}"
        );
    }
}

#[test]
fn the_example_is_right() {
    let text = include_str!("../../../../examples/files/files.yaml");
    let config = parse(text).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    assert_eq!(config.entries.len(), 2);
}
