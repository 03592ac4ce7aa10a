//! The command `cluster`: a real Kubernetes on this machine, for people and for `make test`.

use std::process::ExitCode;

#[expect(
    clippy::print_stderr,
    reason = "the last word of a command goes to its user"
)]
fn main() -> ExitCode {
    match latchkey_cluster::cli::main() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cluster: {error:#}");
            ExitCode::FAILURE
        }
    }
}
