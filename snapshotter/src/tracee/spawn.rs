//! Starts the program in the compat address-space layout, and seizes it before its first instruction.
#![allow(unsafe_code)] // fork

use super::adopt::is_snaprun;
use super::ptrace::{self, Stop, Tid};
use super::{Output, Status, TraceError};
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, PipeWriter, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub(super) const ADDR_COMPAT_LAYOUT: libc::c_ulong = 0x0200000;

/// How to start the program.
#[derive(Debug)]
pub(crate) struct SpawnOptions {
    /// Program and arguments, not empty.
    pub(crate) command: Vec<OsString>,
    /// The whole environment.
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) cwd: Option<PathBuf>,
    pub(crate) stdin: Option<PathBuf>,
}

/// A program at its exec stop, and the snapshotter's ends of its stdio.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) pid: Tid,
    pub(crate) output: Output,
    /// The same open file descriptions as the program's descriptors 0, 1 and 2.
    pub(crate) stdio: [OwnedFd; 3],
    /// The state that the program starts with. If a value differs later, the program has changed it.
    pub(crate) initial: Status,
    /// The program is `snaprun`, about to become an instance.
    pub(crate) is_instance: bool,
    /// The snapshotter has started it, so inherited state is the snapshotter's.
    pub(crate) is_ours: bool,
}

fn c_string(text: &OsStr) -> Result<CString, TraceError> {
    CString::new(text.as_bytes())
        .map_err(|_| TraceError::Exec { path: text.into(), source: io::Error::from(io::ErrorKind::InvalidInput) })
}

/// Finds the program as a shell would.
fn find_program(name: &OsStr, env: &[(OsString, OsString)], cwd: Option<&Path>) -> Result<PathBuf, TraceError> {
    let base = cwd.map_or_else(|| PathBuf::from("."), Path::to_owned);
    if name.as_bytes().contains(&b'/') {
        let path = Path::new(name);
        return Ok(if path.is_absolute() || cwd.is_none() { path.to_owned() } else { base.join(path) });
    }
    let search = env.iter().rev().find(|(key, _)| key == "PATH").map_or(OsStr::new("/usr/bin:/bin"), |(_, v)| v);
    for dir in std::env::split_paths(search) {
        let path = dir.join(name);
        let executable = nix::unistd::access(&path, nix::unistd::AccessFlags::X_OK).is_ok();
        if executable && path.is_file() {
            return Ok(path);
        }
    }
    Err(TraceError::Exec { path: name.into(), source: io::Error::from(io::ErrorKind::NotFound) })
}

/// Starts the program and waits for its exec stop.
pub(crate) fn spawn(options: &SpawnOptions) -> Result<Spawned, TraceError> {
    let name = options.command.first().map_or(OsStr::new(""), OsString::as_os_str);
    let path = find_program(name, &options.env, options.cwd.as_deref())?;
    let exec_error = |source| TraceError::Exec { path: path.clone(), source };
    let system = TraceError::system;

    let stdin_path = options.stdin.as_deref().unwrap_or(Path::new("/dev/null"));
    let stdin = File::open(stdin_path).map_err(|source| TraceError::Exec { path: stdin_path.to_owned(), source })?;
    let (out_read, out_write) = io::pipe().map_err(system("pipe"))?;
    let (err_read, err_write) = io::pipe().map_err(system("pipe"))?;
    let (mut failure_read, failure_write) = io::pipe().map_err(system("pipe"))?;
    let (gate_read, mut gate_write) = io::pipe().map_err(system("pipe"))?;

    let c_path = c_string(path.as_os_str())?;
    let mut argv = options.command.iter().map(|arg| c_string(arg)).collect::<Result<Vec<_>, _>>()?;
    let is_instance = is_snaprun(&path);
    if is_instance {
        argv.insert(1, c"--keep-arguments".to_owned());
    }
    let envp = options
        .env
        .iter()
        .map(|(key, value)| {
            let mut pair = key.clone();
            pair.push("=");
            pair.push(value);
            c_string(&pair)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let cwd = options.cwd.as_ref().map(|dir| c_string(dir.as_os_str())).transpose()?;
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv_pointers, envp_pointers) = (pointers(&argv), pointers(&envp));
    let child = Child {
        path: &c_path,
        argv: &argv_pointers,
        envp: &envp_pointers,
        cwd: cwd.as_ref(),
        stdio: [stdin.as_raw_fd(), out_write.as_raw_fd(), err_write.as_raw_fd()],
        gate: [gate_read.as_raw_fd(), gate_write.as_raw_fd()],
        failure: failure_write.as_raw_fd(),
    };
    let output = Output::collect(vec![out_read, err_read]).map_err(system("starting a thread"))?;
    // SAFETY: the child only makes async-signal-safe calls on memory prepared above.
    let pid = match unsafe { libc::fork() } {
        -1 => return Err(system("fork")(io::Error::last_os_error())),
        // SAFETY: this is the child.
        0 => unsafe { child.run() },
        pid => pid,
    };
    drop((failure_write, gate_read));
    let seized = ptrace::seize(pid, ptrace::OPTIONS);
    let outcome = seized.map_err(system("ptrace(PTRACE_SEIZE)")).and_then(|()| wait_for_exec(pid, &mut gate_write));
    let initial = match outcome.and_then(|()| Status::read(pid, pid).map_err(system("/proc/PID/status"))) {
        Ok(initial) => initial,
        Err(error) => {
            ptrace::kill(pid, libc::SIGKILL);
            let _ = ptrace::wait(pid);
            let mut errno = [0; 4];
            return Err(match failure_read.read_exact(&mut errno) {
                Ok(()) => exec_error(io::Error::from_raw_os_error(i32::from_le_bytes(errno))),
                Err(_) => error,
            });
        }
    };
    Ok(Spawned {
        pid,
        output,
        stdio: [stdin.into(), out_write.into(), err_write.into()],
        initial,
        is_instance,
        is_ours: true,
    })
}

fn wait_for_exec(pid: Tid, gate: &mut PipeWriter) -> Result<(), TraceError> {
    gate.write_all(b"x").map_err(TraceError::system("starting the program"))?;
    loop {
        match ptrace::wait(pid).map_err(TraceError::system("wait4"))?.1 {
            // At the event, execve has not returned yet and would still overwrite rax: go on to its exit.
            Stop::Exec => ptrace::resume_to_syscall(pid, 0).map_err(TraceError::system("ptrace(PTRACE_SYSCALL)"))?,
            Stop::Syscall => return Ok(()),
            Stop::Exited(_) | Stop::Killed(_) => {
                return Err(TraceError::System { what: "execve", source: io::Error::other("the child died") });
            }
            Stop::Signal(signal) => {
                ptrace::resume(pid, signal).map_err(TraceError::system("ptrace(PTRACE_CONT)"))?;
            }
            _ => ptrace::resume(pid, 0).map_err(TraceError::system("ptrace(PTRACE_CONT)"))?,
        }
    }
}

struct Child<'a> {
    path: &'a CString,
    argv: &'a [*const libc::c_char],
    envp: &'a [*const libc::c_char],
    cwd: Option<&'a CString>,
    stdio: [RawFd; 3],
    /// Both ends of a pipe: the child waits at one until it is traced, and gives up when the other end is closed.
    gate: [RawFd; 2],
    failure: RawFd,
}

impl Child<'_> {
    /// # Safety
    /// In a forked child; async-signal-safe calls only.
    unsafe fn run(&self) -> ! {
        // SAFETY: see above.
        unsafe {
            let mut byte = 0u8;
            libc::close(self.gate[1]);
            if libc::read(self.gate[0], (&raw mut byte).cast(), 1) != 1 {
                libc::_exit(127);
            }
            for (to, from) in self.stdio.iter().enumerate() {
                if libc::dup2(*from, to as i32) < 0 {
                    self.fail();
                }
            }
            if let Some(dir) = self.cwd
                && libc::chdir(dir.as_ptr()) != 0
            {
                self.fail();
            }
            // Rust ignores SIGPIPE in this process; the program must start as from a shell.
            libc::signal(libc::SIGPIPE, libc::SIG_DFL);
            // Other descriptors of the snapshotter must not reach the program.
            libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 4u32 /* CLOSE_RANGE_CLOEXEC */);
            // If personality() is forbidden (containers), or execve clears it (a root without capabilities), an
            // unlimited stack moves the mappings down as well, below the range of programs. The limit is put back at
            // the exec stop.
            let compat = libc::personality(ADDR_COMPAT_LAYOUT) != -1;
            let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            libc::getrlimit(libc::RLIMIT_STACK, &raw mut limit);
            limit.rlim_cur = limit.rlim_max;
            if (libc::setrlimit(libc::RLIMIT_STACK, &raw const limit) != 0 || limit.rlim_max != libc::RLIM_INFINITY)
                && !compat
            {
                self.fail();
            }
            libc::execve(self.path.as_ptr(), self.argv.as_ptr(), self.envp.as_ptr());
            self.fail()
        }
    }

    unsafe fn fail(&self) -> ! {
        // SAFETY: as in `run`.
        unsafe {
            let errno = (*libc::__errno_location()).to_le_bytes();
            libc::write(self.failure, errno.as_ptr().cast(), 4);
            libc::_exit(127)
        }
    }
}
