//! A scrape that fails half way, and is resumed where it left.
//!
//! ```text
//! cargo run --example scrape
//! ANABRANCH_URL=nats://localhost:4222 cargo run --example scrape
//! ```
//!
//! `api` lists the items of a shop, `details` and `attachments` fetch a page for each of them, side by side, and `write_to_db`
//! stores what both have found. The shop is broken once, at the attachment of the second item, so the run fails. Whoever repairs
//! the shop resumes the run: what completed is kept, and `attachments` goes on at the second item, because it saved the first.
//! The shop counts what it is asked for, and the example fails if anything but that one page is asked for twice.

#![expect(clippy::print_stdout, reason = "it talks to whoever started it")]

use anabranch::{
    BuildError, Ctx, NodeResult, NodeResultExt as _, Saved, Topology,
    engine::Engine,
    runtime::{RunError, Runtime},
    time::unique,
};
use std::{
    collections::BTreeMap,
    env,
    error::Error,
    sync::{Arc, Mutex, PoisonError},
};

/// The pages that were fetched, by the number of their item.
type Pages = BTreeMap<u32, String>;

fn scrape() -> Result<Topology<String, usize, Arc<Shop>>, BuildError> {
    let mut t = Topology::builder::<String>("scrape").app::<Arc<Shop>>();
    let category = t.input();
    let items = t.node("api", category, api);
    let details = t.resumable("details", items, fetch);
    let attachments = t.resumable("attachments", items, fetch);
    let stored = t.node("write_to_db", (details, attachments), write_to_db);
    t.build(stored)
}

async fn api(ctx: Ctx<Arc<Shop>>, category: String) -> NodeResult<Vec<u32>> {
    ctx.app().get(&category).terminal()?;
    Ok(vec![1, 2, 3])
}

/// The code of two nodes: `ctx.node()` says which of them it is.
async fn fetch(ctx: Ctx<Arc<Shop>>, mut saved: Saved<Pages>, items: Vec<u32>) -> NodeResult<Pages> {
    let mut pages = saved.last().cloned().unwrap_or_default();
    for item in items {
        if pages.contains_key(&item) {
            continue; // an earlier attempt has it, maybe one in another process
        }
        // Any other error would be tried again by itself; this one ends the run, until somebody resumes it.
        let page = ctx.app().get(&format!("{}/{item}", ctx.node())).terminal()?;
        pages.insert(item, page);
        saved.save(pages.clone()).await?; // once this returns, neither an error nor a crash loses the page
    }
    Ok(pages)
}

async fn write_to_db(_: Ctx<Arc<Shop>>, (details, attachments): (Pages, Pages)) -> NodeResult<usize> {
    for ((item, detail), attachment) in details.iter().zip(attachments.values()) {
        println!("  row {item}: {detail}, {attachment}");
    }
    Ok(details.len())
}

/// Stands for the site: it counts how often it was asked for each page, and is broken when one of them is asked for first.
#[derive(Default)]
struct Shop(Mutex<BTreeMap<String, u32>>);

impl Shop {
    fn get(&self, page: &str) -> Result<String, String> {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let times = asked.entry(page.to_owned()).or_default();
        *times += 1;
        if page == "attachments/2" && *times == 1 {
            return Err(format!("the shop is broken at {page}"));
        }
        Ok(format!("page {page}"))
    }

    fn asked(&self) -> BTreeMap<String, u32> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = env::var("ANABRANCH_URL").ok().filter(|url| !url.is_empty()).unwrap_or("memory:".into());
    let space = Engine::open(&url).await?.space("scrape").await?;
    let id = format!("lamps-{}", unique(space.clock())); // on a server, the runs of earlier starts are still there
    let shop = Arc::new(Shop::default());
    let runtime = Runtime::start(space).await?;
    let runs = runtime.host(scrape()?, Arc::clone(&shop))?;

    println!("started {id}");
    let failed = match runs.start(&id, "lamps".into()).await?.outcome().await {
        Err(failed @ RunError::Failed { .. }) => failed,
        other => return Err(format!("the shop is broken, and the run returned {other:?}").into()),
    };
    println!("failed: {failed}");
    let before = shop.asked();
    let saved = &runs.to_json(&id).await?["data"]["attachments"]["state"];
    println!("asked for so far: {}", before.keys().cloned().collect::<Vec<_>>().join(", "));
    println!("`attachments` had saved {saved}");

    println!("resumed");
    let rows = runs.resume(&id).await?.outcome().await?;
    let mut again = shop.asked();
    again.retain(|page, times| before.get(page) != Some(times));
    println!("asked for since: {}", again.keys().cloned().collect::<Vec<_>>().join(", "));
    println!("completed: {rows} rows");
    runtime.drain().await?;

    // `details` had completed, and of `attachments` only what was not saved was still to be fetched.
    if rows == 3 && again.keys().eq(["attachments/2", "attachments/3"]) {
        Ok(())
    } else {
        Err("something was fetched that was there already".into())
    }
}
