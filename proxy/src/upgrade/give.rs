//! The old process's part: asked to by SIGQUIT, it gives its sockets and all that it knows away.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use tidegate_admin::Control;

use super::channel::{Channel, in_words};
use super::{ADMIN, Estate, Farewell, Greeting, Hello, Outcome, PATIENCE, PROTOCOL, Place, Socket, Taken};

/// A socket on which this process listens.
#[derive(Debug)]
pub(crate) struct Offer {
    socket: Socket,
    handle: OwnedFd,
}

impl Offer {
    /// Of a listener, or of [`ADMIN`]; the address in its one form.
    pub(crate) fn of(name: &str, address: String, handle: OwnedFd) -> Self {
        Self { socket: Socket { name: name.to_owned(), address }, handle }
    }
}

/// Why this process goes on.
#[derive(Debug)]
pub(crate) enum NotGiven {
    /// No process waits to take over.
    Nobody,
    /// One was there, and failed.
    Failed {
        /// Why.
        why: String,
        /// Whether it has had the state folder.
        taken_back: bool,
    },
}

/// Gives everything to the process that waits at this place.
///
/// Takes no longer than [`PATIENCE`] and the time to have the state folder again.
pub(crate) async fn give(
    place: &Place,
    control: &Arc<Control>,
    offers: &Arc<Vec<Offer>>,
) -> Result<Taken, NotGiven> {
    let (place, own, offers) = (place.clone(), Arc::clone(control), Arc::clone(offers));
    let given = tokio::task::spawn_blocking(move || give_now(&place, &own, &offers)).await;
    given.unwrap_or_else(|error| Err(NotGiven::Failed { why: error.to_string(), taken_back: false }))
}

fn give_now(place: &Place, control: &Control, offers: &[Offer]) -> Result<Taken, NotGiven> {
    let failed = |why| NotGiven::Failed { why, taken_back: false };
    let stream = place.connect().map_err(failed)?.ok_or(NotGiven::Nobody)?;
    let greeted = Channel::new(stream, PATIENCE).and_then(greet);
    let (mut channel, successor) = greeted.map_err(|error| failed(in_words(&error)))?;
    tracing::info!(pid = successor.pid, version = successor.version, "a new process takes over");
    let handover = control.hand_over().map_err(failed)?;
    let estate = Estate { sockets: offers.iter().map(|offer| offer.socket.clone()).collect(), handover };
    let given = hand(&mut channel, &estate, offers).and_then(|taken| {
        channel.send(&Farewell { aborts: control.handed_over() })?;
        Ok(taken)
    });
    given.map_err(|error| {
        // It must not wait for a farewell while the state folder is asked for.
        drop(channel);
        control.take_back();
        NotGiven::Failed { why: in_words(&error), taken_back: true }
    })
}

fn greet(mut channel: Channel) -> io::Result<(Channel, Hello)> {
    channel.send(&Hello::ours())?;
    match channel.receive()? {
        Greeting::Welcome(hello) if hello.protocol == PROTOCOL => Ok((channel, hello)),
        Greeting::Welcome(_) => Err(io::Error::other("it speaks another form of the handover")),
        Greeting::Refused { why } => Err(io::Error::other(why)),
    }
}

/// Hands everything out, and waits until it is served from.
fn hand(channel: &mut Channel, estate: &Estate, offers: &[Offer]) -> io::Result<Taken> {
    channel.send(estate)?;
    let handles: Vec<_> = offers.iter().map(|offer| offer.handle.as_fd()).collect();
    channel.send_sockets(&handles)?;
    match channel.receive()? {
        Outcome::Serving { taken } => {
            let names = taken.iter().filter_map(|at| Some(estate.sockets.get(*at)?.name.clone()));
            let mut listeners: std::collections::BTreeSet<String> = names.collect();
            let admin = listeners.remove(ADMIN);
            Ok(Taken { listeners, admin })
        }
        Outcome::Failed { why } => Err(io::Error::other(why)),
    }
}
