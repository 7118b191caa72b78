//! Loads the namespace at start, from the records in the spool.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::warn;

use super::recover::RecoveredNode;
use super::tree::{Body, Charge, Directory, Node, OnDisk, Tree};
use super::{Name, Namespace};
use crate::log_file::local_file::LocalFile;
use crate::settings::writer::Ownership;
use crate::spool::Spool;
use crate::spool::record::{Claim, Kind, Times};
use crate::types::ids::NodeId;
use crate::types::shares::Shares;
use crate::types::time::Utc;

impl Namespace {
    /// Builds the live view of a spool. Claims on a name are settled by their numbers; a node whose directory is gone
    /// is shown in the root, so that no log becomes unreachable. Names and attributes take `names_max` bytes of memory
    /// at most, but for what is there.
    pub fn load(
        spool: Arc<Spool>,
        (ownership, names_max): (Ownership, u64),
        found: Vec<RecoveredNode>,
        now: Utc,
    ) -> Namespace {
        let last_id = found.iter().map(|f| f.id.0).max().unwrap_or(0).max(NodeId::ROOT.0);
        let ahead: Vec<_> = found.iter().filter(|f| f.is_ahead).map(|f| f.id).collect();
        let last_number = found.iter().map(|f| f.record.last_number()).max().unwrap_or(0);
        let mut nodes: HashMap<_, _> = found.into_iter().map(|f| (f.id, node(&spool, f))).collect();
        nodes.entry(NodeId::ROOT).or_insert_with(|| root(&ownership, now));
        settle_claims(&mut nodes);
        let kept = nodes.values().filter(|node| node.has_files()).count() as u64;
        let names = Shares::new(names_max);
        let mut tree = Tree { nodes, kept, last_id, last_number, names };
        tree.reattach_cycles();
        let ids: Vec<NodeId> = tree.nodes.keys().copied().collect();
        ids.into_iter().for_each(|id| tree.weigh(id));
        for stored in spool.session().stored() {
            // What has a record by now, or lost its directory, is not to be had from the journal.
            if !tree.nodes.contains_key(&stored.id) {
                let _ = tree.add_stored(stored, &ownership, now);
            }
        }
        let namespace = Namespace {
            spool,
            ownership,
            tree: Mutex::new(tree),
            doomed: Mutex::default(),
            doing_chores: Mutex::default(),
        };
        namespace.keep_loaded(&ahead);
        namespace
    }
}

impl Namespace {
    /// Writes what is not on the disk as it was loaded.
    fn keep_loaded(&self, ahead: &[NodeId]) {
        let mut tree = self.tree.lock();
        if let Err(e) = self.rewrite_stored(&tree) {
            warn!("the next worker may not know the stored directories: {e}");
        }
        for id in ahead {
            if let Err(e) = tree.node_mut(*id).and_then(|node| self.store(node, *id)) {
                warn!(node = %id, "what was found after a crash is not recorded yet: {e}");
            }
        }
    }
}

impl Tree {
    /// Damaged records could put directories into each other; walking up must always end.
    fn reattach_cycles(&mut self) {
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        for id in ids {
            let (mut at, mut steps) = (id, 0);
            while let Some((parent, _)) = self.nodes.get(&at).and_then(Node::place) {
                (at, steps) = (parent, steps + 1);
                if steps > self.nodes.len() {
                    self.move_to_root(id);
                    break;
                }
            }
        }
    }

    fn move_to_root(&mut self, id: NodeId) {
        let claims = self.nodes.get(&id).map(|n| n.claims.clone()).unwrap_or_default();
        for claim in claims {
            if let Ok(dir) = self.directory_mut(claim.parent) {
                dir.live.remove(&claim.name);
            }
        }
        let name = format!("found-{id}").into_bytes();
        let claim = self.new_claim(NodeId::ROOT, &name, None);
        if let Ok(node) = self.node_mut(id) {
            node.claims = vec![claim];
        }
        if let Ok(root) = self.directory_mut(NodeId::ROOT) {
            root.live.insert(name, id);
        }
    }
}

/// Gives each name to the claim with the highest number, and each node the names that it has.
fn settle_claims(nodes: &mut HashMap<NodeId, Node>) {
    let mut winners: BTreeMap<(NodeId, Name), (NodeId, Claim)> = BTreeMap::new();
    for (id, node) in &*nodes {
        for claim in &node.claims {
            let name = (claim.parent, claim.name.clone());
            let best = winners.entry(name).or_insert_with(|| (*id, claim.clone()));
            if claim.number > best.1.number {
                *best = (*id, claim.clone());
            }
        }
    }
    let is_directory = |id: &NodeId| nodes.get(id).is_some_and(|n| matches!(n.body, Body::Directory(_)));
    let mut entries: HashMap<NodeId, BTreeMap<Name, NodeId>> = HashMap::new();
    let mut kept: HashMap<NodeId, Vec<Claim>> = HashMap::new();
    for ((parent, name), (id, claim)) in winners {
        let parent = if is_directory(&parent) { parent } else { NodeId::ROOT };
        if id == NodeId::ROOT || entries.get(&parent).is_some_and(|e| e.contains_key(&name)) {
            continue;
        }
        entries.entry(parent).or_default().insert(name.clone(), id);
        kept.entry(id).or_default().push(Claim { parent, ..claim });
    }
    for (id, node) in nodes {
        node.claims = kept.remove(id).unwrap_or_default();
        match &mut node.body {
            Body::Directory(dir) => dir.live = entries.remove(id).unwrap_or_default(),
            Body::Live(log) => log.state().set_linked(!node.claims.is_empty()),
            _ => {}
        }
    }
}

fn node(spool: &Spool, found: RecoveredNode) -> Node {
    let RecoveredNode { id, record, log, is_ahead } = found;
    let body = match (record.kind, log) {
        (Kind::Live { .. }, Some(log)) => Body::Live(log),
        (Kind::Live { .. } | Kind::Local, _) => Body::Local(Arc::new(LocalFile::new(&spool.node_files(id)))),
        (Kind::Symlink { target }, _) => Body::Symlink(target),
        (Kind::Directory { hidden, former, listed }, _) => {
            Body::Directory(Directory { hidden, former, listed, ..Directory::default() })
        }
    };
    body.note_mode(record.mode);
    Node {
        body,
        claims: record.claims,
        mode: record.mode,
        uid: record.uid,
        gid: record.gid,
        times: record.times,
        attributes: record.attributes,
        // The kernel may know what the worker before had told it of; a process may be in a directory.
        lookups: u64::from(spool.session().resumed),
        recorded: true,
        // Whether it is durable is not known.
        disk: OnDisk { change: spool.records().last(), is_behind: is_ahead, has_files: false },
        charge: Charge::default(),
    }
}

fn root(owner: &Ownership, now: Utc) -> Node {
    Node {
        body: Body::Directory(Directory::default()),
        claims: Vec::new(),
        mode: owner.dir_mode,
        uid: owner.uid,
        gid: owner.gid,
        times: Times::new(now),
        attributes: BTreeMap::new(),
        lookups: 1,
        recorded: false,
        disk: OnDisk::default(),
        charge: Charge::default(),
    }
}
