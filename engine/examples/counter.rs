//! A replicated counter in a tokio program: three nodes in one process. `cargo run --example counter`

use ringraft::{Engine, RestoreError, Simple, SimpleMachine};

#[derive(Default)]
struct Counter(u64);

impl SimpleMachine for Counter {
    fn apply(&mut self, _command: &[u8], reply: &mut Vec<u8>) {
        self.0 += 1;
        reply.extend_from_slice(&self.0.to_le_bytes());
    }
    fn query(&self, _query: &[u8], reply: &mut Vec<u8>) {
        reply.extend_from_slice(&self.0.to_le_bytes());
    }
    fn save(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.to_le_bytes());
    }
    fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        self.0 = u64::from_le_bytes(bytes.try_into().map_err(|_| RestoreError::new("eight bytes"))?);
        Ok(())
    }
}

/// Three nodes, one counter, ten increments.
#[tokio::main]
pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cluster = Engine::local_cluster(3, |_group| Simple::from(Counter::default()))?;
    let counter = cluster.group(1);
    for _ in 0..10 {
        counter.propose(*b"+1").await?; // on the disks of two of three nodes when it returns
    }
    let value = counter.query(*b"").await?; // linearizable, on any node
    println!("counted to {}", u64::from_le_bytes(value[..8].try_into()?));
    Ok(cluster.shutdown()?)
}
