//! Where the service is: a list of nodes that may change, and which of them are in rotation, as behind a load balancer.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::client::{Connection, request};

/// How often each node is asked whether it is ready.
const POLL_EVERY: Duration = Duration::from_millis(200);
/// How long that answer may take: a paused node accepts connections and says nothing.
const POLL_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a node that is not ready stays in rotation: what a load balancer takes to notice.
const LEAVES_AFTER: Duration = Duration::from_secs(1);

/// A node of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What people call it.
    pub name: String,
    /// Where shoppers go.
    pub http: String,
    /// Where it says whether it is ready.
    pub admin: Option<String>,
}

impl Node {
    /// Nodes from lists with commas; they are called `n1`, `n2` and so on.
    ///
    /// # Errors
    /// When an address is no `host:port`, or there is not one admin listener for each node.
    pub fn list(http: &str, admin: Option<&str>) -> Result<Vec<Self>, String> {
        let split = |list: &str| list.split(',').map(|part| part.trim().to_owned()).collect::<Vec<_>>();
        let (https, admins) = (split(http), admin.map(split).unwrap_or_default());
        let is_address = |address: &String| {
            address
                .rsplit_once(':')
                .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0))
        };
        if let Some(wrong) = https.iter().chain(&admins).find(|address| !is_address(address)) {
            return Err(format!("{wrong:?} is no HOST:PORT"));
        }
        if !admins.is_empty() && admins.len() != https.len() {
            return Err(format!("{} addresses and {} admin listeners", https.len(), admins.len()));
        }
        let node =
            |(n, http): (usize, String)| Self { name: format!("n{}", n + 1), http, admin: admins.get(n).cloned() };
        Ok(https.into_iter().enumerate().map(node).collect())
    }
}

/// Whether a node is in rotation, from what was seen of it.
#[derive(Clone, Copy, Debug, Default)]
struct Rotation {
    unready_since: Option<Instant>,
}

impl Rotation {
    fn saw(&mut self, is_ready: bool, at: Instant) {
        self.unready_since = if is_ready { None } else { self.unready_since.or(Some(at)) };
    }

    fn holds(self, now: Instant) -> bool {
        self.unready_since.is_none_or(|since| now.saturating_duration_since(since) < LEAVES_AFTER)
    }
}

/// The nodes, shared by all shoppers.
#[derive(Clone, Debug)]
pub struct Nodes(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    list: Mutex<Vec<(Arc<Node>, Rotation)>>,
    turn: AtomicUsize,
}

impl Nodes {
    /// These nodes, all in rotation.
    #[must_use]
    pub fn new(nodes: Vec<Node>) -> Self {
        let list = nodes.into_iter().map(|node| (Arc::new(node), Rotation::default())).collect();
        Self(Arc::new(Shared { list: Mutex::new(list), turn: AtomicUsize::new(0) }))
    }

    fn list(&self) -> MutexGuard<'_, Vec<(Arc<Node>, Rotation)>> {
        self.0.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on it is these; what was seen of those that stay is kept.
    pub fn replace(&self, nodes: Vec<Node>) {
        let mut list = self.list();
        let seen = |node: &Node| list.iter().find(|(known, _)| **known == *node).map(|(_, seen)| *seen);
        let new = nodes.into_iter().map(|node| (seen(&node).unwrap_or_default(), Arc::new(node)));
        *list = new.map(|(seen, node)| (node, seen)).collect();
    }

    /// A node that came, or came back, perhaps elsewhere.
    pub fn insert(&self, node: Node) {
        let mut list = self.list();
        match list.iter_mut().find(|(known, _)| known.name == node.name) {
            Some((known, _)) if **known == node => {}
            Some(known) => *known = (Arc::new(node), Rotation::default()),
            None => list.push((Arc::new(node), Rotation::default())),
        }
    }

    /// All of them, in rotation or not.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Node>> {
        self.list().iter().map(|(node, _)| Arc::clone(node)).collect()
    }

    /// The next in turn: in rotation and another than that one if there is such a node, else as much of this as can be
    /// had. When no node is ready the request goes to one that is not: its refusal is what a shopper would get.
    #[must_use]
    pub fn next(&self, other_than: Option<&str>) -> Option<Arc<Node>> {
        let (list, now) = (self.list(), Instant::now());
        let turn = self.0.turn.fetch_add(1, Ordering::Relaxed);
        let worth = |(node, rotation): &(Arc<Node>, Rotation)| {
            u8::from(rotation.holds(now)) * 2 + u8::from(other_than != Some(node.name.as_str()))
        };
        let best = list.iter().map(worth).max()?;
        let fit: Vec<_> = list.iter().filter(|entry| worth(entry) == best).collect();
        fit.get(turn % fit.len()).map(|(node, _)| Arc::clone(node))
    }

    /// Asks every node again and again whether it is ready, until this is dropped. Nodes without an admin listener stay
    /// in rotation.
    pub async fn watch(&self) {
        let mut polls = tokio::time::interval(POLL_EVERY);
        polls.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            polls.tick().await;
            let mut asked = JoinSet::new();
            for node in self.all() {
                if let Some(admin) = node.admin.clone() {
                    asked.spawn(async move {
                        let at = Instant::now();
                        let is_ready = tokio::time::timeout(POLL_TIMEOUT, is_ready(&admin)).await;
                        (node, at, matches!(is_ready, Ok(Ok(true))))
                    });
                }
            }
            while let Some(answer) = asked.join_next().await {
                let Ok((node, at, is_ready)) = answer else { continue };
                if let Some((_, rotation)) = self.list().iter_mut().find(|(known, _)| Arc::ptr_eq(known, &node)) {
                    rotation.saw(is_ready, at);
                }
            }
        }
    }
}

async fn is_ready(admin: &str) -> io::Result<bool> {
    Ok(Connection::open(admin).await?.exchange(&request("GET", "/health/ready", &[], None)).await? == 200)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Nodes {
        Nodes::new(Node::list("a:1,b:2,c:3", None).unwrap())
    }

    fn names(nodes: &Nodes, other_than: Option<&str>) -> Vec<String> {
        let mut names: Vec<_> = (0..6).map(|_| nodes.next(other_than).unwrap().name.clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    #[test]
    fn a_node_leaves_a_second_after_it_is_unready_and_comes_back_at_once() {
        let (mut rotation, begin) = (Rotation::default(), Instant::now());
        let at = |ms| begin + Duration::from_millis(ms);
        rotation.saw(false, at(0));
        rotation.saw(false, at(900));
        assert!(rotation.holds(at(999)));
        assert!(!rotation.holds(at(1000)));
        rotation.saw(true, at(1200));
        assert!(rotation.holds(at(1200)));
        rotation.saw(false, at(1400));
        assert!(rotation.holds(at(2300)));
    }

    #[test]
    fn all_take_turns_save_those_that_are_out_or_to_be_avoided() {
        let nodes = three();
        assert_eq!(names(&nodes, None), ["n1", "n2", "n3"]);
        assert_eq!(names(&nodes, Some("n2")), ["n1", "n3"]);
        nodes.list()[0].1.unready_since = Instant::now().checked_sub(LEAVES_AFTER);
        assert_eq!(names(&nodes, None), ["n2", "n3"]);
        assert_eq!(names(&nodes, Some("n2")), ["n3"]);
        for entry in nodes.list().iter_mut() {
            entry.1.unready_since = Instant::now().checked_sub(LEAVES_AFTER);
        }
        assert_eq!(names(&nodes, Some("n2")), ["n1", "n3"], "none is ready: any but the one to be avoided");
    }

    #[test]
    fn the_list_can_change_and_what_was_seen_of_those_that_stay_is_kept() {
        let nodes = three();
        nodes.list()[0].1.unready_since = Instant::now().checked_sub(LEAVES_AFTER);
        nodes.replace(Node::list("a:1,b:2", None).unwrap());
        assert_eq!(names(&nodes, None), ["n2"]);
        nodes.insert(Node { name: "n1".to_owned(), http: "a:9".to_owned(), admin: None });
        assert_eq!(names(&nodes, None), ["n1", "n2"]);
    }

    #[test]
    fn lists_that_do_not_match_are_refused() {
        assert!(Node::list("a:1,b", None).is_err());
        assert!(Node::list("a:1,b:2", Some("c:3")).is_err());
        assert_eq!(Node::list("a:1, b:2", Some("c:3,d:4")).unwrap()[1].admin.as_deref(), Some("d:4"));
    }
}
