//! The only actors that other nodes can reach, and what the node server tells of its sessions.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use ractor::{
    Actor, ActorProcessingErr, ActorRef, Message,
    message::{BoxedDowncastErr, SerializedMessage},
    pg,
};
use ractor_cluster::{NodeEventSubscription, node::NodeServerSessionInformation};

use super::{Error, Lane, shared::Shared};

/// Actors of one class on one node. One keeps batches large; the second lets another core read while the first works.
pub(super) const LANES: usize = 2;
/// Process groups of lanes, apart from anybody else's.
const SCOPE: &str = "trolley";

/// What a lane is sent, by its own node or another.
pub(super) enum LaneMessage {
    /// Envelopes.
    Batch(Vec<u8>),
    /// Something that no node of ours sends.
    Strange,
}

// By hand: reading must neither panic nor fail, whatever a peer sends.
impl Message for LaneMessage {
    fn serializable() -> bool {
        true
    }

    fn serialize(self) -> Result<SerializedMessage, BoxedDowncastErr> {
        match self {
            Self::Batch(args) => Ok(SerializedMessage::Cast { variant: String::new(), args, metadata: None }),
            Self::Strange => Err(BoxedDowncastErr),
        }
    }

    fn deserialize(message: SerializedMessage) -> Result<Self, BoxedDowncastErr> {
        Ok(match message {
            SerializedMessage::Cast { args, .. } => Self::Batch(args),
            SerializedMessage::Call { .. } | SerializedMessage::CallReply(..) => Self::Strange,
        })
    }
}

/// Which of a node's actors: the words between nodes go past the lanes, so that work does not delay them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Control,
    Lane(Lane, usize),
}

impl Role {
    /// Every actor of a node.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let lanes = Lane::ALL.into_iter().flat_map(|lane| (0..LANES).map(move |at| Self::Lane(lane, at)));
        std::iter::once(Self::Control).chain(lanes)
    }

    fn group(self, full_name: &str) -> String {
        match self {
            Self::Control => format!("lane/{full_name}/control"),
            Self::Lane(lane, at) => format!("lane/{full_name}/{}/{at}", lane.name()),
        }
    }

    /// The peer's actor in this role, as its session made it known.
    pub(super) fn find(self, full_name: &str, session: u64) -> Option<ActorRef<LaneMessage>> {
        let members = pg::get_scoped_members(&SCOPE.to_owned(), &self.group(full_name));
        // A peer could join any group: only the session's own actors count.
        members
            .into_iter()
            .find(|cell| !cell.get_id().is_local() && cell.get_id().node() == session)
            .map(ActorRef::from)
    }
}

/// Reads batches from peers.
struct LaneActor {
    shared: Weak<Shared>,
    role: Role,
}

impl Actor for LaneActor {
    type Msg = LaneMessage;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<LaneMessage>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<LaneMessage>,
        message: LaneMessage,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        let Some(shared) = self.shared.upgrade() else { return Ok(()) };
        match message {
            LaneMessage::Batch(bytes) => shared.received(self.role, Bytes::from(bytes)),
            LaneMessage::Strange => tracing::warn!("a peer calls a lane: no node of ours does"),
        }
        Ok(())
    }
}

/// Starts this node's actors and makes them known under its name.
pub(super) async fn start(shared: &Arc<Shared>) -> Result<Vec<ActorRef<LaneMessage>>, Error> {
    let mut actors = Vec::new();
    for role in Role::all() {
        let lane = LaneActor { shared: Arc::downgrade(shared), role };
        let (actor, _) = Actor::spawn(None, lane, ()).await.map_err(|error| Error::Server(error.to_string()))?;
        pg::join_scoped(SCOPE.to_owned(), role.group(&shared.full_name), vec![actor.get_cell()]);
        actors.push(actor);
    }
    Ok(actors)
}

/// Hears from the node server how its sessions fare.
pub(super) struct Watch(pub(super) Weak<Shared>);

impl NodeEventSubscription for Watch {
    fn node_session_opened(&self, session: NodeServerSessionInformation) {
        match self.connection(&session) {
            Some(connection) => connection.opened(session.actor),
            // It came in at the node server's own listener, past our door.
            None => session.actor.stop(None),
        }
    }

    fn node_session_authenticated(&self, session: NodeServerSessionInformation) {
        let Some(connection) = self.connection(&session) else { return };
        let claimed = session.peer_name.as_ref().map_or("", |peer| peer.name.as_str());
        // Whoever holds the cookie may claim any name there; only the certificate's counts.
        if claimed != ractor_name(&connection.name, connection.incarnation) {
            tracing::warn!(peer = &*connection.name, claimed, "a peer claims a name that is not its own");
            connection.cut();
        }
    }

    fn node_session_ready(&self, session: NodeServerSessionInformation) {
        let (Some(shared), Some(connection)) = (self.0.upgrade(), self.connection(&session)) else { return };
        shared.ready(&connection, session.node_id);
    }

    fn node_session_disconnected(&self, session: NodeServerSessionInformation) {
        if let Some(shared) = self.0.upgrade() {
            shared.disconnected(&session.peer_addr);
        }
    }
}

impl Watch {
    fn connection(&self, session: &NodeServerSessionInformation) -> Option<Arc<super::session::Connection>> {
        self.0.upgrade()?.connection(&session.peer_addr)
    }
}

/// Name and incarnation in one: a node that starts again is another one.
pub(super) fn full_name(name: &str, incarnation: u64) -> String {
    format!("{name}#{incarnation}")
}

/// What the node server makes of a name and a host; each node is its own host, or it would take another for itself.
fn ractor_name(name: &str, incarnation: u64) -> String {
    format!("{}@{name}", full_name(name, incarnation))
}
