//! The sockets of the process before this one, and which of them are still wanted.
//!
//! A listener takes the socket that has its address; where the system has chosen the port, it must have
//! its name, too, and then the port stays. What nobody takes is closed, and what is new is bound.

use std::os::fd::OwnedFd;

use tidegate_core::address::Address;
use tidegate_core::validate::address::listen;

use super::Socket;

/// The name of the admin API's socket, which no listener can have.
pub(crate) const ADMIN: &str = "/admin";

/// Sockets that wait to be taken.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    sockets: Vec<(Socket, Option<OwnedFd>)>,
}

impl Inherited {
    pub(super) fn of(names: Vec<Socket>, sockets: Vec<OwnedFd>) -> Self {
        Self { sockets: names.into_iter().zip(sockets.into_iter().map(Some)).collect() }
    }

    /// The socket for a listener, if there is one; the address in its one form, see [`canonical`].
    pub(crate) fn take(&mut self, name: &str, address: &str) -> Option<OwnedFd> {
        let offered = self.sockets.iter().map(|(socket, _)| socket);
        let at = choose(name, address, offered)?;
        self.sockets[at].1.take()
    }

    /// Closes what was not taken, so that only the old process has it; the others, by their place.
    pub(crate) fn taken(&mut self) -> Vec<usize> {
        let places = self.sockets.iter_mut().enumerate();
        places.filter_map(|(at, (_, left))| left.take().is_none().then_some(at)).collect()
    }
}

fn choose<'a>(name: &str, address: &str, offered: impl Iterator<Item = &'a Socket>) -> Option<usize> {
    let is_ephemeral = address.parse().is_ok_and(|address: Address| address.is_ephemeral());
    let fits = |socket: &Socket| {
        let is_alike = (socket.name == ADMIN) == (name == ADMIN);
        is_alike && socket.address == address && (!is_ephemeral || socket.name == name)
    };
    offered.enumerate().find(|(_, socket)| fits(socket)).map(|(at, _)| at)
}

/// An address as written, in the one form by which two processes compare them.
pub(crate) fn canonical(written: &str, locate: impl Fn(&Address) -> Address) -> String {
    let Ok(address) = listen(written) else { return written.to_owned() };
    match locate(&address) {
        Address::Unix(path) => {
            let absolute = std::path::absolute(&path).map_or(path, Into::into);
            Address::Unix(absolute).to_string()
        }
        Address::Tcp(_) => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn socket(name: &str, address: &str) -> Socket {
        Socket { name: name.into(), address: address.into() }
    }

    #[test]
    fn which_socket_a_listener_takes() {
        let offered = [
            socket("web", "127.0.0.1:80"),
            socket("one", "127.0.0.1:0"),
            socket("two", "127.0.0.1:0"),
            socket(ADMIN, "127.0.0.1:0"),
            socket("local", "unix:/run/web.sock"),
        ];
        for (name, address, chosen) in [
            ("web", "127.0.0.1:80", Some(0)),
            ("renamed", "127.0.0.1:80", Some(0)),
            ("web", "127.0.0.1:81", None),
            ("one", "127.0.0.1:0", Some(1)),
            ("two", "127.0.0.1:0", Some(2)),
            ("three", "127.0.0.1:0", None),
            (ADMIN, "127.0.0.1:0", Some(3)),
            (ADMIN, "127.0.0.1:80", None),
            ("local", "unix:/run/web.sock", Some(4)),
        ] {
            assert_eq!(choose(name, address, offered.iter()), chosen, "{name} {address}");
        }
    }

    #[test]
    fn what_is_not_taken_is_closed() {
        let bound = || std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let (kept, closed) = (bound(), bound());
        let address = closed.local_addr().expect("one");
        let names = vec![socket("kept", "127.0.0.1:1"), socket("closed", "127.0.0.1:2")];
        let mut inherited = Inherited::of(names, vec![kept.into(), closed.into()]);
        let taken = inherited.take("kept", "127.0.0.1:1");
        assert!(taken.is_some() && inherited.take("kept", "127.0.0.1:1").is_none());
        assert_eq!(inherited.taken(), [0]);
        assert!(std::net::TcpStream::connect(address).is_err());
    }

    #[test]
    fn addresses_have_one_form() {
        let locate = |address: &Address| match address {
            Address::Unix(path) => Address::Unix(Path::new("/etc/tidegate").join(path).into()),
            Address::Tcp(_) => address.clone(),
        };
        for (written, form) in [
            ("localhost:80", "127.0.0.1:80"),
            ("[0:0::1]:80", "[::1]:80"),
            ("unix:web.sock", "unix:/etc/tidegate/web.sock"),
            ("unix:/run/./web.sock", "unix:/run/web.sock"),
        ] {
            assert_eq!(canonical(written, locate), form);
        }
    }
}
