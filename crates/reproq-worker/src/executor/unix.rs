//! What Unix has to be asked for directly: descriptors over sockets, process groups, waiting statuses.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    recv, sendmsg, socketpair,
};
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, getrlimit, kill_process, kill_process_group,
    setrlimit, waitid,
};
use tokio::io::unix::AsyncFd;

/// A pair of connected sockets that keep message boundaries. The second is for another process, whose calls block.
pub(super) fn packet_pair() -> std::io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    rustix::io::ioctl_fionbio(&theirs, false)?;
    Ok((ours, theirs))
}

/// Makes the runtime watch a descriptor.
pub(super) fn watch(descriptor: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    #[expect(unsafe_code, reason = "the value owns its descriptor and never changes which one it is")]
    let watched = unsafe { AsyncFd::register(descriptor) };
    watched.map_err(std::io::Error::from)
}

/// The same for one that outlives being watched.
pub(super) fn watch_shared(descriptor: Rc<OwnedFd>) -> std::io::Result<AsyncFd<Rc<OwnedFd>>> {
    #[expect(unsafe_code, reason = "the value shares in owning its descriptor, which is always the same")]
    let watched = unsafe { AsyncFd::register(descriptor) };
    watched.map_err(std::io::Error::from)
}

/// Sends one packet, descriptors with it.
pub(super) fn send_packet(
    socket: impl AsFd,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> std::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(std::io::Error::other("too many descriptors for one packet"));
    }
    sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?;
    Ok(())
}

/// Receives one packet; empty at the end of the stream.
pub(super) fn receive_packet(socket: impl AsFd, buffer: &mut [u8]) -> std::io::Result<usize> {
    // A plain receive: the zygote sends no descriptors, and any that came would be closed by the kernel.
    let mut slice = IoSliceMut::new(buffer);
    let (count, _) = recv(socket, &mut *slice, RecvFlags::empty())?;
    Ok(count)
}

/// Appends what is there to be read; 0 at the end of the stream.
pub(super) fn receive(socket: impl AsFd, into: &mut Vec<u8>) -> std::io::Result<usize> {
    let (count, _) = recv(socket, rustix::buffer::spare_capacity(into), RecvFlags::DONTWAIT)?;
    Ok(count)
}

/// Whether there is something to be read. The end of the stream is nothing.
pub(super) fn has_unread(socket: impl AsFd) -> bool {
    rustix::io::ioctl_fionread(socket).is_ok_and(|count| count > 0)
}

/// Writes as much as the socket takes.
pub(super) fn send(socket: impl AsFd, bytes: &[u8]) -> std::io::Result<usize> {
    Ok(rustix::net::send(socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?)
}

/// Ends a conversation from this side.
pub(super) fn hang_up(socket: impl AsFd) {
    // A socket that is closed already has been hung up.
    let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
}

/// Kills every process of the group that `leader` leads.
pub(super) fn kill_group(leader: i32) {
    if let Some(pid) = Pid::from_raw(leader).filter(|_| leader > 1)
        && kill_process_group(pid, Signal::KILL).is_err()
    {
        // Just after its fork it does not lead a group yet. It may be gone already, which is as good.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Interrupts one process, and none of those that it has started.
pub(super) fn interrupt(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid).filter(|_| pid > 1) {
        // One that has ended needs no asking.
        let _ = kill_process(pid, Signal::INT);
    }
}

/// Whether a process of this one's own has ended. It stays unreaped, and its process id its own.
pub(super) fn has_ended(pid: i32) -> bool {
    let how = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    // One that cannot be waited for is not there.
    Pid::from_raw(pid).is_none_or(|pid| !matches!(waitid(WaitId::Pid(pid), how), Ok(None)))
}

/// Whether a stream that nothing is expected on says something, or has ended.
pub(super) fn speaks(stream: impl AsFd) -> bool {
    let mut byte = [0];
    recv(stream, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT) != Err(rustix::io::Errno::AGAIN)
}

/// Lets this process open as many files as it may: each child takes a few.
pub(super) fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    // No more than any worker needs: children inherit it, and some programs do something for each number.
    let wanted = limit.maximum.unwrap_or(u64::MAX).min(64 * 1024);
    if limit.current.is_some_and(|current| current < wanted) {
        // It was worth the try.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum });
    }
}

/// The words for a status of `waitpid`.
pub(super) fn describe(status: i32) -> String {
    let signal = status & 0x7f;
    if signal == 0 {
        format!("exit code {}", (status >> 8) & 0xff)
    } else {
        format!("signal {signal}{}", name(signal))
    }
}

fn name(signal: i32) -> &'static str {
    match signal {
        4 => " (SIGILL)",
        6 => " (SIGABRT)",
        7 => " (SIGBUS)",
        8 => " (SIGFPE)",
        9 => " (SIGKILL: killed from outside, often by the kernel for want of memory)",
        11 => " (SIGSEGV)",
        15 => " (SIGTERM)",
        31 => " (SIGSYS)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_read_as_words() {
        assert_eq!(describe(0), "exit code 0");
        assert_eq!(describe(3 << 8), "exit code 3");
        assert_eq!(describe(11), "signal 11 (SIGSEGV)");
        assert_eq!(describe(139), "signal 11 (SIGSEGV)");
    }
}
