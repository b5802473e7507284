//! The reasons to leave, which is to end the process in order: a signal, or a thread that has ended.
//!
//! INT comes from the handler that the program installs. TERM, HUP and QUIT come from a thread. The first
//! reason to leave is kept, and triggers one stop that all threads watch. A second signal ends the process at
//! once, after it has restored a terminal in raw mode.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXFSZ};

use super::exit::{ErrorCode, Exit};
use super::output::stdio::say;
use crate::rt::{Ended, Stop, Threads};

/// Why the process is to leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// A signal of this number.
    Signal(u8),
    /// A thread has ended that the program needs.
    ThreadEnded(Ended),
}

/// The reason to leave, shared by all threads. Clones share it.
#[derive(Debug, Clone)]
pub struct Signals(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    leave: Stop,
    reason: Mutex<Option<Reason>>,
    /// The command that runs at a prompt: an INT cancels it, and the program does not leave.
    cancellable: Mutex<Option<Stop>>,
    /// The state of the terminal at the start; `None` if standard input is not a terminal.
    terminal: Option<Termios>,
}

impl Signals {
    /// Watches TERM, HUP and QUIT. XFSZ has no effect: the write that exceeds the limit of the file size
    /// fails, and that is enough. A HUP that was ignored at the start (`nohup`) stays ignored. The handler of
    /// INT must call [`Signals::interrupt`].
    ///
    /// # Errors
    /// When the system gives no descriptor, thread or signal handler.
    pub fn watch() -> io::Result<Signals> {
        let signals = Signals::unwatched()?;
        let mut watched = vec![SIGTERM, SIGQUIT, SIGXFSZ];
        if !is_ignored(SIGHUP) {
            watched.push(SIGHUP);
        }
        let mut arriving = signal_hook::iterator::Signals::new(watched)?;
        let watching = signals.clone();
        // The thread runs until the process ends, so that a second TERM works during a stop. It is not
        // joined.
        Threads::new().spawn("signals", move || {
            for number in arriving.forever().filter(|number| *number != SIGXFSZ) {
                watching.signal(u8::try_from(number).unwrap_or_default());
            }
        })?;
        Ok(signals)
    }

    fn unwatched() -> io::Result<Signals> {
        Ok(Signals(Arc::new(Inner {
            leave: Stop::new()?,
            reason: Mutex::new(None),
            cancellable: Mutex::new(None),
            terminal: tcgetattr(io::stdin()).ok(),
        })))
    }

    /// Handles an INT: cancels the command of [`Signals::cancel_on_interrupt`], or makes the process leave.
    pub fn interrupt(&self) {
        let cancelled = self.0.cancellable.lock().take();
        match cancelled {
            Some(command) => command.trigger(),
            None => self.signal(SIGINT as u8),
        }
    }

    /// Makes the next INT cancel `command`; `None`: the next INT makes the process leave.
    pub fn cancel_on_interrupt(&self, command: Option<&Stop>) {
        *self.0.cancellable.lock() = command.cloned();
    }

    fn signal(&self, number: u8) {
        if self.0.leave.is_triggered() {
            self.restore_terminal();
            std::process::exit(Exit::Signal(number).code().into());
        }
        self.leave(Reason::Signal(number));
    }

    /// Makes the process leave. Only the first reason counts: if it is a thread that has ended, the thread is
    /// named on standard error.
    pub fn leave(&self, reason: Reason) {
        let is_first = {
            let mut first = self.0.reason.lock();
            let is_first = first.is_none();
            first.get_or_insert_with(|| reason.clone());
            is_first
        };
        if let (true, Reason::ThreadEnded(ended)) = (is_first, reason) {
            say(&format!("{ended} while it was needed: leaving"));
        }
        self.0.leave.trigger();
    }

    /// Triggered when the process is to leave. A program that ends by itself triggers it before it stops its
    /// threads.
    pub fn leaving(&self) -> &Stop {
        &self.0.leave
    }

    /// Waits until the process is to leave.
    pub fn wait_to_leave(&self) {
        // The channel delivers no item: the trigger disconnects it.
        self.0.leave.receiver().recv().ok();
    }

    /// Returns true if and only if the process has no reason to leave but INT: the user makes it leave, by
    /// Ctrl-C or at the end of the commands.
    pub fn is_by_user(&self) -> bool {
        const INT: u8 = SIGINT as u8;
        matches!(*self.0.reason.lock(), None | Some(Reason::Signal(INT)))
    }

    /// The exit of the reason to leave; `None` while the process is to stay.
    pub fn exit(&self) -> Option<Exit> {
        self.0.reason.lock().as_ref().map(|reason| match reason {
            Reason::Signal(number) => Exit::Signal(*number),
            Reason::ThreadEnded(_) => Exit::Error(ErrorCode::Other),
        })
    }

    /// Restores the terminal, unless another process group is in its foreground: the system would stop this
    /// process for the change.
    pub fn restore_terminal(&self) {
        let is_ours = || tcgetpgrp(io::stdin()).is_ok_and(|group| group == rustix::process::getpgrp());
        if let Some(terminal) = self.0.terminal.as_ref().filter(|_| is_ours()) {
            // Fails if the terminal is closed.
            tcsetattr(io::stdin(), OptionalActions::Now, terminal).ok();
        }
    }

    /// Makes the process leave if a thread of `ended` ends before another reason to leave.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn watch_threads(
        &self,
        ended: &crossbeam_channel::Receiver<Ended>,
        threads: &Threads,
    ) -> io::Result<()> {
        self.watch_threads_until(&self.0.leave, ended, threads)
    }

    /// [`Signals::watch_threads`] until `until` is triggered. Trigger it before you stop the threads.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn watch_threads_until(
        &self,
        until: &Stop,
        ended: &crossbeam_channel::Receiver<Ended>,
        threads: &Threads,
    ) -> io::Result<()> {
        let (signals, until, ended) = (self.clone(), until.clone(), ended.clone());
        threads.spawn("watch", move || {
            crossbeam_channel::select! {
                recv(until.receiver()) -> _ => {}
                // `select!` takes either channel if both are ready.
                recv(ended) -> end => if let (Ok(end), false) = (end, until.is_triggered()) {
                    signals.leave(Reason::ThreadEnded(end));
                },
            }
        })
    }
}

/// The exit of a service. INT and TERM are the usual ways to stop a service, so they count as success.
pub fn service_exit(exit: Exit) -> Exit {
    match exit {
        Exit::Signal(number) if [SIGINT, SIGTERM].contains(&i32::from(number)) => Exit::Success,
        other => other,
    }
}

/// Returns true if and only if this process ignores the signal.
fn is_ignored(number: i32) -> bool {
    // One bit for each signal: the lowest bit is signal 1; see proc(5).
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .is_some_and(|mask| mask >> (number - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt::How;

    #[test]
    fn an_interrupt_cancels_a_command_once_and_then_leaves() {
        let signals = Signals::unwatched().expect("a descriptor");
        let command = Stop::new().expect("a descriptor");
        signals.cancel_on_interrupt(Some(&command));
        signals.interrupt();
        assert!(command.is_triggered() && !signals.leaving().is_triggered());
        assert_eq!(signals.exit(), None);
        signals.interrupt();
        assert!(signals.leaving().is_triggered());
        assert_eq!(signals.exit(), Some(Exit::Signal(2)));
    }

    #[test]
    fn the_first_reason_to_leave_is_kept() {
        let signals = Signals::unwatched().expect("a descriptor");
        signals.leave(Reason::ThreadEnded(Ended { name: "indexer".into(), how: How::Panicked }));
        signals.leave(Reason::Signal(15));
        assert_eq!(signals.exit(), Some(Exit::Error(ErrorCode::Other)));
    }

    #[test]
    fn a_thread_that_ends_makes_the_process_leave() {
        let signals = Signals::unwatched().expect("a descriptor");
        let (threads, watched) = (Threads::new(), Threads::new());
        signals.watch_threads(watched.ended(), &threads).expect("a thread");
        watched.spawn("indexer", || ()).expect("a thread");
        let deadline = crate::rt::clock::now() + std::time::Duration::from_secs(5);
        assert!(signals.leaving().wait_until(deadline));
        assert_eq!(signals.exit(), Some(Exit::Error(ErrorCode::Other)));
        assert!(threads.join(deadline).is_clean() && watched.join(deadline).is_clean());
    }

    #[test]
    fn int_and_term_count_as_success_of_a_service() {
        for (exit, expected) in [
            (Exit::Success, Exit::Success),
            (Exit::Signal(2), Exit::Success),
            (Exit::Signal(15), Exit::Success),
            (Exit::Signal(1), Exit::Signal(1)),
            (Exit::Error(ErrorCode::NoTracker), Exit::Error(ErrorCode::NoTracker)),
        ] {
            assert_eq!(service_exit(exit), expected);
        }
    }
}
