//! Signals, and every other reason to leave, in one place.
//!
//! INT comes from the handler that the program installs, TERM, HUP and QUIT from a thread of their own. The
//! first reason to leave is kept and triggers one stop that everything watches; a second signal ends the
//! process at once. However it ends, a terminal that was in raw mode is put back first.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXFSZ};

use super::exit::{ErrorCode, Exit};
use super::output::stdio::say;
use crate::rt::{Ended, Stop, Threads};

/// Why the process leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    Signal(u8),
    /// A thread that should have lived on.
    ThreadEnded(Ended),
}

/// Cheap to clone; all clones are the same.
#[derive(Debug, Clone)]
pub struct Signals(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    leave: Stop,
    reason: Mutex<Option<Reason>>,
    /// What an INT cancels instead of leaving: the command that runs at a prompt.
    cancellable: Mutex<Option<Stop>>,
    /// The terminal as it was at start, if standard input is one.
    terminal: Option<Termios>,
}

impl Signals {
    /// Watches TERM, HUP and QUIT from now on, and survives XFSZ: the write that it tells of fails anyway. A
    /// HUP that was ignored at start (`nohup`) stays so. INT is told by whoever handles it, through
    /// [`Signals::interrupt`].
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
        let told = signals.clone();
        // Lives until the process ends, so that a second TERM works during a stop: nobody joins it.
        Threads::new().spawn("signals", move || {
            for number in arriving.forever().filter(|number| *number != SIGXFSZ) {
                told.signal(u8::try_from(number).unwrap_or_default());
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

    /// Ctrl-C: cancels the command that [`Signals::cancel_on_interrupt`] told of, else leaves.
    pub fn interrupt(&self) {
        let cancelled = self.0.cancellable.lock().take();
        match cancelled {
            Some(command) => command.trigger(),
            None => self.signal(SIGINT as u8),
        }
    }

    /// The next INT cancels `command` and does not leave.
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

    /// Makes the process leave; the first reason counts. A thread that ended is told to the user.
    pub fn leave(&self, reason: Reason) {
        let first = {
            let mut kept = self.0.reason.lock();
            let first = kept.is_none();
            kept.get_or_insert_with(|| reason.clone());
            first
        };
        if let (true, Reason::ThreadEnded(ended)) = (first, reason) {
            say(&format!("{ended} while it was needed: leaving"));
        }
        self.0.leave.trigger();
    }

    /// Triggered when the process is to leave; whoever ends for a reason of its own triggers it too, before
    /// it stops anything.
    pub fn leaving(&self) -> &Stop {
        &self.0.leave
    }

    /// Returns true if and only if what was cancelled was cancelled by Ctrl-C, rather than by whatever else
    /// makes the process leave.
    pub fn is_cancel(&self) -> bool {
        matches!(*self.0.reason.lock(), None | Some(Reason::Signal(2)))
    }

    /// The exit code of the reason to leave, if there is one.
    pub fn exit(&self) -> Option<Exit> {
        self.0.reason.lock().as_ref().map(|reason| match reason {
            Reason::Signal(number) => Exit::Signal(*number),
            Reason::ThreadEnded(_) => Exit::Error(ErrorCode::Other),
        })
    }

    /// Puts the terminal back as it was at start. One that another job has is left alone: the system would
    /// stop us for touching it.
    pub fn restore_terminal(&self) {
        let is_ours = || tcgetpgrp(io::stdin()).is_ok_and(|group| group == rustix::process::getpgrp());
        if let Some(terminal) = self.0.terminal.as_ref().filter(|_| is_ours()) {
            let _terminal_is_gone = tcsetattr(io::stdin(), OptionalActions::Now, terminal);
        }
    }

    /// Leaves when a thread of `ended` ends before anything else makes us leave.
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

    /// The same until `over`, which is triggered when they are told to end.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn watch_threads_until(
        &self,
        over: &Stop,
        ended: &crossbeam_channel::Receiver<Ended>,
        threads: &Threads,
    ) -> io::Result<()> {
        let (signals, over, ended) = (self.clone(), over.clone(), ended.clone());
        threads.spawn("watch", move || {
            crossbeam_channel::select! {
                recv(over.receiver()) -> _ => {}
                recv(ended) -> end => if let (Ok(end), false) = (end, over.is_triggered()) {
                    signals.leave(Reason::ThreadEnded(end));
                },
            }
        })
    }
}

/// The exit code of a service that was told to stop: INT and TERM are how one stops it.
pub fn service_exit(exit: Exit) -> Exit {
    match exit {
        Exit::Signal(number) if [SIGINT, SIGTERM].contains(&i32::from(number)) => Exit::Success,
        other => other,
    }
}

/// Returns true if and only if the process was started with this signal ignored.
fn is_ignored(number: i32) -> bool {
    // One bit for each signal, the first being 1; see proc(5).
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
    fn the_first_reason_counts() {
        let signals = Signals::unwatched().expect("a descriptor");
        signals.leave(Reason::ThreadEnded(Ended { name: "core".into(), how: How::Panicked }));
        signals.leave(Reason::Signal(15));
        assert_eq!(signals.exit(), Some(Exit::Error(ErrorCode::Other)));
    }

    #[test]
    fn a_thread_that_ends_makes_the_process_leave() {
        let signals = Signals::unwatched().expect("a descriptor");
        let (threads, watched) = (Threads::new(), Threads::new());
        signals.watch_threads(watched.ended(), &threads).expect("a thread");
        watched.spawn("core", || ()).expect("a thread");
        let deadline = crate::rt::clock::now() + std::time::Duration::from_secs(5);
        assert!(signals.leaving().wait_until(deadline));
        assert_eq!(signals.exit(), Some(Exit::Error(ErrorCode::Other)));
        assert!(threads.join(deadline).is_clean() && watched.join(deadline).is_clean());
    }

    #[test]
    fn int_and_term_are_how_a_service_is_stopped() {
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
