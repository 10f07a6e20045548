//! What is bought, and what becomes of it: stock and the bank's book are held against the orders, and against the purchases
//! that never came to one.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use hyper::Method;
use serde_json::Value;
use tokio::sync::watch;

use super::{
    door::{Door, Question},
    ledger::{Ledger, Reckoned},
    locked,
};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Products that are bought: each has some stock, so that shoppers can buy for hours.
const GOODS_MAX: usize = 100;
/// Checkouts that are remembered for the bank's book; older ones were right when they were read.
const CHECKOUTS_MAX: usize = 100_000;
/// Pages of the book that are read at the end.
const BOOK_PAGES_MAX: usize = 1_000;
/// How long the book is read until it is right: money is given back a moment after a purchase has come to nothing, and a
/// node that died is replaced in seconds.
const RIGHT_WITHIN: Duration = Duration::from_secs(15);
/// Pause before it is read again.
const PAUSE: Duration = Duration::from_millis(250);

/// What can be bought, and what was.
pub(super) struct Till {
    admins: Vec<SocketAddr>,
    doors: watch::Receiver<Arc<[SocketAddr]>>,
    goods: Vec<Goods>,
    begun: Mutex<Begun>,
}

struct Goods {
    sku: String,
    /// Units that there were when the first shopper came.
    available: u64,
    sold: Mutex<u64>,
}

/// Our checkouts, by what the bank knows them by; their order, the newest last.
#[derive(Default)]
struct Begun {
    checkouts: HashMap<String, Checkout>,
    order: VecDeque<String>,
}

struct Checkout {
    id: String,
    token: String,
    /// What the order costs that was acknowledged.
    total: Option<i64>,
}

/// What became of a checkout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CameTo {
    /// An order that costs so much.
    Order {
        total: i64,
    },
    Nothing,
    /// It is under way, or nobody tells.
    Unread,
}

/// Of one checkout: payments that are reserved or taken, and how much together.
type Charged = HashMap<String, (u32, i64)>;

impl Till {
    /// Counts what there is.
    pub(super) async fn open(
        skus: Vec<String>,
        admins: Vec<SocketAddr>,
        doors: watch::Receiver<Arc<[SocketAddr]>>,
    ) -> Self {
        let mut goods = Vec::new();
        for sku in skus.into_iter().take(GOODS_MAX) {
            let stock = ask(&admins, &Question::new(Method::GET, format!("/admin/stock/{sku}"))).await;
            if let Some(available) =
                stock.as_ref().and_then(|stock| stock["available"].as_u64()).filter(|units| *units > 0)
            {
                goods.push(Goods { sku, available, sold: Mutex::default() });
            }
        }
        Self { admins, doors, goods, begun: Mutex::default() }
    }

    pub(super) fn pick(&self, random: u128) -> Option<usize> {
        let count = self.goods.len() as u128;
        (count > 0).then(|| (random % count) as usize)
    }

    pub(super) fn sku(&self, goods: usize) -> Option<&str> {
        self.goods.get(goods).map(|goods| &*goods.sku)
    }

    /// A checkout was begun, whatever comes of it.
    pub(super) fn begun(&self, id: &str, token: &str) {
        let mut begun = locked(&self.begun);
        let key = id.trim_start_matches("chk_").to_owned();
        begun.order.push_back(key.clone());
        begun.checkouts.insert(key, Checkout { id: id.to_owned(), token: token.to_owned(), total: None });
        if begun.order.len() > CHECKOUTS_MAX
            && let Some(oldest) = begun.order.pop_front()
        {
            begun.checkouts.remove(&oldest);
        }
    }

    /// An order was acknowledged; how many units beyond what there was it sold.
    pub(super) fn sold(&self, goods: usize, checkout: &str, total: i64) -> u64 {
        if let Some(known) = locked(&self.begun).checkouts.get_mut(checkout.trim_start_matches("chk_")) {
            known.total = Some(total);
        }
        let Some(goods) = self.goods.get(goods) else { return 0 };
        let mut sold = locked(&goods.sold);
        *sold += 1;
        u64::from(*sold > goods.available)
    }

    /// Holds the bank's book against the orders: each is paid once, and for what it costs; what came to no order is not.
    pub(super) async fn close(&self, ledger: &Ledger) {
        let begun = std::mem::take(&mut *locked(&self.begun));
        let until = Instant::now() + RIGHT_WITHIN;
        loop {
            let Some(charged) = self.book().await else { return ledger.leave_unread(1) };
            let reckoned = self.reckon(&begun, &charged, until).await;
            if reckoned == Reckoned::default() || Instant::now() >= until {
                return ledger.close(reckoned);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// What the bank has reserved or taken.
    async fn book(&self) -> Option<Charged> {
        let (mut charged, mut path) = (Charged::new(), "/admin/sandbox/payments".to_owned());
        for _ in 0..BOOK_PAGES_MAX {
            let page = ask(&self.admins, &Question::new(Method::GET, &*path)).await?;
            for item in page["items"].as_array().into_iter().flatten().filter(|item| item["state"] == "authorised") {
                if let Some((checkout, _)) = item["key"].as_str().and_then(|key| key.split_once('-')) {
                    let (payments, amount) = charged.entry(checkout.to_owned()).or_default();
                    *payments += 1;
                    *amount += item["amount"].as_i64().unwrap_or(0);
                }
            }
            let Some(next) = page["next_cursor"].as_str() else { break };
            path = format!("/admin/sandbox/payments?cursor={next}");
        }
        Some(charged)
    }

    async fn reckon(&self, begun: &Begun, charged: &Charged, until: Instant) -> Reckoned {
        let mut reckoned = Reckoned::default();
        for (key, checkout) in &begun.checkouts {
            let (payments, amount) = charged.get(key).copied().unwrap_or_default();
            let came_to = match checkout.total {
                None if payments == 0 => continue,
                None if Instant::now() >= until => CameTo::Unread,
                None => self.came_to(checkout).await,
                Some(total) => CameTo::Order { total },
            };
            match came_to {
                CameTo::Order { total } if payments == 1 && amount == total => {}
                CameTo::Order { total } if payments > 1 || amount > total => reckoned.double_charged += 1,
                CameTo::Order { .. } => reckoned.orders_lost += 1,
                CameTo::Nothing => reckoned.paid_for_nothing += 1,
                CameTo::Unread => reckoned.unread += 1,
            }
        }
        reckoned
    }

    /// What became of a checkout whose order, if there is one, was never acknowledged.
    async fn came_to(&self, checkout: &Checkout) -> CameTo {
        let read = Question::new(Method::GET, format!("/v1/checkouts/{}", checkout.id));
        let doors = self.doors.borrow().clone();
        let seen = ask(&doors, &Question { token: Some(checkout.token.clone()), ..read }).await.unwrap_or_default();
        match (seen["status"].as_str(), seen["totals"]["total"]["amount"].as_i64()) {
            (Some("completed"), Some(total)) => CameTo::Order { total },
            (Some("cancelled" | "expired"), _) => CameTo::Nothing,
            _ => CameTo::Unread,
        }
    }
}

/// What the first listener that grants it says.
async fn ask(listeners: &[SocketAddr], question: &Question) -> Option<Value> {
    for address in listeners {
        if let Some(answer) = Door::new(*address).ask(question, PATIENCE).await
            && answer.status.is_success()
        {
            return Some(answer.json());
        }
    }
    None
}
