//! The namespaces of a cluster and of its nodes: who makes them, who holds them, what is mounted in them.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, setsid};

use crate::control::{Held, Plan, read_json, write_json};
use crate::layout::{CONTROL_SOCKET, DEFAULT_KUBELET_ROOT, FIRST_NODE_ADDRESS, Layout, NodeLayout};
use crate::{cache, cgroups, configuration};

/// Kernel settings that kubelet insists on. They are the machine's, not the namespace's, so they are covered by files that
/// already say what kubelet wants, and the machine keeps its own.
const COVERED_SETTINGS: &[(&str, &str)] = &[
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// In a registry entry: the cluster's folder goes with the cluster.
const REMOVE: &str = "remove";

/// Has the calling thread, and the threads and processes it starts from now on, use the network of the cluster.
pub(crate) fn enter_network(init: u32) -> Result<()> {
    let namespace = File::open(format!("/proc/{init}/ns/net")).context("the cluster is gone")?;
    setns(namespace, CloneFlags::CLONE_NEWNET)
        .context("failed to enter the cluster's network (root is needed)")
}

/// `cluster hold`: makes the namespaces, starts PID 1 in them, waits for its end and removes what is left.
///
/// The lock on the cluster's entry in the cache says that it lives; the kernel drops it with the process.
pub(crate) fn hold(layout: &Layout) -> Result<()> {
    // A Ctrl-C at the terminal is for the owner, whose end is then the cluster's.
    setsid().ok();
    let plan: Plan = read_json(&layout.file("plan.json"))?;
    let name = layout.registry_name()?;
    let registry = cache::folder()?.join("clusters");
    fs::create_dir_all(&registry)?;
    sweep(&registry, &name);
    let entry = registry.join(&name);
    let mut lock = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&entry)?;
    if lock.try_lock().is_err() {
        bail!("a cluster is already up in {}", layout.folder().display());
    }
    lock.set_len(0)?;
    let fate = if plan.remove { REMOVE } else { "keep" };
    lock.write_all(format!("{fate}\n{}", layout.folder().display()).as_bytes())?;

    let signals = SigSet::from_iter([
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGCHLD,
    ]);
    signals.thread_block()?;
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWPID)
        .context("failed to make namespaces")?;
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None::<&str>,
    )
    .context("failed to cut off mounts")?;
    // Standard input is the owner's pipe; it goes on to the supervisor.
    let mut init = this_program("init", layout)
        .stdin(Stdio::inherit())
        .spawn()
        .context("failed to start PID 1 of the cluster")?;
    let pid = init.id();
    write_json(
        &layout.file("held.json"),
        &Held {
            hold: std::process::id().cast_signed(),
            init: pid,
        },
    )?;
    // No thread can be made once processes go to another PID namespace, so this one hears both of signals and of the end.
    let ended = loop {
        match signals.wait() {
            Ok(Signal::SIGCHLD) => {
                if let Some(status) = init.try_wait().context("failed to wait for the cluster")? {
                    break status;
                }
            }
            // The rest follows by the kernel's rule for the end of PID 1.
            Ok(_) => drop(kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL)),
            Err(_) => {}
        }
    };
    cgroups::remove(layout);
    if plan.remove {
        fs::remove_dir_all(layout.folder()).ok();
    } else {
        fs::remove_file(layout.state()).ok();
        fs::remove_file(layout.file("held.json")).ok();
    }
    fs::remove_file(&entry).ok();
    if !ended.success() {
        bail!("the cluster ended with {ended}");
    }
    Ok(())
}

/// Cleans up after holders that were killed: their entries are there, but nobody locks them.
fn sweep(registry: &Path, own: &str) {
    for entry in fs::read_dir(registry).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let unlocked = || {
            File::open(entry.path())
                .map(|file| file.try_lock().is_ok())
                .unwrap_or(false)
        };
        if name == own || !name.starts_with("latchkey-") || !unlocked() {
            continue;
        }
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        if let Some((fate, folder)) = text.split_once('\n')
            && let Ok(dead) = Layout::new(folder)
            && dead.file("plan.json").exists()
        {
            cgroups::remove(&dead);
            if fate == REMOVE {
                fs::remove_dir_all(dead.folder()).ok();
            }
        }
        fs::remove_file(entry.path()).ok();
    }
}

/// `cluster init`: PID 1. Starts the supervisor and reaps every orphan until the supervisor ends; then the kernel ends the rest.
pub(crate) fn init(layout: &Layout) -> Result<i32> {
    set_pdeathsig(Signal::SIGKILL)?;
    mount_proc(Path::new("/proc"))?;
    let supervisor = this_program("serve", layout)
        .stdin(Stdio::inherit())
        .spawn()
        .context("failed to start the supervisor")?;
    let supervisor = Pid::from_raw(supervisor.id().cast_signed());
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) if pid == supervisor => return Ok(code),
            Ok(WaitStatus::Signaled(pid, ..)) if pid == supervisor => return Ok(1),
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error).context("failed to wait for the supervisor"),
        }
    }
}

/// This very program again, in another part.
fn this_program(part: &str, layout: &Layout) -> Command {
    // Not by its name: the file may have been replaced by a rebuild since this process began.
    let mut command = Command::new("/proc/self/exe");
    command.arg0("cluster");
    command.arg(part).arg("--folder").arg(layout.folder());
    command
}

/// Sets up the network and the mounts that all nodes share. Runs in the new namespaces.
pub(crate) fn prepare(layout: &Layout) -> Result<()> {
    for arguments in [
        "link set lo up",
        // kubelet and the API server refuse to start without an address and a default route; an empty bridge is enough.
        "link add node0 type bridge",
        &format!("address add {FIRST_NODE_ADDRESS}/24 dev node0"),
        "link set node0 up",
        "route add default dev node0",
    ] {
        ip(arguments)?;
    }
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("failed to enable forwarding")?;
    // Replies between pods of one bridge must pass the address translation of Services.
    fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", "1").ok();

    let control = Path::new(CONTROL_SOCKET)
        .parent()
        .context("the control socket has a folder")?;
    cover_with_tmpfs(control)?;
    fs::write(layout.file("hosts"), configuration::hosts(layout))?;
    bind(&layout.file("hosts"), Path::new("/etc/hosts"))?;
    fs::write(layout.file("resolv.conf"), configuration::resolver())?;
    bind(&layout.file("resolv.conf"), Path::new("/etc/resolv.conf"))?;
    for (setting, value) in COVERED_SETTINGS {
        let path = Path::new("/proc/sys").join(setting);
        if path.exists() {
            let file = layout.file("settings").join(setting.replace('/', "-"));
            fs::create_dir_all(layout.file("settings"))?;
            fs::write(&file, format!("{value}\n"))?;
            bind(&file, &path)?;
        }
    }
    Ok(())
}

/// Adds a node's address.
pub(crate) fn prepare_node_address(node: &NodeLayout) -> Result<()> {
    match node.number() {
        1 => Ok(()),
        _ => ip(&format!("address add {}/24 dev node0", node.address())),
    }
}

fn ip(arguments: &str) -> Result<()> {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .context("failed to run ip")?;
    if !output.status.success() {
        bail!(
            "ip {arguments}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// Starts the process that holds a node's mount namespace; answers once its mounts are in place.
pub(crate) fn start_node_holder(
    layout: &Layout,
    node: &NodeLayout,
    kubelet_root: &str,
) -> Result<Child> {
    fs::create_dir_all(node.folder())?;
    let ready = node.file("held");
    fs::remove_file(&ready).ok();
    let mut holder = this_program("node-holder", layout)
        .arg(node.name())
        .arg(kubelet_root)
        .stdin(Stdio::null())
        .spawn()
        .context("failed to start a node's holder")?;
    while !ready.exists() {
        if let Some(status) = holder.try_wait()? {
            bail!(
                "failed to set up the mounts of node {}: {status}",
                node.name()
            );
        }
        std::thread::park_timeout(std::time::Duration::from_millis(10));
    }
    Ok(holder)
}

/// `cluster node-holder`: a mount namespace in which the folders that belong to a machine are this node's.
pub(crate) fn hold_node(node: &NodeLayout, kubelet_root: &str) -> Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    unshare(CloneFlags::CLONE_NEWNS)?;
    let own = |name: &str, target: &str| -> Result<()> {
        fs::create_dir_all(node.file(name))?;
        fs::create_dir_all(target).with_context(|| format!("failed to make {target}"))?;
        bind(&node.file(name), Path::new(target))
    };
    own("kubelet", DEFAULT_KUBELET_ROOT)?;
    if kubelet_root != DEFAULT_KUBELET_ROOT {
        own("other-kubelet", kubelet_root)?;
    }
    own("pod-logs", "/var/log/pods")?;
    for folder in [
        "/var/log/containers",
        "/run/containerd",
        "/run/netns",
        "/var/lib/cni",
    ] {
        cover_with_tmpfs(Path::new(folder))?;
    }
    // A user namespace may mount a proc only where it sees one with nothing mounted on it; /proc has the covered settings.
    fs::create_dir_all(node.file("proc"))?;
    mount_proc(&node.file("proc"))?;
    // What a pod mounts with Bidirectional propagation must reach the node, and what kubelet mounts must reach pods.
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_SHARED,
        None::<&str>,
    )?;
    fs::write(node.file("held"), "")?;
    loop {
        std::thread::park();
    }
}

fn bind(source: &Path, target: &Path) -> Result<()> {
    mount(
        Some(source),
        target,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )
    .with_context(|| {
        format!(
            "failed to bind {} over {}",
            source.display(),
            target.display()
        )
    })
}

fn mount_proc(target: &Path) -> Result<()> {
    mount(
        Some("proc"),
        target,
        Some("proc"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        None::<&str>,
    )
    .with_context(|| format!("failed to mount proc at {}", target.display()))
}

fn cover_with_tmpfs(target: &Path) -> Result<()> {
    fs::create_dir_all(target).with_context(|| format!("failed to make {}", target.display()))?;
    mount(
        Some("latchkey-cluster"),
        target,
        Some("tmpfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some("mode=755"),
    )
    .with_context(|| format!("failed to mount a tmpfs over {}", target.display()))
}
