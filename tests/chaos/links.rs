//! The wires between everybody: from each worker to each node, and from each node to each other one.
//!
//! Wires do what they are told and say what came of it; when they are told what is decided elsewhere.

use anabranch::testing::wire::{Harm, Wire};
use std::io;

#[derive(Debug)]
pub(crate) struct Links {
    /// By client and node. The last client is the example programs.
    clients: Vec<Vec<Wire>>,
    /// By the node that connects and the one that it connects to, with both.
    routes: Vec<(usize, usize, Wire)>,
}

impl Links {
    /// Lays wires from so many clients to the nodes of these URLs.
    pub(crate) async fn lay(clients: usize, urls: &[String], routes: Vec<(usize, usize, Wire)>) -> io::Result<Self> {
        let mut all = Vec::new();
        for _ in 0..clients {
            let mut wires = Vec::new();
            for url in urls {
                wires.push(Wire::to(url).await?);
            }
            all.push(wires);
        }
        Ok(Self { clients: all, routes })
    }

    /// The URL under which a client finds the cluster.
    pub(crate) fn url(&self, client: usize) -> String {
        let hosts: Vec<String> = self.clients[client].iter().map(|wire| wire.url().replace("nats://", "")).collect();
        format!("nats://{}?replicas=3&timeout=5s", hosts.join(","))
    }

    pub(crate) fn clients(&self) -> usize {
        self.clients.len()
    }

    /// The wires of one client to all nodes.
    pub(crate) fn of(&self, client: usize) -> impl Iterator<Item = &Wire> {
        self.clients[client].iter()
    }

    /// The wires between one node and the others.
    pub(crate) fn around(&self, node: usize) -> impl Iterator<Item = &Wire> {
        self.routes.iter().filter(move |(from, to, _)| *from == node || *to == node).map(|(_, _, wire)| wire)
    }
}

/// Adds up what wires did.
pub(crate) fn harm<'a>(wires: impl Iterator<Item = &'a Wire>) -> Harm {
    wires.map(Wire::harm).fold(Harm::default(), |mut sum, harm| {
        sum.lost += harm.lost;
        sum.delayed += harm.delayed;
        sum.cut += harm.cut;
        sum
    })
}
