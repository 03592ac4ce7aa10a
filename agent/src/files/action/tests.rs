use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Instant;

use super::*;

fn command(argv: &[&str], timeout: Duration) -> OnChange {
    OnChange::Command {
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        timeout,
    }
}

async fn act(action: &OnChange) -> Result<(), ActionError> {
    run(action, "db", Path::new("/run/db")).await
}

#[tokio::test]
async fn a_command_knows_its_entry_and_nothing_of_the_agents_environment() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("env");
    let script = format!("env > {}", out.display());
    let long = Duration::from_secs(60);
    act(&command(&["/bin/sh", "-c", &script], long))
        .await
        .unwrap();
    let text = std::fs::read_to_string(out).unwrap();
    assert!(text.contains("LATCHKEY_ENTRY=db\n"), "{text}");
    assert!(text.contains("LATCHKEY_DIRECTORY=/run/db\n"), "{text}");
    assert!(!text.contains("CARGO"), "{text}");
}

#[tokio::test]
async fn failures_of_a_command_are_told() {
    let long = Duration::from_secs(60);
    let failed = act(&command(&["/bin/sh", "-c", "exit 3"], long)).await;
    assert!(failed.unwrap_err().to_string().contains("exit status: 3"));
    let missing = act(&command(&["/no/such/program"], long)).await;
    assert!(
        missing
            .unwrap_err()
            .to_string()
            .contains("failed to start /no/such/program")
    );
}

/// What the command started is ended with it.
#[tokio::test]
async fn a_command_that_takes_too_long_is_killed_with_its_children() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let script = format!("sleep 300 & echo $! > {}; wait", pid.display());
    let began = Instant::now();
    let result = act(&command(
        &["/bin/sh", "-c", &script],
        Duration::from_secs(1),
    ))
    .await;
    assert!(matches!(result, Err(ActionError::TimedOut { .. })));
    assert!(began.elapsed() < Duration::from_secs(60));
    let pid = std::fs::read_to_string(pid).unwrap();
    let status = format!("/proc/{}/stat", pid.trim());
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        // Gone, or a zombie that nobody has asked for yet.
        let is_gone = std::fs::read_to_string(&status).map_or(true, |text| text.contains(") Z "));
        if is_gone {
            break;
        }
        assert!(Instant::now() < deadline, "the child lives on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_signal_goes_to_the_process_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = tokio::process::Command::new("/bin/sleep")
        .arg("300")
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let pid_file = folder.path().join("pid");
    std::fs::write(&pid_file, format!("{}\n", child.id().unwrap())).unwrap();
    std::fs::set_permissions(&pid_file, Permissions::from_mode(0o644)).unwrap();
    let action = OnChange::Signal {
        pid_file,
        signal: 15,
    };
    act(&action).await.unwrap();
    let status = child.wait().await.unwrap();
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(15)
    );
    // It is gone now.
    assert!(matches!(
        act(&action).await,
        Err(ActionError::Signal { .. })
    ));
}

#[tokio::test]
async fn a_file_that_does_not_name_one_process_signals_none() {
    let folder = tempfile::tempdir().unwrap();
    let pid_file = folder.path().join("pid");
    let own = std::process::id().to_string();
    for (text, mode) in [
        ("", 0o644),
        ("0", 0o644),
        ("1", 0o644),
        ("-1", 0o644),
        ("12 13", 0o644),
        (own.as_str(), 0o666),
        (own.as_str(), 0o664),
    ] {
        std::fs::write(&pid_file, text).unwrap();
        std::fs::set_permissions(&pid_file, Permissions::from_mode(mode)).unwrap();
        let action = OnChange::Signal {
            pid_file: pid_file.clone(),
            signal: 28,
        };
        let result = act(&action).await;
        assert!(
            matches!(result, Err(ActionError::PidFile { .. })),
            "{text:?} {mode:o}"
        );
    }
}
