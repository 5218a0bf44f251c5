//! Compilations of harnesses that are under way. They are ended when nobody will need their result.

use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};

/// The compilations of one run. Copies stand for the same ones.
#[derive(Debug, Clone, Default)]
pub struct Running(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    stopped: bool,
    children: Vec<Arc<Mutex<Child>>>,
}

/// How a compiler ended.
pub struct CompilerOutput {
    pub status: ExitStatus,
    /// What it wrote to stderr.
    pub stderr: String,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no thread panicked with the lock held")
}

impl Running {
    /// Ends those that run, and has none begin from here on.
    pub fn stop(&self) {
        let mut state = lock(&self.0);
        state.stopped = true;
        for child in &state.children {
            // One that has ended by itself is no failure.
            let _ = lock(child).kill();
        }
    }

    /// Runs `command` to its end. `begun` hears the number of its process.
    ///
    /// # Errors
    /// Where it cannot be started, or [`stop`](Running::stop) was called.
    pub fn run(&self, command: &mut Command, begun: impl FnOnce(u32)) -> io::Result<CompilerOutput> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let (child, stderr) = {
            let mut state = lock(&self.0);
            if state.stopped {
                return Err(io::Error::other("nobody wants it any more"));
            }
            let mut child = command.spawn()?;
            let stderr = child.stderr.take();
            begun(child.id());
            let child = Arc::new(Mutex::new(child));
            state.children.push(Arc::clone(&child));
            (child, stderr)
        };
        let mut text = Vec::new();
        // Until the compiler has ended, which may be because it was killed: nobody holds its lock meanwhile.
        let read = stderr.map_or(Ok(0), |mut stderr| stderr.read_to_end(&mut text));
        let status = lock(&child).wait();
        lock(&self.0).children.retain(|running| !Arc::ptr_eq(running, &child));
        read?;
        Ok(CompilerOutput { status: status?, stderr: String::from_utf8_lossy(&text).trim().to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn what_nobody_wants_any_more_is_ended_and_not_begun() {
        let running = Running::default();
        let (sender, receiver) = mpsc::channel();
        let other = running.clone();
        let thread = std::thread::spawn(move || {
            // It would run for ever.
            other.run(Command::new("tail").args(["-f", "/dev/null"]), move |id| sender.send(id).unwrap())
        });
        receiver.recv().unwrap();
        running.stop();
        assert!(!thread.join().unwrap().unwrap().status.success());
        assert!(lock(&running.0).children.is_empty());
        assert!(running.run(&mut Command::new("true"), |_| panic!("it began")).is_err());
    }

    #[test]
    fn a_compiler_is_heard_to_its_end() {
        let mut command = Command::new("sh");
        let ended = Running::default().run(command.args(["-c", "echo out; echo err >&2; exit 3"]), |_| ()).unwrap();
        assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(3), "err"));
    }
}
